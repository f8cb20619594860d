//! API tokens and what they may do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Roles, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoleWord {
    /// Reads.
    Viewer,
    /// Starts rollouts and orders them about.
    Deployer,
    /// Decides on approval steps.
    Approver,
    /// Applies app files, and all of the above but approving.
    Operator,
    /// Everything, tokens included.
    Admin,
}

/// Asks for a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for; shown in the history as `token:NAME`.
    pub name: String,
    /// What it may do.
    pub role: RoleWord,
    /// In which project; absent: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Whether a person holds it (a CI pipeline's token may not approve).
    #[serde(default)]
    pub person: bool,
    /// The groups the person is in, for approval steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// How long it is good, e.g. `90d` as `2160h`; default and most: 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// Its id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: RoleWord,
    /// In which project; absent: in all.
    pub project: Option<String>,
    /// Whether a person holds it.
    pub person: bool,
    /// The groups the person is in.
    pub groups: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A new token, with its secret: shown this once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// The token's text; send it as `Authorization: Bearer …`.
    pub secret: String,
    /// The rest.
    pub token: TokenView,
}
