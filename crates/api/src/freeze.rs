//! Freeze windows: times in which nothing new begins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a window asks of rollouts that run when it begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum FreezeRunning {
    /// They hold at their step until it ends.
    #[default]
    Hold,
    /// They finish.
    Finish,
}

/// A window that comes again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeRecurring {
    /// When it begins: a cron pattern of five fields, e.g. `0 18 * * FRI`.
    pub cron: String,
    /// How long it lasts by the clock on the wall, up to 744h, e.g. `62h`.
    pub duration: String,
    /// The IANA time zone of that clock, e.g. `Europe/Zurich`.
    pub time_zone: String,
}

/// A window that comes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeOnce {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends, at most 31 days later.
    pub until: Timestamp,
}

/// Asks for a window: either `recurring` or `once`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FreezeRequest {
    /// Its name: 1 to 63 letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// For which project; absent: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// For which app of the project; absent: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Why; whoever waits for it is told.
    pub reason: String,
    /// When it comes, if again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurring: Option<FreezeRecurring>,
    /// When it comes, if once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<FreezeOnce>,
    /// What it asks of rollouts that run when it begins.
    #[serde(default)]
    pub running: FreezeRunning,
}

/// A window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeView {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// For which project; null: for all.
    pub project: Option<String>,
    /// For which app of the project; null: for all.
    pub app: Option<String>,
    /// Why.
    pub reason: String,
    /// When it comes, if again and again.
    pub recurring: Option<FreezeRecurring>,
    /// When it comes, if once.
    pub once: Option<FreezeOnce>,
    /// What it asks of rollouts that run when it begins.
    pub running: FreezeRunning,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Whether it is on now.
    pub active: bool,
    /// When it ends, while it is on.
    pub until: Option<Timestamp>,
    /// When it begins next; null: never again.
    pub next: Option<Timestamp>,
}
