//! The gate that asks a service of the user's, which judges for itself.

use serde::{Deserialize, Serialize};

use super::{GateState, Reading, Verdict, judge_rows};

/// A URL that is asked with the rollout's facts and answers `{"verdict": "pass"}`,
/// `"fail"` or `"inconclusive"`. Anything else, plain text and an empty body included, is no data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookGate {
    /// Where to POST the question.
    pub url: String,
    /// Bad answers in a row that make it fail.
    pub fail_after: u32,
    /// Good answers in a row that make it pass.
    pub pass_after: u32,
}

impl WebhookGate {
    pub(super) fn is_good(&self, reading: &Reading) -> Option<bool> {
        match reading {
            Reading::Judged {
                verdict: Verdict::Pass,
                ..
            } => Some(true),
            Reading::Judged {
                verdict: Verdict::Fail,
                ..
            } => Some(false),
            Reading::Judged {
                verdict: Verdict::Inconclusive | Verdict::Hold | Verdict::NoData,
                ..
            }
            | Reading::Value { .. }
            | Reading::Counts { .. }
            | Reading::Histograms { .. }
            | Reading::Pair { .. }
            | Reading::NoData { .. } => None,
        }
    }

    pub(super) fn judge(&self, state: &GateState, reading: &Reading) -> Verdict {
        judge_rows(state, reading, self.fail_after, self.pass_after)
    }
}
