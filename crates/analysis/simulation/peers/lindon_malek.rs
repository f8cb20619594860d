//! The sequential test of Lindon and Malek (arXiv 2011.03567), as Netflix describes it for counts:
//! a Dirichlet-multinomial e-process with concentration 100 on errors of the two arms, at 1 %.
//!
//! Its p-value is two-sided; used one-sided here, it rolls back only when the candidate has more.

use analysis::{Window, share::log_bayes_factor};

use crate::simulation::rules::Rule;

const ALPHA: f64 = 0.01;

/// One rollout under it.
#[derive(Debug)]
pub struct LindonMalek {
    share: f64,
    candidate: f64,
    stable: f64,
}

impl LindonMalek {
    /// For a candidate with this share of traffic, 0 to 1.
    pub fn new(share: f64) -> Self {
        Self {
            share,
            candidate: 0.0,
            stable: 0.0,
        }
    }
}

impl Rule for LindonMalek {
    fn look(&mut self, window: &Window) -> bool {
        self.candidate += window.candidate.bad as f64;
        self.stable += window.stable.bad as f64;
        let counts = (self.candidate, self.stable);
        let more = self.candidate > self.share * (self.candidate + self.stable);
        more && log_bayes_factor(counts, self.share, self.share) >= -libm::log(ALPHA)
    }

    fn passes(&self) -> bool {
        false
    }
}
