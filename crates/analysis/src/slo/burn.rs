//! The gate that holds the candidate against an objective.

use serde::{Deserialize, Serialize};

use crate::{
    ceiling::{ALTERNATIVES, Ceiling},
    compare::PASS_GRID,
    counts::{Arm, InputError, Order, Window, order},
    fingerprint::Fingerprint,
    increment::rare,
    mixture::Mixture,
    range::{PolicyError, chance, within},
    said::{said, seconds},
    special::{ln, log_add_exp, real},
    verdict::{Grounds, Hold, Verdict},
    words::{count, percent, short},
};

/// The layout of [`BurnState`].
pub const BURN_VERSION: u16 = 1;
/// How many times as bad as stable the candidate must be to be blamed (§2.1, attribution).
const BLAME: f64 = 2.0;

/// The promises and settings of an objective's gate, fixed before the first window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BurnPolicy {
    /// The share of good requests that is promised, such as 0.999.
    pub objective: f64,
    /// The burn rate that ends a rollout fast.
    pub fast: f64,
    /// The burn rate that ends it when it lasts; a pass rules it out.
    pub slow: f64,
    /// The chance that a candidate below the burn rates is ever rolled back.
    pub alpha: f64,
    /// The chance that one above the slow burn rate ever passes.
    pub beta: f64,
    /// How long the candidate may be without requests before the gate holds.
    pub patience_seconds: f64,
}

impl BurnPolicy {
    /// The burn rates of the SRE workbook, 14.4 and 6.
    pub fn new(objective: f64) -> Self {
        Self {
            objective,
            fast: 14.4,
            slow: 6.0,
            alpha: 0.05,
            beta: 0.05,
            patience_seconds: 60.0,
        }
    }

    fn ceiling(&self, rate: f64) -> f64 {
        rate * (1.0 - self.objective)
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        chance("alpha", self.alpha)?;
        chance("beta", self.beta)?;
        within("objective", self.objective, 0.5, 0.999_999_9)?;
        within("slow", self.slow, 1.0, 1e4)?;
        within("fast", self.fast, self.slow, 1e4)?;
        // A burn rate that not even a total failure reaches is a gate that never fails.
        within("fast × (1 − objective)", self.ceiling(self.fast), 1e-7, 0.9)?;
        within("patienceSeconds", self.patience_seconds, 0.001, 1e9)
    }
}

/// What an objective's gate has learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BurnState {
    version: u16,
    policy: u64,
    started_ms: Option<i64>,
    watermark_ms: Option<i64>,
    seen_ms: Option<i64>,
    fast: Mixture,
    slow: Mixture,
    under: Mixture,
    share: u32,
    /// Totals since the share changed: who is to blame now.
    recent: (Arm, Arm),
    /// All totals of the candidate.
    candidate: Arm,
    decided_ms: Option<i64>,
    passed_ms: Option<i64>,
    verdict: Verdict,
}

impl BurnState {
    /// How the gate stands after the last window.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the candidate has had any request yet.
    pub fn has_requests(&self) -> bool {
        self.seen_ms.is_some()
    }

    /// The end of the last window that was folded in.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }
}

/// An objective's gate: a checked policy and what is computed from it once.
#[derive(Debug, Clone)]
pub struct Burn {
    policy: BurnPolicy,
    fingerprint: u64,
    fast: Ceiling,
    slow: Ceiling,
}

impl Burn {
    /// A gate of `policy`.
    ///
    /// # Errors
    /// A number of the policy that is out of its range.
    pub fn new(policy: BurnPolicy) -> Result<Self, PolicyError> {
        policy.check()?;
        let fingerprint = Fingerprint::default()
            .bytes(b"burn")
            .numbers(&[policy.objective, policy.fast, policy.slow])
            .numbers(&[policy.alpha, policy.beta, policy.patience_seconds])
            .finish();
        Ok(Self {
            fingerprint,
            fast: Ceiling::new(policy.ceiling(policy.fast)),
            slow: Ceiling::new(policy.ceiling(policy.slow)),
            policy,
        })
    }

    /// The state before the first window.
    pub fn start(&self) -> BurnState {
        BurnState {
            version: BURN_VERSION,
            policy: self.fingerprint,
            started_ms: None,
            watermark_ms: None,
            seen_ms: None,
            fast: Mixture::new(ALTERNATIVES.len(), 1.0),
            slow: Mixture::new(ALTERNATIVES.len(), 1.0),
            under: Mixture::new(PASS_GRID.len(), 1.0),
            share: 0,
            recent: (Arm::default(), Arm::default()),
            candidate: Arm::default(),
            decided_ms: None,
            passed_ms: None,
            verdict: Verdict::Continue,
        }
    }

    /// Checks a state that was read from where it was stored.
    ///
    /// # Errors
    /// [`InputError::OtherVersion`], [`InputError::OtherPolicy`], [`InputError::Damaged`].
    pub fn check(&self, state: &BurnState) -> Result<(), InputError> {
        if state.version != BURN_VERSION {
            return Err(InputError::OtherVersion {
                version: state.version,
                ours: BURN_VERSION,
            });
        }
        if state.policy != self.fingerprint {
            return Err(InputError::OtherPolicy);
        }
        let points = ALTERNATIVES.len();
        let sound = state.fast.is_sound(points) && state.slow.is_sound(points);
        match sound && state.under.is_sound(PASS_GRID.len()) {
            true => Ok(()),
            false => Err(InputError::Damaged {
                what: "its e-processes",
            }),
        }
    }

