//! What holds for all apps of a project.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A project's settings: `notify`, who is told about the rollouts of all its apps, as in an app file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct PutProjectSettings(pub Value);

/// A project's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectSettingsView {
    /// The project.
    pub project: String,
    /// What somebody wrote.
    #[schema(value_type = Object)]
    pub document: Value,
    /// Grows with each edit; the ETag. 0: nobody wrote any.
    pub version: i64,
    /// When they were last written.
    pub updated_at: Option<Timestamp>,
    /// By whom.
    pub updated_by: Option<String>,
}
