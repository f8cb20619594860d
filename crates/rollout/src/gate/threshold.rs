//! The gate that compares one number with fixed bounds.

use serde::{Deserialize, Serialize};

use super::{GateState, Reading, Verdict, judge_rows};

/// A query whose value must stay within bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// The query, in the metric source's language, with `{{candidate.revision}}` and the like.
    pub query: String,
    /// Good is below this value.
    pub below: Option<f64>,
    /// Good is above this value.
    pub above: Option<f64>,
    /// The unit of the value, for people only.
    pub unit: Option<String>,
    /// Bad readings in a row that make it fail.
    pub fail_after: u32,
    /// Good readings in a row that make it pass.
    pub pass_after: u32,
}

impl Threshold {
    pub(super) fn is_good(&self, reading: &Reading) -> Option<bool> {
        match reading {
            Reading::Value { value } if value.is_finite() => Some(
                self.below.is_none_or(|bound| *value < bound)
                    && self.above.is_none_or(|bound| *value > bound),
            ),
            Reading::Value { .. }
            | Reading::Judged { .. }
            | Reading::Counts { .. }
            | Reading::Histograms { .. }
            | Reading::Pair { .. }
            | Reading::NoData { .. } => None,
        }
    }

    pub(super) fn judge(&self, state: &GateState, reading: &Reading) -> Verdict {
        judge_rows(state, reading, self.fail_after, self.pass_after)
    }

    /// The bound in words, e.g. `below 0.5 seconds`.
    pub fn bound(&self) -> String {
        let unit = self
            .unit
            .as_ref()
            .map(|it| format!(" {it}"))
            .unwrap_or_default();
        let bounds = [("below", self.below), ("above", self.above)];
        let words: Vec<String> = bounds
            .into_iter()
            .filter_map(|(word, bound)| bound.map(|it| format!("{word} {it}{unit}")))
            .collect();
        words.join(" and ")
    }
}
