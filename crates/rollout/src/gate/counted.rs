//! The settings of gates that count requests: where the counters are and what tells revisions apart.

use std::collections::BTreeMap;

use analysis::{
    BurnPolicy, ComparePolicy, LatencyPolicy, ScalarPolicy, compare::Baseline, scalar::Worse,
};
use serde::{Deserialize, Serialize};

use super::{Gate, Question};

/// Is the candidate's rate of bad requests worse than stable's at the same time?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompareGate {
    /// What is counted.
    pub counters: Counters,
    /// What is promised; fixed when the plan is made.
    pub policy: ComparePolicy,
}

/// Does the candidate burn an objective's budget of errors?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SloGate {
    /// What is counted.
    pub counters: Counters,
    /// What is promised.
    pub policy: BurnPolicy,
}

/// Are more of the candidate's requests slow than of stable's, at any bound?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyGate {
    /// The histogram's selector (`…_bucket` of a classic one, the name of a native one), unless a
    /// template names it.
    pub histogram: Option<String>,
    /// A ready-made set of metrics.
    pub metric: Option<Metric>,
    /// What tells the revisions apart; default: what the workload's instances are labelled with.
    pub revisions: Option<Arms>,
    /// What is promised.
    pub policy: LatencyPolicy,
}

/// Is a plain number of the candidate's worse than stable's?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalarGate {
    /// The query of the candidate's number, with `{{candidate.revision}}` and the like.
    pub candidate: String,
    /// The query of stable's number.
    pub stable: String,
    /// What is promised.
    pub policy: ScalarPolicy,
}

/// Which counters a gate reads: a ready-made set, or two selectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// A ready-made set of metrics.
    pub metric: Option<Metric>,
    /// The selector of all requests.
    pub requests: Option<String>,
    /// The selector of bad requests; each is one of `requests` too.
    pub errors: Option<String>,
    /// What tells the revisions apart; default: what the metric's or the workload's instances are
    /// labelled with.
    pub revisions: Option<Arms>,
}

/// A ready-made set of metrics: where a router or library counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Its name, e.g. `haproxy`.
    pub template: String,
    /// What it is told beside what the app's router is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of: BTreeMap<String, String>,
}

/// What tells the series of one revision from those of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arms {
    /// A label whose value is the revision, `r7`, or begins with it as in `r7-1`.
    Label(String),
    /// A label whose value is an instance's name or address.
    Instances(String),
}

impl CompareGate {
    /// What would be good, in words.
    pub fn bound(&self) -> String {
        let policy = &self.policy;
        let margin = match policy.margin > 0.0 {
            true => format!("at most {} times stable's rate", policy.null_ratio()),
            false => "not above stable's rate".to_owned(),
        };
        match policy.floor > 0.0 {
            true => format!("{margin}, or below {} %", percent(policy.floor)),
            false => margin,
        }
    }
}

impl SloGate {
    /// What would be good, in words.
    pub fn bound(&self) -> String {
        let policy = &self.policy;
        format!(
            "{} % good, its budget burnt less than {} times too fast",
            percent(policy.objective),
            policy.slow
        )
    }
}

impl LatencyGate {
    /// What would be good, in words.
    pub fn bound(&self) -> String {
        let ratio = 1.0 + self.policy.margin;
        format!("at most {ratio} times as many slow requests as stable, at any bound")
    }
}

impl ScalarGate {
    /// What would be good, in words.
    pub fn bound(&self) -> String {
        let policy = &self.policy;
        let way = match policy.worse {
            Worse::Higher => "above",
            Worse::Lower => "below",
        };
        format!("at most {} {way} stable's", policy.margin)
    }
}

/// A share of one as a percentage, without the digits that binary fractions add.
fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

impl Gate {
    /// The gate for a plan with this many gate steps that ask it. `alone`: one of them comes when the
    /// candidate has all the traffic, so there is nothing to compare with there.
    pub(crate) fn fitted(self, looks: u32, alone: bool) -> Self {
        let question = match self.question {
            Question::Compare(CompareGate { counters, policy }) => Question::Compare(CompareGate {
                counters,
                policy: ComparePolicy {
                    final_looks: looks,
                    final_part: match looks {
                        0 => 0.0,
                        _ => policy.final_part,
                    },
                    baseline: match alone {
                        true => Baseline::Optional,
                        false => policy.baseline,
                    },
                    ..policy
                },
            }),
            Question::Threshold(_)
            | Question::Webhook(_)
            | Question::Latency(_)
            | Question::Slo(_)
            | Question::Scalar(_) => self.question,
        };
        Self { question, ..self }
    }
}
