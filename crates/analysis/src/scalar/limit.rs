//! One number against a fixed bound, with a tolerated part of samples beyond it (§2.3, single arm).

use serde::{Deserialize, Serialize};

use super::Worse;
use crate::{
    ceiling::{ALTERNATIVES, Ceiling},
    compare::PASS_GRID,
    counts::{Arm, InputError, Order, order},
    fingerprint::Fingerprint,
    increment::rare,
    mixture::Mixture,
    range::{PolicyError, chance, within},
    special::{ln, real},
    verdict::{Grounds, Verdict},
};

/// The layout of [`LimitState`].
pub const LIMIT_VERSION: u16 = 1;

/// The promises and settings of a limit gate, fixed before the first sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitPolicy {
    /// The bound, in the number's unit.
    pub bound: f64,
    /// Which way is beyond it.
    pub worse: Worse,
    /// The part of samples that may be beyond it.
    pub tolerated: f64,
    /// The chance that a candidate that keeps to this is ever rolled back.
    pub alpha: f64,
    /// The chance that one that does not ever passes.
    pub beta: f64,
    /// How long there may be no sample before the gate holds.
    pub patience_seconds: f64,
}

impl LimitPolicy {
    /// At most one sample in twenty beyond `bound`.
    pub fn new(bound: f64, worse: Worse) -> Self {
        Self {
            bound,
            worse,
            tolerated: 0.05,
            alpha: 0.05,
            beta: 0.05,
            patience_seconds: 60.0,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        within("bound", self.bound, f64::MIN, f64::MAX)?;
        within("tolerated", self.tolerated, 1e-6, 0.9)?;
        chance("alpha", self.alpha)?;
        chance("beta", self.beta)?;
        within("patienceSeconds", self.patience_seconds, 0.001, 1e9)
    }
}

/// What a limit gate has learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitState {
    version: u16,
    policy: u64,
    pub(super) started_ms: Option<i64>,
    pub(super) watermark_ms: Option<i64>,
    above: Mixture,
    under: Mixture,
    /// Samples, and those beyond the bound.
    pub(super) samples: Arm,
    pub(super) decided_ms: Option<i64>,
    pub(super) passed_ms: Option<i64>,
    pub(super) verdict: Verdict,
}

impl LimitState {
    /// How the gate stands after the last sample.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Samples, and those beyond the bound.
    pub fn samples(&self) -> Arm {
        self.samples
    }
}

/// A limit gate: a checked policy and what is computed from it once.
#[derive(Debug, Clone)]
pub struct Limit {
    pub(super) policy: LimitPolicy,
    fingerprint: u64,
    ceiling: Ceiling,
}

impl Limit {
    /// A gate of `policy`.
    ///
    /// # Errors
    /// A number of the policy that is out of its range.
    pub fn new(policy: LimitPolicy) -> Result<Self, PolicyError> {
        policy.check()?;
        let fingerprint = Fingerprint::default()
            .bytes(b"limit")
            .numbers(&[policy.bound, policy.tolerated, policy.alpha, policy.beta])
            .number(policy.patience_seconds)
            .bytes(&[match policy.worse {
                Worse::Higher => 0,
                Worse::Lower => 1,
            }])
            .finish();
        Ok(Self {
            fingerprint,
            ceiling: Ceiling::new(policy.tolerated),
            policy,
        })
    }

    /// The state before the first sample.
    pub fn start(&self) -> LimitState {
        LimitState {
            version: LIMIT_VERSION,
            policy: self.fingerprint,
            started_ms: None,
            watermark_ms: None,
            above: Mixture::new(ALTERNATIVES.len(), 1.0),
            under: Mixture::new(PASS_GRID.len(), 1.0),
            samples: Arm::default(),
            decided_ms: None,
            passed_ms: None,
            verdict: Verdict::Continue,
        }
    }

