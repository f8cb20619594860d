//! What statistical gates learn over a whole rollout.
//!
//! A threshold is judged anew in each step; evidence is one e-process for all steps, because looking
//! again after each of them would break the promised error rates. It belongs to an attempt: who
//! orders a retry asks again, with error rates of its own.

use serde::{Deserialize, Serialize};

use analysis::{
    Burn, BurnState, Compare, CompareState, InputError, Latency, LatencyState, LatencyWindow,
    PolicyError, Scalar, ScalarState, Tails,
};

use serde_json::json;

use super::{Gate, Question, Reading, Verdict};

/// What one gate has learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Evidence {
    /// Of a rate of bad requests.
    Compare(Box<CompareState>),
    /// Of latency.
    Latency(Box<LatencyState>),
    /// Of an objective's budget.
    Slo(Box<BurnState>),
    /// Of a plain number.
    Scalar(Box<ScalarState>),
}

/// How a statistical gate judges: its checked policy with what is computed from it.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Compare(Compare),
    Latency(Latency),
    Slo(Burn),
    Scalar(Scalar),
}

/// Why evidence cannot be gone on with. The gate has no data then: it never passes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum EvidenceError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("the evidence was gathered for another kind of gate")]
    OtherKind,
}

impl Test {
    /// The test of a question; `None` for those that are judged reading by reading.
    pub(super) fn of(question: &Question) -> Result<Option<Self>, EvidenceError> {
        Ok(match question {
            Question::Threshold(_) | Question::Webhook(_) => None,
            Question::Compare(it) => Some(Self::Compare(Compare::new(it.policy.clone())?)),
            Question::Latency(it) => Some(Self::Latency(Latency::new(it.policy.clone())?)),
            Question::Slo(it) => Some(Self::Slo(Burn::new(it.policy.clone())?)),
            Question::Scalar(it) => Some(Self::Scalar(Scalar::new(it.policy.clone())?)),
        })
    }

    /// The evidence before the first window.
    pub(super) fn start(&self) -> Evidence {
        match self {
            Self::Compare(it) => Evidence::Compare(Box::new(it.start())),
            Self::Latency(it) => Evidence::Latency(Box::new(it.start())),
            Self::Slo(it) => Evidence::Slo(Box::new(it.start())),
            Self::Scalar(it) => Evidence::Scalar(Box::new(it.start())),
        }
    }

    /// Folds a reading in; whether it was a window.
    pub(super) fn fold(
        &self,
        evidence: &mut Evidence,
        reading: &Reading,
    ) -> Result<bool, EvidenceError> {
        match (self, evidence, reading) {
            (Self::Compare(it), Evidence::Compare(state), Reading::Counts { window }) => {
                it.fold(state, window)?;
            }
            (Self::Slo(it), Evidence::Slo(state), Reading::Counts { window }) => {
                it.fold(state, window)?;
            }
            (Self::Scalar(it), Evidence::Scalar(state), Reading::Pair { window }) => {
                it.fold(state, window)?;
            }
            (Self::Latency(it), Evidence::Latency(state), Reading::Histograms { window }) => {
                let window = LatencyWindow {
                    from_ms: window.from_ms,
                    until_ms: window.until_ms,
                    share: window.share,
                    tails: Tails::new(&window.candidate, &window.stable)?,
                };
                it.fold(state, &window)?;
            }
            (Self::Compare(_), Evidence::Compare(_), _)
            | (Self::Slo(_), Evidence::Slo(_), _)
            | (Self::Scalar(_), Evidence::Scalar(_), _)
            | (Self::Latency(_), Evidence::Latency(_), _) => return Ok(false),
            (_, Evidence::Compare(_), _)
            | (_, Evidence::Slo(_), _)
            | (_, Evidence::Scalar(_), _)
            | (_, Evidence::Latency(_), _) => return Err(EvidenceError::OtherKind),
        }
        Ok(true)
    }

    /// Makes the exact test that a gate's end reserves, where there is one.
    pub(super) fn final_look(&self, evidence: &mut Evidence) -> Result<(), EvidenceError> {
        if let (Self::Compare(it), Evidence::Compare(state)) = (self, evidence) {
            it.final_look(state)?;
        }
        Ok(())
    }

