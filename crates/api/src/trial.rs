//! Gates tried on past time: stable against itself, and past rollouts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Asks to calibrate the app's gates on stable's past.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalibrateRequest {
    /// Only this gate; absent: every gate that can be calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// How much of the past, in seconds: 30 to 2,592,000 (30 days); absent: 3 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_seconds: Option<u64>,
}

/// What was found of the gates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Calibrations {
    /// By gate.
    pub gates: Vec<CalibrationView>,
}

/// What stable's past says of a gate: how often it would have taken back a rollout of nothing, and
/// what it will notice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationView {
    /// The gate.
    pub gate: String,
    /// Why it could not be calibrated; then all counts are 0 and nothing was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Where the past that was looked at begins.
    pub from: Timestamp,
    /// And where it ends.
    pub until: Timestamp,
    /// Rollouts of nothing that were replayed, each as long as the plan.
    pub rollouts: u32,
    /// Those that would have been taken back: all of them wrongly.
    pub taken_back: u32,
    /// Those that would have passed.
    pub passed: u32,
    /// How much more than chance alone the rate of bad requests varies (φ); null: nothing says.
    pub measured: Option<f64>,
    /// The φ that rollouts begin with from now on; 1: requests fail independently.
    pub used: f64,
    /// Requests a second, on average.
    pub requests_per_second: f64,
    /// The rate of bad requests, on average, 0 to 1.
    pub bad_rate: f64,
    /// What would be noticed at each share of the plan.
    pub notices: Vec<NoticedView>,
    /// When it was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_at: Option<Timestamp>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_by: Option<String>,
}

/// What a gate would notice at one share. Medians to plan by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoticedView {
    /// The candidate's share, in percent.
    pub share: f64,
    /// How long the plan stays there, in seconds.
    pub within_seconds: f64,
    /// The smallest ratio to stable's rate of bad requests that is taken back within that time; null:
    /// not even a total failure.
    pub ratio: Option<f64>,
    /// Seconds until a candidate with twice stable's rate is taken back; null: never.
    pub double_after: Option<f64>,
}

/// Asks to try the app's gates, as they are now, on past rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BacktestRequest {
    /// Only this gate; absent: every gate that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Rollouts that were under way after this.
    pub from: Timestamp,
    /// Rollouts that were under way before this; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// What the gates would have said of past rollouts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    /// Newest first.
    pub rollouts: Vec<BacktestRollout>,
    /// Whether there were more rollouts in that time than are tried at once.
    pub more: bool,
}

/// What the gates would have said of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestRollout {
    /// The rollout.
    pub rollout: Uuid,
    /// What it brought out.
    pub candidate: String,
    /// How it ended, or its phase.
    pub phase: String,
    /// When it was asked for.
    pub began: Timestamp,
    /// What each gate would have said.
    pub gates: Vec<BacktestGate>,
}

/// What one gate would have said of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestGate {
    /// The gate.
    pub gate: String,
    /// fail if it failed at any time, else how it stood at the end: pass, inconclusive, hold or noData.
    pub verdict: String,
    /// Seconds from the rollout's beginning to the first failure or pass.
    pub after: Option<f64>,
    /// Measurements that were replayed.
    pub measured: u32,
    /// The evidence then, in words; or why there is none.
    pub evidence: String,
}
