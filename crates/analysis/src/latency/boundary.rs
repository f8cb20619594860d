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

/// Multipliers and their logs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grids {
    up: [(f64, f64); UP],
    down: [(f64, f64); DOWN],
}

impl Grids {
    pub(super) fn new() -> Self {
        Self {
            up: GRID.map(|it| (it, ln(it))),
            down: PASS_GRID.map(|it| (it, ln(it))),
        }
    }
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

    /// `ln` of the evidence that the candidate is not inferior here: the mean of both.
    pub(super) fn pass(&self) -> f64 {
        log_sum_exp(self.inferior.iter().chain(&self.under).copied()) - ln(2.0)
    }

    /// Bets one window. Whether and how is decided by earlier windows alone.
    pub(super) fn bet(
        &mut self,
        policy: &LatencyPolicy,
        grids: &Grids,
        requests: (u64, u64),
        slow: (u64, u64),
    ) {
        add(&mut self.requests, requests);
        add(&mut self.slow, slow);
        let (n, m) = (real(requests.0), real(requests.1));
        let (x, y) = (real(slow.0), real(slow.1));
        let phi = policy.phi;
        let single = |g: &(f64, f64)| rare(policy.pass_floor, g.0, g.1, n, x) / phi;
        multiply(&mut self.under, grids.down.iter().map(single));
        if requests.0 == 0 || requests.1 == 0 {
            return;
        }
        let poisson =
            |theta: f64, g: &(f64, f64)| Relative::new(theta, g.0, g.1, n / m).of(x, y) / phi;
        let theta = policy.pass_ratio;
        multiply(
            &mut self.inferior,
            grids.down.iter().map(|it| poisson(theta, it)),
        );
        let theta = 1.0 + policy.margin;
        let Some((pooled, stable)) = self.tail() else {
            return;
        };
        if !LIVE.contains(&pooled) {
            return;
        }
        if pooled <= FREQUENT {
            multiply(
                &mut self.slower,
                grids.up.iter().map(|it| poisson(theta, it)),
            );
            return;
        }
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

fn add(sum: &mut (u64, u64), more: (u64, u64)) {
    sum.0 = sum.0.saturating_add(more.0);
    sum.1 = sum.1.saturating_add(more.1);
}