    /// How the gate stands at a moment, in milliseconds since 1970.
    pub(super) fn verdict(&self, evidence: &Evidence, now_ms: i64) -> Verdict {
        let verdict = match (self, evidence) {
            (Self::Compare(it), Evidence::Compare(state)) => it.verdict_at(state, now_ms),
            (Self::Latency(it), Evidence::Latency(state)) => it.verdict_at(state, now_ms),
            (Self::Slo(it), Evidence::Slo(state)) => it.verdict_at(state, now_ms),
            (Self::Scalar(it), Evidence::Scalar(state)) => it.verdict_at(state, now_ms),
            (Self::Compare(_) | Self::Latency(_) | Self::Slo(_) | Self::Scalar(_), _) => {
                return Verdict::NoData;
            }
        };
        match word(verdict) {
            // Little data may be waived by a policy, none at all never in its name.
            Verdict::Inconclusive if !evidence.has_requests() => Verdict::NoData,
            verdict => verdict,
        }
    }

    /// The evidence in one sentence; `name` is the gate's.
    pub(super) fn sentence(&self, evidence: &Evidence, name: &str) -> Option<String> {
        match (self, evidence) {
            (Self::Compare(it), Evidence::Compare(state)) => {
                Some(it.evidence(state).sentence(name))
            }
            (Self::Latency(it), Evidence::Latency(state)) => Some(it.evidence(state).sentence()),
            (Self::Slo(it), Evidence::Slo(state)) => Some(it.sentence(state, name)),
            (Self::Scalar(it), Evidence::Scalar(state)) => Some(it.sentence(state, name, "")),
            (Self::Compare(_) | Self::Latency(_) | Self::Slo(_) | Self::Scalar(_), _) => None,
        }
    }
}

impl Test {
    /// The numbers behind the sentence, for the API.
    fn numbers(&self, evidence: &Evidence) -> Option<serde_json::Value> {
        match (self, evidence) {
            (Self::Compare(it), Evidence::Compare(state)) => {
                serde_json::to_value(it.evidence(state)).ok()
            }
            (Self::Latency(it), Evidence::Latency(state)) => {
                serde_json::to_value(it.evidence(state)).ok()
            }
            (Self::Slo(it), Evidence::Slo(state)) => Some(json!({ "logE": it.log_e(state) })),
            (Self::Scalar(it), Evidence::Scalar(state)) => Some(json!({
                "logE": it.log_e(state), "logEPass": it.log_e_pass(state),
            })),
            (Self::Compare(_) | Self::Latency(_) | Self::Slo(_) | Self::Scalar(_), _) => None,
        }
    }
}

impl Gate {
    /// The numbers of what the gate has learnt, for the API; `None` for a gate that is judged reading
    /// by reading.
    pub fn numbers(&self, evidence: &Evidence) -> Option<serde_json::Value> {
        Test::of(&self.question).ok()??.numbers(evidence)
    }
}

impl Evidence {
    /// Whether there was anything of the candidate's to judge yet.
    fn has_requests(&self) -> bool {
        match self {
            Self::Compare(it) => it.has_requests(),
            Self::Latency(it) => it.has_requests(),
            Self::Slo(it) => it.has_requests(),
            Self::Scalar(it) => it.watermark_ms().is_some(),
        }
    }

    /// Up to when everything is folded in, in milliseconds since 1970.
    pub fn watermark_ms(&self) -> Option<i64> {
        match self {
            Self::Compare(it) => it.watermark_ms(),
            Self::Latency(it) => it.watermark_ms(),
            Self::Slo(it) => it.watermark_ms(),
            Self::Scalar(it) => it.watermark_ms(),
        }
    }
}

/// The statistics' verdict in the words of gates. Nobody to compare with, or no requests, is no data;
/// what both revisions share, and doubt about the numbers, holds.
fn word(verdict: analysis::Verdict) -> Verdict {
    use analysis::{Hold, Verdict as Of};
    match verdict {
        Of::Rollback(_) => Verdict::Fail,
        Of::Pass => Verdict::Pass,
        Of::Continue => Verdict::Inconclusive,
        Of::Hold(Hold::NoData | Hold::NoTraffic | Hold::NoBaseline | Hold::NoCommonBound) => {
            Verdict::NoData
        }
        Of::Hold(Hold::SharedIncident | Hold::ShareMismatch | Hold::WithinMargin) => Verdict::Hold,
    }
}
