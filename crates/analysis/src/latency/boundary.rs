//! One bucket bound: its bets, and what earlier windows showed there.

use serde::{Deserialize, Serialize};

use super::policy::{GRID, LIVE, LatencyPolicy, PASS_GRID};
use crate::{
    increment::{Block, Relative, rare},
    mixture::{multiply, spread},
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
    up: [(f64, f64); UP],
    down: [(f64, f64); DOWN],
    /// `−ln α`.
    pub(super) needed: f64,
    /// `−ln β`.
    needed_to_pass: f64,
    /// `ln 2`, for the mean of two.
    ln_2: f64,
}

impl Grids {
    pub(super) fn new(policy: &LatencyPolicy) -> Self {
        Self {
            up: GRID.map(|it| (it, ln(it))),
            down: PASS_GRID.map(|it| (it, ln(it))),
            needed: -ln(policy.alpha),
            needed_to_pass: -ln(policy.beta),
            ln_2: ln(2.0),
        }
    }

    /// The bets on a window with so many requests of candidate and stable; the same at every bound
    /// where slow requests are rare.
    pub(super) fn bets(&self, policy: &LatencyPolicy, requests: (u64, u64)) -> Bets {
        let ratio = real(requests.0) / real(requests.1);
        let relative = |theta: f64| move |g: (f64, f64)| Relative::new(theta, g.0, g.1, ratio);
        let both = requests.0 > 0 && requests.1 > 0;
        Bets {
            relative: both.then(|| {
                (
                    self.up.map(relative(1.0 + policy.margin)),
                    self.down.map(relative(policy.pass_ratio)),
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
    relative: Option<([Relative; UP], [Relative; DOWN])>,
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
        let logs = || self.inferior.iter().chain(&self.under).copied();
        let needed = grids.needed_to_pass + grids.ln_2;
        may_reach(logs(), needed) && log_sum_exp(logs()) - grids.ln_2 >= grids.needed_to_pass
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
        let phi = policy.phi;
        let single = |g: &(f64, f64)| rare(policy.pass_floor, g.0, g.1, n, x) / phi;
        multiply(&mut self.under, grids.down.iter().map(single));
        let Some((up, down)) = &bets.relative else {
            return;
        };
        let poisson = |it: &Relative| it.of(x, y) / phi;
        multiply(&mut self.inferior, down.iter().map(poisson));
        let Some((pooled, stable)) = self.tail() else {
            return;
        };
        if !LIVE.contains(&pooled) {
            return;
        }
        if pooled <= FREQUENT {
            multiply(&mut self.slower, up.iter().map(poisson));
            return;
        }
        let theta = 1.0 + policy.margin;
        let blocks = grids.up.iter().map(|it| {
            let block = Block::new(theta, it.0, stable, (n, m));
            block.map_or(0.0, |it| it.of((n, x), (m, y)) / phi)
        });
        multiply(&mut self.slower, blocks);
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
        let logs = self.slower.iter().chain(&self.inferior).chain(&self.under);
        let past = self.past.iter().all(|it| it.is_finite() && *it >= 0.0);
        past && self.bound.is_finite() && logs.copied().all(f64::is_finite)
    }
}

/// Whether the sum of what these are logs of may reach `needed`, a log as well. It cannot when their
/// number times the largest does not, which is most of the time and costs no exponentials.
pub(super) fn may_reach(logs: impl Iterator<Item = f64> + Clone, needed: f64) -> bool {
    let largest = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let number = real(logs.count() as u64);
    // A little more, so that rounding decides nothing.
    largest + ln(number) + 1e-6 >= needed
}

fn add(sum: &mut (u64, u64), more: (u64, u64)) {
    sum.0 = sum.0.saturating_add(more.0);
    sum.1 = sum.1.saturating_add(more.1);
}