    /// Folds one sample, which stands for the time from `from_ms` to `until_ms`, into the state.
    /// Samples must not overlap in what they look back on.
    ///
    /// # Errors
    /// The sample's or state's fault; the state is then as it was before.
    pub fn fold(
        &self,
        state: &mut LimitState,
        (from_ms, until_ms): (i64, i64),
        value: f64,
    ) -> Result<(), InputError> {
        self.check(state)?;
        if until_ms <= from_ms {
            return Err(InputError::Backwards { from_ms, until_ms });
        }
        if !value.is_finite() {
            let what = "the candidate's number";
            return Err(InputError::NotFinite { what, value });
        }
        match order(state.watermark_ms, from_ms, until_ms)? {
            Order::Seen => return Ok(()),
            Order::Next => {}
        }
        state.started_ms.get_or_insert(from_ms);
        state.watermark_ms = Some(until_ms);
        let beyond = match self.policy.worse {
            Worse::Higher => value > self.policy.bound,
            Worse::Lower => value < self.policy.bound,
        };
        let sample = Arm::new(1, u64::from(beyond));
        state.samples = state.samples.plus(sample);
        let (one, bad) = (real(sample.requests), real(sample.bad));
        self.ceiling.add(&mut state.above, one, bad);
        let tolerated = self.policy.tolerated;
        let under = PASS_GRID.map(|g| rare(tolerated, g, ln(g), one, bad));
        state.under.add(under.into_iter());
        if state.decided_ms.is_none() {
            if state.above.log_e() >= -ln(self.policy.alpha) {
                state.decided_ms = Some(until_ms);
                state.verdict = Verdict::Rollback(Grounds::Ceiling);
            } else if state.under.log_e() >= -ln(self.policy.beta) {
                state.passed_ms.get_or_insert(until_ms);
                state.verdict = Verdict::Pass;
            }
        }
        Ok(())
    }

    /// Checks a state that was read from where it was stored.
    ///
    /// # Errors
    /// [`InputError::OtherVersion`], [`InputError::OtherPolicy`], [`InputError::Damaged`].
    pub fn check(&self, state: &LimitState) -> Result<(), InputError> {
        if state.version != LIMIT_VERSION {
            return Err(InputError::OtherVersion {
                version: state.version,
                ours: LIMIT_VERSION,
            });
        }
        if state.policy != self.fingerprint {
            return Err(InputError::OtherPolicy);
        }
        let sound = state.above.is_sound(ALTERNATIVES.len());
        match sound && state.under.is_sound(PASS_GRID.len()) {
            true => Ok(()),
            false => Err(InputError::Damaged {
                what: "its e-processes",
            }),
        }
    }

    /// The verdict at `now_ms`, which is the last sample's unless data stopped coming.
    pub fn verdict_at(&self, state: &LimitState, now_ms: i64) -> Verdict {
        let patience = self.policy.patience_seconds;
        state
            .verdict
            .unless_silent(state.watermark_ms, now_ms, patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: impl IntoIterator<Item = f64>) -> LimitState {
        let gate = Limit::new(LimitPolicy::new(500.0, Worse::Higher)).unwrap();
        let mut state = gate.start();
        for (second, value) in (0..).zip(values) {
            let window = (second * 1000, (second + 1) * 1000);
            gate.fold(&mut state, window, value).unwrap();
        }
        state
    }

    #[test]
    fn two_samples_beyond_the_bound_are_enough_and_one_is_not() {
        assert_eq!(run([900.0]).verdict(), Verdict::Continue);
        let two = run([900.0, 900.0]);
        assert_eq!(two.verdict(), Verdict::Rollback(Grounds::Ceiling));
        // It stands, whatever comes.
        let later = run([900.0, 900.0].into_iter().chain([100.0; 500]));
        assert_eq!(later.verdict(), Verdict::Rollback(Grounds::Ceiling));
    }

    #[test]
    fn samples_that_keep_to_the_bound_pass_after_a_while() {
        assert_eq!(run([100.0; 20]).verdict(), Verdict::Continue);
        assert_eq!(run([100.0; 120]).verdict(), Verdict::Pass);
    }

    #[test]
    fn nothing_passes_for_want_of_numbers() {
        let gate = Limit::new(LimitPolicy::new(500.0, Worse::Higher)).unwrap();
        let mut state = gate.start();
        for value in [f64::NAN, f64::INFINITY] {
            let error = gate.fold(&mut state, (0, 1000), value).unwrap_err();
            assert!(matches!(error, InputError::NotFinite { .. }));
        }
        assert_eq!(state, gate.start());
    }
}
