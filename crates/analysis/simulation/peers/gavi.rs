//! GrowthBook's sequential test: an asymptotic confidence sequence for the difference of two rates
//! (Waudby-Smith et al., arXiv 2103.06476: one-sided eq. 134, ρ of eq. 161), tuning 5000, at 1 %.
//! Source: gbstats/frequentist/tests.py. It is undefined while neither arm's rate varies.

use analysis::{Arm, Window};

use crate::simulation::rules::Rule;

const ALPHA: f64 = 0.01;
const TUNING: f64 = 5000.0;

/// One arm as a sample: how many, their mean and variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// How many.
    pub n: f64,
    /// Their mean.
    pub mean: f64,
    /// Their variance, unbiased.
    pub variance: f64,
}

impl Sample {
    /// From the number, the sum and the sum of squares.
    pub fn new(n: f64, sum: f64, squares: f64) -> Self {
        let mean = sum / n;
        Self {
            n,
            mean,
            variance: (squares - n * mean * mean) / (n - 1.0),
        }
    }

    fn of(arm: Arm) -> Self {
        let bad = arm.bad as f64;
        Self::new(arm.requests as f64, bad, bad)
    }
}

/// The lower bound of the difference of two means, over all looks with this chance of error.
pub fn lower_bound(stable: Sample, candidate: Sample, alpha: f64, tuning: f64) -> f64 {
    let n = stable.n + candidate.n;
    let variance = n * (candidate.variance / candidate.n + stable.variance / stable.n);
    // As for two sides at twice the chance.
    let twice = -2.0 * (2.0 * alpha).ln();
    let rho = ((twice + (twice + 1.0).ln()) / tuning).sqrt();
    let grown = n * rho * rho + 1.0;
    let reach = 2.0 * grown * (1.0 + grown.sqrt() / (2.0 * alpha)).ln();
    candidate.mean - stable.mean - (variance * reach).sqrt() / (n * rho)
}

/// One rollout under it.
#[derive(Debug, Default)]
pub struct Gavi {
    candidate: Arm,
    stable: Arm,
}

impl Rule for Gavi {
    fn look(&mut self, window: &Window) -> bool {
        self.candidate = self.candidate.plus(window.candidate);
        self.stable = self.stable.plus(window.stable);
        let (stable, candidate) = (Sample::of(self.stable), Sample::of(self.candidate));
        let varies = stable.variance > 0.0 || candidate.variance > 0.0;
        // NaN, with one request or none, is never above.
        varies && lower_bound(stable, candidate, ALPHA, TUNING) > 0.0
    }

    fn passes(&self) -> bool {
        false
    }
}
