//! What a script with a textbook test does: a two-proportion z-test at 1 % on all data so far, at
//! every look. Source: any introduction to statistics; none of them says it may be looked at twice.

use analysis::{Arm, Window};

use crate::simulation::rules::Rule;

/// The 99 % quantile of the normal distribution.
const Z: f64 = 2.326_347_874_040_841;

/// One rollout under it.
#[derive(Debug, Default)]
pub struct PeekZ {
    candidate: Arm,
    stable: Arm,
}

impl Rule for PeekZ {
    fn look(&mut self, window: &Window) -> bool {
        self.candidate = self.candidate.plus(window.candidate);
        self.stable = self.stable.plus(window.stable);
        let (n, m) = (self.candidate.requests as f64, self.stable.requests as f64);
        let bad = (self.candidate.bad + self.stable.bad) as f64;
        let pooled = bad / (n + m);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
        // NaN, without requests or errors, is never above.
        (self.candidate.rate() - self.stable.rate()) / deviation > Z
    }

    fn passes(&self) -> bool {
        false
    }
}
