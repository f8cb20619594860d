//! How much rougher real traffic is than independent requests: the factor φ (§2.1, over-dispersion).
//!
//! Bursts, retries and one bad pod make counts vary more than the formulas assume, and evidence would
//! be overrated. Dividing each increment by φ ≥ 1 keeps `E[E^(1/φ)] ≤ 1` (Jensen), and in the limit of
//! quasi-Poisson counts it restores the test's promise exactly. φ must be known before the windows it
//! tempers, and must come mostly from stable against stable: measured on the candidate alone it
//! arrives too late, and a regression would raise it and hide itself.

use serde::{Deserialize, Serialize};

use crate::{
    counts::Arm,
    special::{real, sqrt},
};

/// The bounds of φ (§4.1 pitfall 10).
pub const PHI: std::ops::RangeInclusive<f64> = 1.0..=50.0;
/// A block says something about roughness only when its split could vary: `nπ(1−π)` above this.
const VARIANCE_MIN: f64 = 0.2;
/// Bad requests of each arm before its own past, and not equality, says how blocks should split.
const FITTED_AFTER: u64 = 5;

/// How a policy meets over-dispersion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispersion {
    /// φ from stable against stable before the rollout; see [`Roughness`].
    pub seed: f64,
    /// How many blocks of the rollout the seed weighs as much as.
    pub prior_blocks: f64,
    /// The length of a block, in seconds. Evidence is counted in whole blocks.
    pub block_seconds: f64,
}

impl Dispersion {
    /// A seed with the weight and block length of the specification.
    pub fn seeded(seed: f64) -> Self {
        Self {
            seed,
            prior_blocks: 10.0,
            block_seconds: 60.0,
        }
    }
}

/// Pearson's statistic summed over blocks, and how many there were.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Roughness {
    /// Σ (x − nπ)²/(nπ(1−π)).
    #[serde(with = "crate::exact")]
    sum: f64,
    /// The sum of the squares of these terms.
    #[serde(with = "crate::exact")]
    squares: f64,
    /// Blocks that said something.
    blocks: u32,
}

impl Roughness {
    /// Adds a block in which `bad` bad requests of both arms should split with `chance`, `x` of them
    /// the candidate's. Blocks with too little variance are skipped.
    pub fn add(&mut self, x: u64, bad: u64, chance: f64) {
        let mean = real(bad) * chance;
        let variance = mean * (1.0 - chance);
        if variance > VARIANCE_MIN {
            let off = real(x) - mean;
            let term = off * off / variance;
            self.sum += term;
            self.squares += term * term;
            self.blocks = self.blocks.saturating_add(1);
        }
    }

    /// Adds a block of a pseudo-candidate against the rest of stable, which are equal by nature.
    pub fn add_equals(&mut self, candidate: Arm, stable: Arm) {
        let requests = real(candidate.requests) + real(stable.requests);
        if requests > 0.0 {
            let chance = real(candidate.requests) / requests;
            self.add(
                candidate.bad,
                candidate.bad.saturating_add(stable.bad),
                chance,
            );
        }
    }

    /// φ by these blocks alone, within [`PHI`]; `None` when no block said anything.
    pub fn phi(&self) -> Option<f64> {
        let mean = self.sum / f64::from(self.blocks);
        (self.blocks > 0).then(|| clamp(mean))
    }

    /// φ to begin a rollout with: one standard error above the mean, because a φ that is too small
    /// voids the promise while one that is too large only takes longer. Rough traffic has few, heavy
    /// blocks, so the mean alone is too small half of the time. `None` when no block said anything.
    pub fn seed(&self) -> Option<f64> {
        let blocks = f64::from(self.blocks);
        let mean = self.sum / blocks;
        let variance = (self.squares / blocks - mean * mean).max(0.0);
        (self.blocks > 0).then(|| clamp(mean + sqrt(variance / blocks)))
    }

