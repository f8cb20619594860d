//! Apps and their revisions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::rollout::RolloutSummary;

/// The app file as JSON; `app` and `project` inside it must agree with the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct PutApp(pub Value);

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppView {
    /// Its project.
    pub project: String,
    /// Its name inside the project.
    pub app: String,
    /// What the user wrote.
    #[schema(value_type = Object)]
    pub document: Value,
    /// Grows with each edit; the ETag.
    pub version: i64,
    /// The revision that has the traffic at rest.
    pub stable: Option<RevisionView>,
    /// The rollout that is active or waits for its turn.
    pub rollout: Option<RolloutSummary>,
    /// When it was first applied.
    pub created_at: Timestamp,
    /// When it was last applied.
    pub updated_at: Timestamp,
}

/// Asks to give an app's objects back to whoever owns them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was given back, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// A sentence each; empty: nothing of Sluice was there.
    pub done: Vec<String>,
    /// Whether it was only looked at.
    pub dry_run: bool,
}

/// An app in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppSummary {
    /// Its project.
    pub project: String,
    /// Its name inside the project.
    pub app: String,
    /// The revision that has the traffic at rest, e.g. `r7`.
    pub stable: Option<String>,
    /// The rollout that is active or waits for its turn.
    pub rollout: Option<RolloutSummary>,
    /// When it was last applied.
    pub updated_at: Timestamp,
}

/// How an app's rollouts went lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutcomesView {
    /// How many days back.
    pub days: u32,
    /// Rollouts that ended; cancelled ones and undos are counted apart.
    pub rollouts: u32,
    /// Those that became stable.
    pub succeeded: u32,
    /// Those that were taken back.
    pub rolled_back: u32,
    /// Those that were cancelled before they began.
    pub cancelled: u32,
    /// Successes that somebody undid later.
    pub undone: u32,
    /// Rollouts that became stable, a day.
    pub deployments_per_day: f64,
    /// The share of rollouts that were taken back or undone, 0 to 1; absent without rollouts.
    pub change_failure_rate: Option<f64>,
    /// Median seconds from asked for to stable.
    pub median_seconds: Option<f64>,
    /// Median seconds from the decision to take a rollout back until it was back.
    pub restore_seconds: Option<f64>,
}

/// A revision of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionView {
    /// `r7`.
    pub revision: String,
    /// What is run.
    pub artifact: String,
    /// A digest of its content, where it can be had.
    pub digest: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}
