//! One bucket bound: its bets, and what earlier windows showed there.

use serde::{Deserialize, Serialize};

use super::policy::{GRID, LIVE, LatencyPolicy, PASS_GRID};
use crate::{
    increment::{Blocks, Multipliers, Relatives},
    mixture::{largest, may_reach, multiply, spread},
    special::{ln, log_sum_exp, real},
};

/// Above this tail slow requests are not rare, and the block e-value keeps the information that the
/// Poisson form wastes (§2.2).
const FREQUENT: f64 = 0.05;

/// Points of the grids.
const UP: usize = GRID.len();
const DOWN: usize = PASS_GRID.len();

/// What is computed once a gate: multipliers and their logs, and how much evidence is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grids {
    up: Multipliers<UP>,
    down: Multipliers<DOWN>,
    /// `−ln α`.
    pub(super) needed: f64,
    /// `ln(1/α − 1)`: what bets must come to, as unspent mass is at most 1.
    needed_of_bets: f64,
    /// `−ln β`.
    needed_to_pass: f64,
    /// `ln 2`, for the mean of two.
    ln_2: f64,
    /// The logs of the numbers of terms in a bound's sum for a pass, and in the gate's at most.
    ln_terms: (f64, f64),
    /// `1/φ`.
    tempered: f64,
}

impl Grids {
    pub(super) fn new(policy: &LatencyPolicy) -> Self {
        Self {
            up: Multipliers::new(GRID),
            down: Multipliers::new(PASS_GRID),
            needed: -ln(policy.alpha),
            needed_of_bets: ln(1.0 / policy.alpha - 1.0),
            needed_to_pass: -ln(policy.beta),
            ln_2: ln(2.0),
            ln_terms: (
                ln(real(2 * DOWN as u64)),
                ln(real((UP * super::BOUNDS_MAX) as u64)),
            ),
            tempered: 1.0 / policy.phi,
        }
    }

    /// Whether the bets at all bounds may be enough for a rollback.
    pub(super) fn may_roll_back(&self, boundaries: &[Boundary]) -> bool {
        let largest = boundaries.iter().map(|it| largest(&it.slower));
        let largest = largest.fold(f64::NEG_INFINITY, f64::max);
        may_reach(largest, self.ln_terms.1, self.needed_of_bets)
    }

    /// The bets on a window with so many requests of candidate and stable; the same at every bound
    /// where slow requests are rare.
    pub(super) fn bets(&self, policy: &LatencyPolicy, requests: (u64, u64)) -> Bets {
        let ratio = real(requests.0) / real(requests.1);
        let both = requests.0 > 0 && requests.1 > 0;
        Bets {
            relative: both.then(|| {
                (
                    Relatives::new(1.0 + policy.margin, &self.up, ratio),
                    Relatives::new(policy.pass_ratio, &self.down, ratio),
                )
            }),
            requests,
        }
    }
}

/// The bets on one window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bets {
    /// That more are slow, and that fewer are; `None` when one arm has no requests.
    relative: Option<(Relatives<UP>, Relatives<DOWN>)>,
    requests: (u64, u64),
}

/// One bound. Arrays and not lists: a state has ten of them, and a server ten thousand states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Boundary {
    /// In the metric's unit.
    #[serde(with = "crate::exact")]
    pub(super) bound: f64,
    /// `ln S_j`; null: no more requests beyond it than the margin allows.
    #[serde(with = "crate::exact::array")]
    pub(super) slower: [f64; UP],
    /// `ln S_j`; null: at least `pass_ratio` times as many.
    #[serde(with = "crate::exact::array")]
    inferior: [f64; DOWN],
    /// `ln S_j`; null: at least `pass_floor` of requests.
    #[serde(with = "crate::exact::array")]
    under: [f64; DOWN],
    /// Fading totals of earlier windows: the candidate's requests and slow ones, stable's.
    #[serde(with = "crate::exact::array")]
    past: [f64; 4],
    /// Requests since it was begun, and the slow ones: the candidate's, stable's.
    pub(super) requests: (u64, u64),
    pub(super) slow: (u64, u64),
}

