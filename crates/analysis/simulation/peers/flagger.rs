//! Flagger's documented example: every minute the success rate must be 99 %; ten checks that are not
//! roll back, ten that are promote.
//!
//! Sources, flagger at 15bd6ad: docs/gitbook/usage/how-it-works.md (interval 1m, threshold 10,
//! maxWeight 50, stepWeight 5, success rate ≥ 99), pkg/controller/scheduler.go and
//! pkg/canary/status.go (`failedChecks` adds up and is zeroed by a new revision only),
//! pkg/metrics/providers/prometheus.go (NaN or nothing is `ErrNoValuesFound`, a failed check).

use analysis::{Arm, Window};

use crate::simulation::{TICK_SECONDS, rules::Rule};

const EVERY_TICKS: u32 = 60 / TICK_SECONDS;
const SUCCESS: f64 = 0.99;
const THRESHOLD: u32 = 10;
const STEPS: u32 = 10;

/// One rollout under it.
#[derive(Debug, Default)]
pub struct Flagger {
    tick: u32,
    minute: Arm,
    failed: u32,
    passed: u32,
}

impl Rule for Flagger {
    fn look(&mut self, window: &Window) -> bool {
        self.tick += 1;
        self.minute = self.minute.plus(window.candidate);
        if !self.tick.is_multiple_of(EVERY_TICKS) || self.passes() {
            return false;
        }
        let arm = std::mem::take(&mut self.minute);
        let success = (arm.requests - arm.bad) as f64 / arm.requests as f64;
        match success >= SUCCESS {
            true => self.passed += 1,
            false => self.failed += 1,
        }
        self.failed >= THRESHOLD
    }

    fn passes(&self) -> bool {
        self.passed >= STEPS
    }
}
