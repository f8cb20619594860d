//! Stable against stable, before the rollout (§2.1, A/A self-calibration).
//!
//! Some of stable's instances play the candidate in past windows; nothing differs, so every rollback is
//! a false one. That gives the roughness of the traffic, and then the rate of false rollbacks that the
//! policy really has on it; where that is too high, φ is raised until it is not.

use serde::{Deserialize, Serialize};

use crate::{
    compare::{Compare, ComparePolicy},
    counts::{Arm, InputError, Window},
    dispersion::{Dispersion, PHI, Roughness},
    range::PolicyError,
    verdict::Verdict,
};

/// By how much φ is raised at a time.
const RAISE: f64 = 1.25;
/// Below this the roughness is that of independent requests, and windows count as they come.
const SMOOTH: f64 = 1.05;

/// What a calibration found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calibration {
    /// The over-dispersion to begin rollouts with; `None` for traffic as smooth as independent
    /// requests.
    pub dispersion: Option<Dispersion>,
    /// What the past blocks alone say of it; `None` when none said anything.
    pub measured: Option<f64>,
    /// Blocks that said something.
    pub blocks: u32,
    /// Past rollouts that were replayed.
    pub rollouts: u32,
    /// Those that would have been rolled back, with the dispersion above.
    pub false_rollbacks: u32,
    /// Those that would have passed.
    pub passes: u32,
}

/// Why a calibration could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// The policy is broken.
    #[error("check the policy")]
    Policy(#[source] PolicyError),
    /// A past window is broken.
    #[error("replay past windows")]
    Input(#[source] InputError),
}

/// Calibrates `policy` on past rollouts of nothing: each a sequence of windows in which a part of
/// stable plays the candidate.
///
/// # Errors
/// A number of the policy that is out of its range, or a window that is none.
pub fn calibrate(
    policy: &ComparePolicy,
    past: &[Vec<Window>],
) -> Result<Calibration, CalibrationError> {
    let block_seconds = policy
        .dispersion
        .map_or(Dispersion::seeded(1.0).block_seconds, |it| it.block_seconds);
    let mut roughness = Roughness::default();
    for windows in past {
        measure(&mut roughness, windows, block_seconds);
    }
    let mut seed = roughness.seed().unwrap_or(*PHI.start());
    loop {
        let dispersion = (seed > SMOOTH).then(|| Dispersion {
            block_seconds,
            ..Dispersion::seeded(seed)
        });
        let (false_rollbacks, passes) = replay(policy, dispersion, past)?;
        let rollouts = past.len() as u32;
        let kept = f64::from(false_rollbacks) <= policy.alpha * f64::from(rollouts);
        if kept || seed >= *PHI.end() {
            return Ok(Calibration {
                dispersion,
                measured: roughness.phi(),
                blocks: roughness.blocks(),
                rollouts,
                false_rollbacks,
                passes,
            });
        }
        seed = (seed * RAISE).min(*PHI.end());
    }
}

/// Adds the blocks of one past rollout.
fn measure(roughness: &mut Roughness, windows: &[Window], block_seconds: f64) {
    let mut block: Option<(i64, Arm, Arm)> = None;
    for window in windows {
        let (from_ms, candidate, stable) =
            block.unwrap_or((window.from_ms, Arm::default(), Arm::default()));
        let candidate = candidate.plus(window.candidate);
        let stable = stable.plus(window.stable);
        let seconds = window.until_ms.saturating_sub(from_ms) as f64 / 1000.0;
        block = match seconds >= block_seconds {
            true => {
                roughness.add_equals(candidate, stable);
                None
            }
            false => Some((from_ms, candidate, stable)),
        };
    }
}

/// How many past rollouts would have been rolled back, and how many would have passed.
fn replay(
    policy: &ComparePolicy,
    dispersion: Option<Dispersion>,
    past: &[Vec<Window>],
) -> Result<(u32, u32), CalibrationError> {
    let policy = ComparePolicy {
        dispersion,
        ..policy.clone()
    };
    let gate = Compare::new(policy).map_err(CalibrationError::Policy)?;
    let (mut false_rollbacks, mut passes) = (0, 0);
    for windows in past {
        let mut state = gate.start();
        for window in windows {
            gate.fold(&mut state, window)
                .map_err(CalibrationError::Input)?;
        }
        gate.final_look(&mut state)
            .map_err(CalibrationError::Input)?;
        match state.verdict() {
            Verdict::Rollback(_) => false_rollbacks += 1,
            Verdict::Pass => passes += 1,
            Verdict::Hold(_) | Verdict::Continue => {}
        }
    }
    Ok((false_rollbacks, passes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty hours in which errors come alike, or all in one arm a minute, by turns.
    fn past(bursts: bool) -> Vec<Vec<Window>> {
        let window = |hour: i64, minute: i64| {
            let (candidate, stable) = match (bursts, (hour * 7 + minute * 5) % 3) {
                (false, _) => (10, 10),
                (true, 0) => (60, 4),
                (true, _) => (2, 20),
            };
            Window {
                from_ms: minute * 60_000,
                until_ms: (minute + 1) * 60_000,
                share: 5000,
                candidate: Arm::new(1000, candidate),
                stable: Arm::new(1000, stable),
            }
        };
        let hour = |hour| (0..60).map(|minute| window(hour, minute)).collect();
        (0..20).map(hour).collect()
    }

    #[test]
    fn smooth_traffic_needs_no_dispersion() {
        let found = calibrate(&ComparePolicy::default(), &past(false)).unwrap();
        assert_eq!((found.dispersion, found.false_rollbacks), (None, 0));
        assert_eq!((found.rollouts, found.blocks, found.passes), (20, 1200, 20));
    }

    #[test]
    fn rough_traffic_raises_it_until_the_promise_is_kept() {
        let policy = ComparePolicy {
            ceiling: None,
            ..ComparePolicy::default()
        };
        let found = calibrate(&policy, &past(true)).unwrap();
        let seed = found.dispersion.unwrap().seed;
        assert!(seed > 10.0, "{found:?}");
        assert!(found.false_rollbacks <= 1, "{found:?}");
        let without = replay(&policy, None, &past(true)).unwrap();
        assert!(without.0 >= 15, "{without:?}");
    }

    #[test]
    fn nothing_past_says_nothing() {
        let found = calibrate(&ComparePolicy::default(), &[]).unwrap();
        assert_eq!((found.measured, found.rollouts), (None, 0));
    }
}
