//! Argo Rollouts' documented example: every five minutes the success rate must be 95 %, and the
//! fourth measurement that is not rolls back.
//!
//! Sources, argo-rollouts at 9f8d111: docs/features/analysis.md ("interval: 5m", "failureLimit: 3",
//! "NaN and Infinity"), docs/analysis/prometheus.md (`irate`), utils/evaluate/evaluate.go (given only
//! a success condition, what is not a success is a failure, NaN included), analysis/analysis.go
//! (`assessMetricFailureInconclusiveOrError`: failed > failureLimit), utils/defaults/defaults.go
//! (more than 4 errors in a row, retried every 10 s). The measurement at the start is skipped, which
//! favours it: without traffic yet it would fail.

use analysis::Window;

use crate::simulation::{TICK_SECONDS, rules::Rule};

const EVERY_TICKS: u32 = 300 / TICK_SECONDS;
const SUCCESS: f64 = 0.95;
const FAILURE_LIMIT: u32 = 3;
const ERROR_LIMIT: u32 = 4;

/// One rollout under it.
#[derive(Debug, Default)]
pub struct Argo {
    tick: u32,
    good: u64,
    failed: u32,
    errors: u32,
    successful: u32,
}

impl Rule for Argo {
    fn look(&mut self, window: &Window) -> bool {
        self.tick += 1;
        self.good += window.candidate.requests - window.candidate.bad;
        // A retry comes after 10 s; the next tick is the nearest look of this simulation.
        let retry = self.errors > 0;
        if !retry && !self.tick.is_multiple_of(EVERY_TICKS) {
            return false;
        }
        if self.good == 0 {
            // No series of successes yet: the result is empty and has no first element.
            self.errors += 1;
            return self.errors > ERROR_LIMIT;
        }
        self.errors = 0;
        // `irate` takes the last two samples: this window. Without requests it is 0/0.
        let arm = window.candidate;
        let success = (arm.requests - arm.bad) as f64 / arm.requests as f64;
        match success >= SUCCESS {
            true => self.successful += 1,
            false => self.failed += 1,
        }
        self.failed > FAILURE_LIMIT
    }

    fn passes(&self) -> bool {
        // Steps of the example: eight measurements, forty minutes.
        self.successful >= 8
    }
}
