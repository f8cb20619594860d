//! From evidence to a verdict.

use super::{
    CEILING_POINTS, Compare, ComparePolicy, CompareState, Decision, Needed, Parts, millis,
    policy::Baseline, state::Processes,
};
use crate::{
    mixture::{Mixture, may_reach},
    special::{ln, log_sum_exp, real},
    verdict::{Grounds, Hold, Verdict},
};

/// The ceiling counts only while the candidate is this many times as bad as stable (§2.1).
const CEILING_BLAME: f64 = 2.0;
/// History counts only while the candidate is this many times as bad as stable (§2.1).
const HISTORY_BLAME: f64 = 1.5;
/// What comparison, history and ceiling weigh in the mean (§2.1). Without one of them the others keep
/// their proportion, but comparison alone with the ceiling is 0.75 to 0.25 as in §3.2.
const WEIGHTS: [f64; 3] = [0.45, 0.30, 0.25];
const WEIGHTS_WITHOUT_HISTORY: [f64; 3] = [0.75, 0.0, 0.25];

impl Compare {
    /// The verdict at `now_ms`, which is the last window's unless data stopped coming.
    pub fn verdict_at(&self, state: &CompareState, now_ms: i64) -> Verdict {
        let patience = self.policy.patience_seconds;
        state
            .verdict
            .unless_silent(state.watermark_ms, now_ms, patience)
    }

    /// Sets the verdict after a window that ended at `now_ms`.
    pub(super) fn judge(&self, state: &mut CompareState, now_ms: i64) {
        if state.decision.is_some() {
            return;
        }
        let mut ungated = 0.0;
        if self.may_roll_back(state) {
            let (parts, shares) = self.weigh(state);
            if parts.rollback >= self.needed.rollback {
                self.decide(state, grounds(&shares), now_ms);
                return;
            }
            if parts.ungated >= self.needed.rollback {
                ungated = parts.ungated;
            }
        }
        // Evidence outlasts an incident by hours where bounds are low; the hold lasts while it grows.
        if ungated > state.ungated {
            state.incident_ms = Some(now_ms);
        }
        state.ungated = ungated;
        if state.passed_ms.is_none() && self.is_proven(state) {
            state.passed_ms = Some(now_ms);
        }
        state.verdict = match (self.hold(state, now_ms), state.passed_ms) {
            (Some(hold), _) => Verdict::Hold(hold),
            (None, Some(_)) => Verdict::Pass,
            (None, None) => Verdict::Continue,
        };
    }

    pub(super) fn decide(&self, state: &mut CompareState, grounds: Grounds, at_ms: i64) {
        state.decision = Some(Decision { grounds, at_ms });
        state.passed_ms = None;
        state.verdict = Verdict::Rollback(grounds);
    }

    fn hold(&self, state: &CompareState, now_ms: i64) -> Option<Hold> {
        let policy = &self.policy;
        let silent = |seen_ms: Option<i64>| {
            let since = seen_ms.or(state.started_ms).unwrap_or(now_ms);
            now_ms.saturating_sub(since) >= millis(policy.patience_seconds)
        };
        if state.incident_ms.is_some_and(|it| !silent(Some(it))) {
            return Some(match state.stable_requests {
                0 => Hold::NoBaseline,
                _ => Hold::SharedIncident,
            });
        }
        let split = policy.share_check.as_ref();
        if split.is_some_and(|it| it.is_mismatch(&state.strata)) {
            return Some(Hold::ShareMismatch);
        }
        if silent(state.candidate_seen_ms) {
            return Some(Hold::NoTraffic);
        }
        if policy.baseline == Baseline::Required && silent(state.stable_seen_ms) {
            return Some(Hold::NoBaseline);
        }
        let worse = || {
            let least = state.strata.ratio_at_least(policy.alpha, self.phi(state));
            least.is_some_and(|it| it > 1.0)
        };
        (policy.hold_within_margin && worse()).then_some(Hold::WithinMargin)
    }

    /// The logs of all parts as they stand.
    pub fn parts(&self, state: &CompareState) -> Parts {
        self.weigh(state).0
    }

