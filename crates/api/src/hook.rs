//! What Alertmanager sends (webhook payload version 4), and what it is answered. Unknown keys are
//! accepted: later versions may add some.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Alertmanager's webhook payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerPayload {
    /// Must be `4`.
    pub version: String,
    /// The receiver's name in Alertmanager.
    #[serde(default)]
    pub receiver: String,
    /// How many alerts were left out.
    #[serde(default)]
    pub truncated_alerts: u64,
    /// The alerts.
    pub alerts: Vec<Alert>,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// Its labels; `alertname` among them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `summary`, `description` and the like.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// Its identity.
    #[serde(default)]
    pub fingerprint: String,
}

/// An alert of anybody who signs it: what Alertmanager sends, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedAlert {
    /// What it is called; rules may match it as the label `alertname`.
    pub name: String,
    /// What the rules of app files are matched with.
    pub labels: BTreeMap<String, String>,
    /// What it says, in a sentence; it becomes part of the rollout's history.
    #[serde(default)]
    pub summary: Option<String>,
    /// Since when it holds. The same in a repetition; a rollout that began later is not taken back.
    pub starts_at: Timestamp,
}

/// What became of the alerts of one payload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookAnswer {
    /// Rollouts that are being taken back or held because of them.
    pub acted: Vec<String>,
    /// Alerts that changed nothing, with the reason in words.
    pub ignored: Vec<String>,
}