    /// Folds one window into the state. A window that was folded in before changes nothing.
    ///
    /// # Errors
    /// The window's or state's fault; the state is then as it was before.
    pub fn fold(&self, state: &mut BurnState, window: &Window) -> Result<(), InputError> {
        window.check()?;
        self.check(state)?;
        match order(state.watermark_ms, window.from_ms, window.until_ms)? {
            Order::Seen => return Ok(()),
            Order::Next => {}
        }
        state.started_ms.get_or_insert(window.from_ms);
        state.watermark_ms = Some(window.until_ms);
        if window.candidate.requests > 0 {
            state.seen_ms = Some(window.until_ms);
        }
        if state.share != window.share {
            state.share = window.share;
            state.recent = (Arm::default(), Arm::default());
            state.passed_ms = None;
        }
        state.recent.0 = state.recent.0.plus(window.candidate);
        state.recent.1 = state.recent.1.plus(window.stable);
        state.candidate = state.candidate.plus(window.candidate);
        let (requests, bad) = (real(window.candidate.requests), real(window.candidate.bad));
        self.fast.add(&mut state.fast, requests, bad);
        self.slow.add(&mut state.slow, requests, bad);
        let bound = self.policy.ceiling(self.policy.slow);
        let under = PASS_GRID.map(|g| rare(bound, g, ln(g), requests, bad));
        state.under.add(under.into_iter());
        self.judge(state, window.until_ms);
        Ok(())
    }

    /// `ln E` that the candidate burns too fast: the mean over both rates.
    pub fn log_e(&self, state: &BurnState) -> f64 {
        log_add_exp(state.fast.log_e(), state.slow.log_e()) - ln(2.0)
    }

    fn judge(&self, state: &mut BurnState, now_ms: i64) {
        if state.decided_ms.is_some() {
            return;
        }
        let proven = self.log_e(state) >= -ln(self.policy.alpha);
        let (candidate, stable) = state.recent;
        let to_blame = candidate.smoothed_rate() >= BLAME * stable.smoothed_rate();
        if proven && to_blame {
            state.decided_ms = Some(now_ms);
            state.passed_ms = None;
            state.verdict = Verdict::Rollback(Grounds::Ceiling);
            return;
        }
        if state.under.log_e() >= -ln(self.policy.beta) {
            state.passed_ms.get_or_insert(now_ms);
        }
        let since_ms = now_ms.saturating_sub(state.seen_ms.or(state.started_ms).unwrap_or(now_ms));
        let silent = since_ms as f64 >= self.policy.patience_seconds * 1000.0;
        state.verdict = if proven && stable.requests == 0 {
            Verdict::Hold(Hold::NoBaseline)
        } else if proven {
            Verdict::Hold(Hold::SharedIncident)
        } else if silent {
            Verdict::Hold(Hold::NoTraffic)
        } else if state.passed_ms.is_some() {
            Verdict::Pass
        } else {
            Verdict::Continue
        };
    }

    /// The verdict at `now_ms`, which is the last window's unless data stopped coming.
    pub fn verdict_at(&self, state: &BurnState, now_ms: i64) -> Verdict {
        let patience = self.policy.patience_seconds;
        state
            .verdict
            .unless_silent(state.watermark_ms, now_ms, patience)
    }

    /// One sentence; `bad` names what is bad: `errors`.
    pub fn sentence(&self, state: &BurnState, bad: &str) -> String {
        let burn = state.candidate.rate() / (1.0 - self.policy.objective);
        let until_ms = state.decided_ms.or(state.passed_ms).or(state.watermark_ms);
        format!(
            "{bad}: candidate {} of {} requests, burns the budget of {} at {} times its rate; {}",
            count(state.candidate.bad),
            count(state.candidate.requests),
            percent(1.0 - self.policy.objective),
            short(burn),
            said(
                state.verdict,
                (self.policy.alpha, self.policy.beta),
                seconds(state.started_ms, until_ms)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(windows: impl IntoIterator<Item = (Arm, Arm)>) -> (Burn, BurnState) {
        let gate = Burn::new(BurnPolicy::new(0.999)).unwrap();
        let mut state = gate.start();
        for (second, (candidate, stable)) in (0..).zip(windows) {
            let window = Window {
                from_ms: second * 1000,
                until_ms: (second + 1) * 1000,
                share: 2500,
                candidate,
                stable,
            };
            gate.fold(&mut state, &window).unwrap();
        }
        (gate, state)
    }

    #[test]
    fn a_candidate_that_burns_alone_is_rolled_back() {
        let (gate, state) = run([(Arm::new(25, 5), Arm::new(75, 0)); 3]);
        assert_eq!(state.verdict(), Verdict::Rollback(Grounds::Ceiling));
        let sentence = gate.sentence(&state, "errors");
        assert!(sentence.contains("budget of 0.1 %"), "{sentence}");
    }

    #[test]
    fn a_service_that_burns_as_a_whole_is_held() {
        let (_, state) = run([(Arm::new(25, 5), Arm::new(75, 15)); 10]);
        assert_eq!(state.verdict(), Verdict::Hold(Hold::SharedIncident));
        let (_, state) = run([(Arm::new(25, 5), Arm::default()); 10]);
        assert_eq!(state.verdict(), Verdict::Hold(Hold::NoBaseline));
    }

    #[test]
    fn a_candidate_within_the_objective_passes_and_a_silent_one_does_not() {
        let (_, state) = run([(Arm::new(25, 0), Arm::new(75, 0)); 60]);
        assert_eq!(state.verdict(), Verdict::Pass);
        let (_, state) = run([(Arm::default(), Arm::new(75, 0)); 60]);
        assert_eq!(state.verdict(), Verdict::Hold(Hold::NoTraffic));
    }

    #[test]
    fn an_objective_that_no_failure_can_miss_is_refused() {
        let error = Burn::new(BurnPolicy::new(0.9)).unwrap_err();
        assert_eq!(error.field, "fast × (1 − objective)");
    }
}
