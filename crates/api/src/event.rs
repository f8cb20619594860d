//! Events: committed transitions of all rollouts, in commit order.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One event of the stream; its id goes into `Last-Event-ID` to resume without a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Where it stands in the stream.
    pub id: String,
    /// The rollout.
    pub rollout: Uuid,
    /// The app's project.
    pub project: String,
    /// The app.
    pub app: String,
    /// The revision being rolled out.
    pub candidate: String,
    /// When.
    pub at: Timestamp,
    /// Who caused it.
    pub by: String,
    /// The kind, e.g. `stepDone`.
    pub event: String,
    /// The sentence.
    pub sentence: String,
    /// The phase after it.
    pub phase: String,
    /// The row of the rollout's history.
    pub seq: i64,
}
