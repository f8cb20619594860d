//! Runs many rollouts on all cores and tallies what each rule did.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use analysis::Window;
use rand::SeedableRng;

use super::{TICK_SECONDS, TICKS, rules::Rule, traffic::Random};

/// What one rule did in many rollouts of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rollouts.
    pub runs: u32,
    /// Rollouts that were rolled back within the hour.
    pub rollbacks: u32,
    /// Rollouts that passed before they were rolled back, if they were.
    pub passes: u32,
    /// Rollouts that passed and were never rolled back.
    pub promoted: u32,
    /// Errors that candidates served until rolled back, or in the whole hour.
    pub errors: u64,
    /// Ticks until the rollback, one entry a rollback.
    rollback_ticks: Vec<u32>,
    pass_ticks: Vec<u32>,
}

impl Tally {
    /// Judges the windows of one rollout.
    pub fn run(&mut self, windows: &[Window], rule: &mut dyn Rule) {
        self.runs += 1;
        let (mut errors, mut passed, mut rolled_back) = (0, None, None);
        for (tick, window) in (1..).zip(windows) {
            errors += window.candidate.bad;
            if rule.look(window) {
                rolled_back = Some(tick);
                break;
            }
            if passed.is_none() && rule.passes() {
                passed = Some(tick);
            }
        }
        if rolled_back.is_none() && rule.end() {
            rolled_back = Some(TICKS);
        }
        self.errors += errors;
        self.pass_ticks.extend(passed);
        self.passes += u32::from(passed.is_some());
        self.rollback_ticks.extend(rolled_back);
        match rolled_back {
            Some(_) => self.rollbacks += 1,
            None => self.promoted += u32::from(passed.is_some()),
        }
    }

    /// Adds what another thread tallied.
    pub fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.rollbacks += other.rollbacks;
        self.passes += other.passes;
        self.promoted += other.promoted;
        self.errors += other.errors;
        self.rollback_ticks.extend(&other.rollback_ticks);
        self.pass_ticks.extend(&other.pass_ticks);
    }

    /// The part of rollouts that were rolled back.
    pub fn rollback_rate(&self) -> f64 {
        f64::from(self.rollbacks) / f64::from(self.runs.max(1))
    }

    /// The part of rollouts that passed before they were rolled back, if they were.
    pub fn pass_rate(&self) -> f64 {
        f64::from(self.passes) / f64::from(self.runs.max(1))
    }

    /// The part of rollouts that passed and were never rolled back.
    pub fn promotion_rate(&self) -> f64 {
        f64::from(self.promoted) / f64::from(self.runs.max(1))
    }

    /// The mean of errors served.
    pub fn mean_errors(&self) -> f64 {
        self.errors as f64 / f64::from(self.runs.max(1))
    }

    /// The median time to the rollback over all rollouts, in minutes; `None` when half are never
    /// rolled back.
    pub fn median_minutes(&self) -> Option<f64> {
        median(&self.rollback_ticks, self.runs)
    }

    /// The median time to the pass over all rollouts, in minutes.
    pub fn median_pass_minutes(&self) -> Option<f64> {
        median(&self.pass_ticks, self.runs)
    }
}

fn median(ticks: &[u32], runs: u32) -> Option<f64> {
    let mut ticks = ticks.to_vec();
    ticks.sort_unstable();
    let middle = ticks.get((runs as usize).saturating_sub(1) / 2)?;
    Some(f64::from(*middle) * f64::from(TICK_SECONDS) / 60.0)
}

/// Does `jobs` jobs on all cores; the results are in the jobs' order. Each job has a generator of its
/// own, seeded by its number, so that figures do not depend on how many cores there are.
pub fn on_all_cores<T: Send>(
    seed: u64,
    jobs: usize,
    job: impl Fn(usize, &mut Random) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(jobs));
    let cores = std::thread::available_parallelism().map_or(1, |it| it.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        break;
                    }
                    let stream = seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let result = job(number, &mut Random::seed_from_u64(stream));
                    done.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