    /// φ for the next block: the seed weighed as its prior blocks, and these; never below the seed.
    /// Within an hour a rollout's own blocks outweigh the seed, and rough traffic has few blocks that
    /// show its roughness: a quiet hour must not sharpen the evidence of the next bad minute.
    pub fn phi_seeded(&self, dispersion: &Dispersion) -> f64 {
        let (prior, seed) = (dispersion.prior_blocks, dispersion.seed);
        let weighed = (prior * seed + self.sum) / (prior + f64::from(self.blocks));
        clamp(weighed.max(seed))
    }

    /// Blocks that said something.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.sum >= 0.0 && self.sum.is_finite() && self.squares.is_finite()
    }
}

fn clamp(phi: f64) -> f64 {
    // Written so that NaN becomes the strictest value rather than going through.
    if phi <= *PHI.start() {
        *PHI.start()
    } else if phi < *PHI.end() {
        phi
    } else {
        *PHI.end()
    }
}

/// How the bad requests of the next block should split, from what is past: the past odds where both
/// arms have shown enough, equality where not. The regression itself is then no roughness.
pub(crate) fn fitted_chance(past: (Arm, Arm), next: (Arm, Arm)) -> Option<f64> {
    let both = next.0.requests > 0 && next.1.requests > 0;
    let ratio = both.then(|| real(next.0.requests) / real(next.1.requests))?;
    let enough = past.0.bad >= FITTED_AFTER && past.1.bad >= FITTED_AFTER;
    let theta = if enough {
        past.0.rate() / past.1.rate()
    } else {
        1.0
    };
    let odds = theta * ratio;
    Some(odds / (1.0 + odds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_block_there_is_no_estimate() {
        let mut roughness = Roughness::default();
        assert_eq!(roughness.phi(), None);
        roughness.add_equals(Arm::new(100, 0), Arm::new(300, 0));
        roughness.add_equals(Arm::new(0, 0), Arm::new(0, 0));
        assert_eq!(roughness.phi(), None);
    }

    #[test]
    fn smooth_blocks_give_one_and_rough_ones_more() {
        let mut smooth = Roughness::default();
        let mut rough = Roughness::default();
        for _ in 0..20 {
            smooth.add_equals(Arm::new(1000, 10), Arm::new(3000, 30));
            rough.add_equals(Arm::new(1000, 20), Arm::new(3000, 20));
        }
        assert_eq!(smooth.phi(), Some(1.0));
        // (20 − 10)² / (40·¼·¾)
        assert!((rough.phi().unwrap() - 100.0 / 7.5).abs() < 1e-12);
        // Blocks that are all alike leave no doubt; others are given one standard error.
        assert!((rough.seed().unwrap() - 100.0 / 7.5).abs() < 1e-6);
        rough.add_equals(Arm::new(1000, 10), Arm::new(3000, 30));
        assert!(rough.seed().unwrap() > rough.phi().unwrap());
    }

    #[test]
    fn the_seed_weighs_as_its_prior_blocks_and_is_the_least() {
        let dispersion = Dispersion::seeded(4.0);
        let (mut smooth, mut rough) = (Roughness::default(), Roughness::default());
        assert_eq!(smooth.phi_seeded(&dispersion), 4.0);
        for _ in 0..10 {
            smooth.add_equals(Arm::new(1000, 10), Arm::new(3000, 30));
            rough.add_equals(Arm::new(1000, 20), Arm::new(3000, 20));
        }
        assert_eq!(smooth.phi_seeded(&dispersion), 4.0);
        let weighed = 0.5 * (4.0 + 100.0 / 7.5);
        assert!((rough.phi_seeded(&dispersion) - weighed).abs() < 1e-9);
        let absurd = Dispersion::seeded(f64::NAN);
        assert_eq!(smooth.phi_seeded(&absurd), 50.0);
    }

    #[test]
    fn a_regression_that_was_seen_is_no_roughness() {
        let worse = (Arm::new(1000, 50), Arm::new(3000, 15));
        let chance = fitted_chance(worse, worse).unwrap();
        let mut roughness = Roughness::default();
        roughness.add(50, 65, chance);
        assert!(roughness.phi().unwrap() < 1.0 + 1e-9);
    }
}
