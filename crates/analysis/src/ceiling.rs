//! A rate that is never acceptable, tested exactly and at any time (§2.1, absolute ceiling).
//!
//! Also what a single-arm scalar gate ("value above T in more than a part of samples", §2.3) and the
//! burn rate of an SLO (§2.4) are tested with.

use crate::{increment::Bernoulli, mixture::Mixture};

/// Alternatives to a ceiling of 5 % (§2.1).
pub(crate) const ALTERNATIVES: [f64; 5] = [0.1, 0.2, 0.35, 0.6, 0.95];
/// The ceiling for which they were chosen.
const AT: f64 = 0.05;

/// The increments of one ceiling.
#[derive(Debug, Clone, PartialEq)]
pub struct Ceiling {
    increments: [Bernoulli; 5],
}

impl Ceiling {
    /// A test of `p ≤ ceiling`, within (0, 1). Its alternatives keep the odds ratios to the ceiling
    /// that the usual ones have to 5 %, so that they are rates for any ceiling.
    pub fn new(ceiling: f64) -> Self {
        let odds = |p: f64| p / (1.0 - p);
        let increments = ALTERNATIVES.map(|it| {
            let alternative = odds(it) / odds(AT) * odds(ceiling);
            Bernoulli::new(ceiling, alternative / (1.0 + alternative))
        });
        Self { increments }
    }

    /// Adds a window's requests to a mixture of five points.
    pub fn add(&self, mixture: &mut Mixture, requests: f64, bad: f64) {
        mixture.add(self.increments.iter().map(|it| it.of(requests, bad)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_alone_give_the_known_values() {
        // §4.2: E after k failures of k.
        let ceiling = Ceiling::new(0.05);
        let mut mixture = Mixture::new(5, 1.0);
        for known in [8.8, 114.8, 1800.4] {
            ceiling.add(&mut mixture, 1.0, 1.0);
            let e = crate::special::exp(mixture.log_e());
            assert!((e - known).abs() < 0.05, "{e}");
        }
    }

    #[test]
    fn any_ceiling_has_alternatives_above_it_and_below_one() {
        for ceiling in [1e-6, 0.001, 0.0144, 0.05, 0.3, 0.9, 0.999] {
            for it in Ceiling::new(ceiling).increments {
                assert!(it.bad > 0.0 && it.good < 0.0, "{ceiling}");
                assert!(it.bad.is_finite() && it.good.is_finite(), "{ceiling}");
            }
        }
    }
}