impl Boundary {
    pub(super) fn new(bound: f64, mass: f64) -> Self {
        Self {
            bound,
            slower: [spread(mass, UP); UP],
            inferior: [spread(1.0, DOWN); DOWN],
            under: [spread(1.0, DOWN); DOWN],
            past: [0.0; 4],
            requests: (0, 0),
            slow: (0, 0),
        }
    }

    /// `ln` of the evidence that more is slower, as a part of the gate's mass.
    pub(super) fn log_e(&self) -> f64 {
        log_sum_exp(self.slower.iter().copied())
    }

    /// Whether the candidate is proven not to be inferior here: by the mean of both.
    pub(super) fn is_proven(&self, grids: &Grids) -> bool {
        let largest = largest(&self.inferior).max(largest(&self.under));
        if !may_reach(largest, grids.ln_terms.0, grids.needed_to_pass + grids.ln_2) {
            return false;
        }
        let logs = self.inferior.iter().chain(&self.under).copied();
        log_sum_exp(logs) - grids.ln_2 >= grids.needed_to_pass
    }

    /// Bets one window. Whether and how is decided by earlier windows alone.
    pub(super) fn bet(
        &mut self,
        policy: &LatencyPolicy,
        grids: &Grids,
        bets: &Bets,
        slow: (u64, u64),
    ) {
        add(&mut self.requests, bets.requests);
        add(&mut self.slow, slow);
        let (n, m) = (real(bets.requests.0), real(bets.requests.1));
        let (x, y) = (real(slow.0), real(slow.1));
        let tempered = grids.tempered;
        temper(
            &mut self.under,
            &grids.down.rare(policy.pass_floor, n, x),
            tempered,
        );
        let Some((up, down)) = &bets.relative else {
            return;
        };
        temper(&mut self.inferior, &down.of(x, y), tempered);
        let Some((pooled, stable)) = self.tail() else {
            return;
        };
        if !LIVE.contains(&pooled) {
            return;
        }
        if pooled <= FREQUENT {
            temper(&mut self.slower, &up.of(x, y), tempered);
            return;
        }
        let theta = 1.0 + policy.margin;
        let blocks = Blocks::new(theta, &grids.up, stable, (n, m));
        temper(&mut self.slower, &blocks.of((n, x), (m, y)), tempered);
    }

    /// Adds a window to the past, of which `kept` (0 to 1) remains.
    pub(super) fn remember(&mut self, kept: f64, requests: (u64, u64), slow: (u64, u64)) {
        let window = [requests.0, slow.0, requests.1, slow.1];
        for (past, now) in self.past.iter_mut().zip(window) {
            *past = *past * kept + real(now);
        }
    }

    /// The past share of slow requests: of both arms, of stable alone.
    fn tail(&self) -> Option<(f64, f64)> {
        let [n, x, m, y] = self.past;
        (m > 0.0).then(|| ((x + y) / (n + m), (y + 0.5) / (m + 1.0)))
    }

    pub(super) fn is_sound(&self) -> bool {
        // Without a branch for each: every fold looks.
        let finite = |logs: &[f64]| logs.iter().fold(true, |all, it| all & it.is_finite());
        let past = self.past.iter().fold(true, |all, it| all & (*it >= 0.0));
        let logs = finite(&self.slower) & finite(&self.inferior) & finite(&self.under);
        past & finite(&self.past) & self.bound.is_finite() & logs
    }
}

/// The log of `mass` spread over the multipliers of a rollback, in equal weights.
pub(super) fn spread_up(mass: f64) -> f64 {
    spread(mass, UP)
}

/// Multiplies each alternative by its factor, given as a log of which `part` counts.
fn temper<const N: usize>(logs: &mut [f64; N], increments: &[f64; N], part: f64) {
    multiply(logs, increments.iter().map(|it| it * part));
}

fn add(sum: &mut (u64, u64), more: (u64, u64)) {
    sum.0 = sum.0.saturating_add(more.0);
    sum.1 = sum.1.saturating_add(more.1);
}
