//! A mixture of e-processes over a grid of alternatives and over times at which a change may begin.
//!
//! `S_j ← (S_j + κ_i·w_j)·e^(ℓ_ij)`, `E = Σ_j S_j + unspent` (§2.1, late onset): a part of the mass is
//! bet from the start, the rest is spent bit by bit later, on alternatives that have not yet lost
//! against the healthy time before. Whatever schedule, if it is fixed beforehand E stays valid,
//! because it is an average of e-processes.

use serde::{Deserialize, Serialize};

use crate::{
    lanes::ln_each,
    special::{NEGLIGIBLE, exp, ln, log_add_exp, log_sum_exp, real},
};

/// How often mass is bet on later starts, in seconds. A start within the minute is served by the bet
/// before it, which has lost little; betting with every window would cost more than the windows do.
const SPEND_EVERY_SECONDS: f64 = 60.0;

/// Points that are worked out at a time.
const AT_ONCE: usize = 12;

/// The part of unspent mass that is bet before a window that begins `seconds` after mass was last
/// bet: `1 − e^(−t/horizon)`, 0 while the next bet is not due.
pub(crate) fn due(seconds: f64, horizon_seconds: f64) -> f64 {
    match seconds >= SPEND_EVERY_SECONDS {
        true => -libm::expm1(-seconds / horizon_seconds),
        false => 0.0,
    }
}

/// Logs of `mass` spread over points in equal weights.
pub(crate) fn spread(mass: f64, points: usize) -> f64 {
    ln(mass) - ln(real(points as u64))
}

/// Bets the same on all points: `more` is its log, as [`spread`] gives it.
pub(crate) fn bet(logs: &mut [f64], more: f64) {
    // ln(e^a + e^b), several at a time.
    let mut sums = [1.0; AT_ONCE];
    for logs in logs.chunks_mut(AT_ONCE) {
        for (sum, log) in sums.iter_mut().zip(&*logs) {
            let gap = log.min(more) - log.max(more);
            *sum = 1.0 + if gap > NEGLIGIBLE { exp(gap) } else { 0.0 };
        }
        ln_each(&mut sums);
        for (log, sum) in logs.iter_mut().zip(sums) {
            *log = log.max(more) + sum;
        }
    }
}

/// The largest of these logs.
pub(crate) fn largest(logs: &[f64]) -> f64 {
    logs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Whether a sum may be as much as `needed`: its largest term times the number of terms, all as logs,
/// and a little more, so that rounding decides nothing. Most sums cannot, and are not worked out then.
pub(crate) fn may_reach(largest: f64, ln_terms: f64, needed: f64) -> bool {
    largest + ln_terms + 1e-6 >= needed
}

/// Multiplies each alternative by its factor, given as a log.
pub(crate) fn multiply(logs: &mut [f64], increments: impl Iterator<Item = f64>) {
    for (log, increment) in logs.iter_mut().zip(increments) {
        *log += increment;
    }
}

/// One mixture's state: a log of mass for each grid point, and the mass not yet spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// `ln S_j`.
    #[serde(with = "crate::exact::list")]
    logs: Vec<f64>,
    #[serde(with = "crate::exact")]
    unspent: f64,
}

impl Mixture {
    /// A mixture over `points` alternatives of equal weight, of which `spent` (0 to 1] is bet now.
    pub fn new(points: usize, spent: f64) -> Self {
        Self {
            logs: vec![spread(spent, points); points],
            unspent: 1.0 - spent,
        }
    }

    /// Bets a `part` (0 to 1) of what is unspent, in equal weights.
    pub fn spend_part(&mut self, part: f64) {
        self.spend(self.unspent * part);
    }

    /// Bets `mass` of what is unspent (§2.1: κ_i). At most what is there.
    pub fn spend(&mut self, mass: f64) {
        let mass = mass.clamp(0.0, self.unspent);
        self.unspent -= mass;
        if mass > 0.0 {
            let more = spread(mass, self.logs.len());
            bet(&mut self.logs, more);
        }
    }

    /// Multiplies each alternative by its factor of this window, given as a log.
    pub fn add(&mut self, increments: impl Iterator<Item = f64>) {
        multiply(&mut self.logs, increments);
    }

    /// `ln E`.
    pub fn log_e(&self) -> f64 {
        let spent = log_sum_exp(self.logs.iter().copied());
        match self.unspent > 0.0 {
            true => log_add_exp(spent, ln(self.unspent)),
            false => spent,
        }
    }

    /// The largest term of E, as a log; that of unspent mass is at most 0.
    pub(crate) fn largest(&self) -> f64 {
        largest(&self.logs).max(0.0)
    }

    /// `ln S_j`, an entry each alternative.
    pub fn logs(&self) -> &[f64] {
        &self.logs
    }

    /// Whether the state can be one over `points` alternatives.
    pub(crate) fn is_sound(&self, points: usize) -> bool {
        let finite = self.logs.iter().all(|it| it.is_finite());
        self.logs.len() == points && finite && (0.0..=1.0).contains(&self.unspent)
    }
}
