//! The audit log: who did what, from where, and who was refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused; the detail says why.
    Refused,
    /// It failed on our side; it may have been done.
    Failed,
    /// It was begun, and the server died before it could tell.
    Unknown,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Its place in the log: opaque.
    pub id: String,
    /// When, by the database's clock.
    pub at: Timestamp,
    /// The principal, or `system`; absent: nobody knows.
    pub who: Option<String>,
    /// From which address it was asked for, where anybody asked.
    pub from: Option<String>,
    /// What was done or asked for, such as `rollout.approved` or `token.create`.
    pub action: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// In one sentence.
    pub sentence: String,
    /// In which project.
    pub project: Option<String>,
    /// About which app.
    pub app: Option<String>,
    /// About which rollout.
    pub rollout: Option<Uuid>,
    /// Why it was refused.
    pub detail: Option<String>,
    /// What it was about, beyond that: the event of a rollout, or what a request named.
    pub about: Value,
}

/// What a check of the whole log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditVerification {
    /// Whether every sealed line is as it was written, and none is missing or was slipped in.
    pub intact: bool,
    /// What is wrong, where something is.
    pub problem: Option<String>,
    /// Lines that seals cover.
    pub sealed: u64,
    /// Lines that are too young to be sealed.
    pub unsealed: u64,
    /// The newest seal, as `NUMBER:HASH`. Whoever keeps it elsewhere can show later that the log's
    /// end was not cut off.
    pub head: Option<String>,
}
