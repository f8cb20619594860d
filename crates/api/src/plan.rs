//! The dry run: what a rollout would do, before any traffic moves.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::FreezeView;

/// Asks what a rollout would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRequest {
    /// An app file as JSON; absent: the one last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub document: Option<Value>,
    /// The artifact to check; absent: none is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
}

/// What a rollout would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The strategy's word, or `install`.
    pub strategy: String,
    /// The revision that has the traffic now.
    pub stable: Option<String>,
    /// The number the new revision would get.
    pub candidate: String,
    /// Instances that carry the whole traffic.
    pub replicas: u32,
    /// The steps, in order.
    pub steps: Vec<StepPlan>,
    /// The way back, in order.
    pub abort: Vec<String>,
    /// Whether each gate's query returns data now.
    pub gates: Vec<GateCheck>,
    /// The freeze windows that concern the app, on or to come.
    #[serde(default)]
    pub freezes: Vec<FreezeView>,
    /// What would stand in the way, in sentences; empty: nothing known.
    pub warnings: Vec<String>,
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepPlan {
    /// In the words of the app file.
    pub title: String,
    /// What it would wait for.
    pub waits_for: String,
    /// The share the router would really give, where its granularity does not allow the exact one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives: Option<f64>,
}

/// What a gate's query answers now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateCheck {
    /// The gate.
    pub gate: String,
    /// What it asks, with names filled in.
    pub question: String,
    /// The reading now, in words.
    pub reading: String,
    /// Whether there is usable data.
    pub has_data: bool,
    /// For a gate that compares: what to expect of it at each share of the plan, as stable's traffic
    /// is now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlook: Vec<GateOutlook>,
}

/// What to expect of a gate at one share. Medians to plan by: half of all rollouts take longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateOutlook {
    /// The candidate's share, in percent.
    pub share: f64,
    /// Requests a second of both revisions now.
    pub requests_per_second: f64,
    /// Stable's rate of bad requests now, 0 to 1.
    pub stable_rate: f64,
    /// Seconds until a candidate with ten times that rate is taken back; null: never.
    pub ten_times_after: Option<f64>,
    /// Seconds until a candidate as good as stable passes; null: never.
    pub passes_after: Option<f64>,
}