    /// The parts, and what each weighs in the rollback's mean: comparison, history, ceiling.
    fn weigh(&self, state: &CompareState) -> (Parts, [f64; 3]) {
        let evidence = &state.evidence;
        let relative = evidence.relative.log_e();
        let floor = evidence.floor.as_ref().map(|it| it.log_e());
        let history = evidence.history.as_ref().map(|it| it.log_e());
        let ceiling = evidence.ceiling.as_ref().map(|it| it.log_e());
        let none = f64::NEG_INFINITY;
        let [comparing, past, fixed] = self.needed.weights;
        // Both nulls must fall: within the margin, and below the floor (intersection-union).
        let compared = comparing + floor.map_or(relative, |it| it.min(relative));
        let all = [
            compared,
            history.map_or(none, |it| past + it),
            ceiling.map_or(none, |it| fixed + it),
        ];
        let blame = self.blame(state);
        let open = [true, blame >= HISTORY_BLAME, blame >= CEILING_BLAME];
        let [a, b, c] = open;
        let [x, y, z] = all;
        let gated = [(a, x), (b, y), (c, z)].map(|(open, log)| if open { log } else { none });
        let parts = Parts {
            relative,
            floor,
            history,
            ceiling,
            rollback: log_sum_exp(gated.into_iter()),
            ungated: log_sum_exp(all.into_iter()),
            pass: self.pass(evidence),
        };
        (parts, gated)
    }

    /// `ln E_pass`: the mean of both nulls that a pass refutes.
    fn pass(&self, evidence: &Processes) -> f64 {
        let inferior = evidence.inferior.log_e();
        evidence.under.as_ref().map_or(inferior, |it| {
            log_sum_exp([inferior, it.log_e()].into_iter()) - self.needed.ln_2
        })
    }

    /// Whether it is proven that the candidate is not inferior.
    fn is_proven(&self, state: &CompareState) -> bool {
        let evidence = &state.evidence;
        let both = [Some(&evidence.inferior), evidence.under.as_ref()];
        self.may_reach(both, self.needed.pass) && self.pass(evidence) >= self.needed.pass
    }

    /// Whether the weighted mean of what speaks for a rollback can be enough for one.
    fn may_roll_back(&self, state: &CompareState) -> bool {
        let evidence = &state.evidence;
        let parts = [
            Some(&evidence.relative),
            evidence.history.as_ref(),
            evidence.ceiling.as_ref(),
        ];
        self.may_reach(parts, self.needed.rollback)
    }

    /// Whether a mean of these can be as much as `needed`.
    fn may_reach<const N: usize>(&self, parts: [Option<&Mixture>; N], needed: f64) -> bool {
        let largest = parts.into_iter().flatten().map(Mixture::largest);
        may_reach(largest.fold(0.0, f64::max), self.needed.ln_terms, needed)
    }

    /// How many times as bad as stable the candidate is. Infinite where there is no stable at the
    /// present share to be compared with and the policy does without.
    fn blame(&self, state: &CompareState) -> f64 {
        match self.policy.baseline {
            Baseline::Optional if state.stable_requests == 0 => f64::INFINITY,
            Baseline::Optional | Baseline::Required => state.blame.ratio(),
        }
    }
}

impl Needed {
    pub(super) fn new(policy: &ComparePolicy) -> Self {
        let weights = match policy.history {
            Some(_) => WEIGHTS,
            None => WEIGHTS_WITHOUT_HISTORY,
        };
        let present = [true, policy.history.is_some(), policy.ceiling.is_some()];
        let counted = weights.iter().zip(present).filter(|(_, present)| *present);
        let whole: f64 = counted.map(|(weight, _)| weight).sum();
        let points = policy.grid.len().max(policy.pass_grid.len());
        let points = points.max(CEILING_POINTS);
        Self {
            rollback: -ln(policy.alpha_sequential()),
            pass: -ln(policy.beta),
            weights: weights.map(|it| ln(it / whole)),
            ln_2: ln(2.0),
            ln_terms: ln(real(points as u64 + 1)),
        }
    }
}

/// What weighed most.
fn grounds([comparison, history, ceiling]: &[f64; 3]) -> Grounds {
    if comparison >= history && comparison >= ceiling {
        Grounds::Comparison
    } else if ceiling >= history {
        Grounds::Ceiling
    } else {
        Grounds::History
    }
}
