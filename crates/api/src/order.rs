//! Ordering a rollout about: orders, decisions on approval steps, and which can be given now.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The orders a person may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OrderWord {
    /// Be done with the step that waits for a time, a verdict or a person.
    Promote,
    /// Go straight to full traffic.
    PromoteFull,
    /// Take the traffic back to stable.
    Abort,
    /// Hold where it stands.
    Pause,
    /// Go on after a hold.
    Resume,
    /// Begin a new attempt.
    Retry,
    /// Be done with the current gate, approval, pause or bake.
    Skip,
    /// Freeze windows shall not hold it any more; needs the role operator, and a comment.
    BreakGlass,
}

/// Orders a rollout about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandRequest {
    /// What to do.
    pub order: OrderWord,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A decision on an approval step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// Agree.
    Approve,
    /// Refuse: takes the traffic back.
    Reject,
}

/// Decides on the approval step that a rollout waits at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approve {
    /// Agree or refuse.
    pub decision: Decision,
    /// The step it is meant for (index from 0), so that a stale page cannot approve a later step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The attempt it is meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// An order, as whoever asks could give it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionView {
    /// The order's word, e.g. `promoteFull`; `approve` and `reject` are decisions.
    pub order: String,
    /// What a button says.
    pub title: String,
    /// What it would do, in one sentence; empty where it is not legal now.
    pub effect: String,
    /// Whether it would be taken.
    pub allowed: bool,
    /// Why not.
    pub why_not: Option<String>,
}
