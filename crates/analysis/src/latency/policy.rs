//! What a latency gate promises, and which bounds it bets on.

use serde::{Deserialize, Serialize};

use crate::{
    fingerprint::Fingerprint,
    range::{PolicyError, chance, within},
};

/// Tails that are bet on: rarer ones say too little, more frequent ones are not slow (§2.2).
pub(super) const LIVE: std::ops::RangeInclusive<f64> = 2e-4..=0.9;
/// Multipliers that rollback evidence bets on: of rates in the tail, of odds where slow is frequent.
pub(super) const GRID: [f64; 8] = [1.1, 1.2, 1.35, 1.6, 2.0, 3.0, 6.0, 20.0];
/// Multipliers that evidence for a pass bets on.
pub(super) const PASS_GRID: [f64; 5] = [0.1, 0.35, 0.5, 0.65, 0.8];

/// The promises and settings of a latency gate, fixed before the first window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyPolicy {
    /// The chance that a candidate within the margin is ever rolled back, over all looks and bounds.
    pub alpha: f64,
    /// The chance that a candidate that is inferior at some bound ever passes.
    pub beta: f64,
    /// How many more requests than stable's may be slower than any bound: 0.1 allows 1.1 times.
    pub margin: f64,
    /// What a pass rules out: this many times as many, at any bound.
    pub pass_ratio: f64,
    /// A share of slow requests that a pass need not look below.
    pub pass_floor: f64,
    /// The over-dispersion that each increment is divided by, from stable against stable.
    pub phi: f64,
    /// Windows that end within this time after the first are not compared.
    pub warm_up_seconds: f64,
    /// How long an arm may be without requests before the gate holds.
    pub patience_seconds: f64,
    /// How long past windows say what is normal at a bound.
    pub memory_seconds: f64,
    /// The time in which all but 1/e of the mass kept for later starts is bet.
    pub restart_horizon_seconds: f64,
}

impl Default for LatencyPolicy {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            beta: 0.05,
            margin: 0.1,
            pass_ratio: 2.0,
            pass_floor: 0.005,
            phi: 1.0,
            warm_up_seconds: 0.0,
            patience_seconds: 60.0,
            memory_seconds: 600.0,
            restart_horizon_seconds: 3600.0,
        }
    }
}

impl LatencyPolicy {
    /// No margin and a chance of 1 %.
    pub fn strict() -> Self {
        Self {
            alpha: 0.01,
            margin: 0.0,
            ..Self::default()
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        chance("alpha", self.alpha)?;
        chance("beta", self.beta)?;
        within("margin", self.margin, 0.0, 100.0)?;
        within("passRatio", self.pass_ratio, 1.0 + self.margin + 1e-6, 1e4)?;
        within("passFloor", self.pass_floor, 1e-6, 0.5)?;
        within("phi", self.phi, 1.0, 50.0)?;
        within("warmUpSeconds", self.warm_up_seconds, 0.0, 1e9)?;
        within("patienceSeconds", self.patience_seconds, 0.001, 1e9)?;
        within("memorySeconds", self.memory_seconds, 1.0, 1e9)?;
        within(
            "restartHorizonSeconds",
            self.restart_horizon_seconds,
            1.0,
            1e9,
        )
    }

    pub(super) fn fingerprint(&self) -> u64 {
        Fingerprint::default()
            .bytes(b"latency")
            .numbers(&[self.alpha, self.beta, self.margin, self.pass_ratio])
            .numbers(&[self.pass_floor, self.phi, self.warm_up_seconds])
            .numbers(&[self.patience_seconds, self.memory_seconds])
            .number(self.restart_horizon_seconds)
            .finish()
    }
}

/// Keeps at most `most` bounds, spread over the tail: those whose logs of mass are the most apart.
/// `bounds` are ascending, so their masses descend.
pub(super) fn thin(bounds: &mut Vec<(f64, f64)>, most: usize) {
    while bounds.len() > most {
        // Drop the inner bound that is nearest to its neighbours.
        let gaps = bounds.windows(3).map(|it| match it {
            [a, _, c] => a.1 / c.1,
            _ => f64::INFINITY,
        });
        let tightest = gaps.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        match tightest {
            Some((index, _)) => drop(bounds.remove(index + 1)),
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends_and_spreads_the_rest() {
        let mut bounds: Vec<(f64, f64)> = (0..100_i32)
            .map(|it| (f64::from(it), libm::exp(-0.08 * f64::from(it))))
            .collect();
        thin(&mut bounds, 12);
        assert_eq!(bounds.len(), 12);
        assert_eq!((bounds[0].0, bounds[11].0), (0.0, 99.0));
        let gaps = bounds.windows(2).map(|it| it[1].0 - it[0].0);
        assert!(gaps.clone().fold(0.0, f64::max) <= 20.0, "{bounds:?}");
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let broken = LatencyPolicy {
            phi: f64::NAN,
            ..LatencyPolicy::default()
        };
        assert_eq!(broken.check().unwrap_err().field, "phi");
        assert!(LatencyPolicy::strict().check().is_ok());
    }
}
