//! Who asks, and how people sign in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::RoleWord;

/// Asks to sign a browser in with a token.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignIn {
    /// The token's text.
    pub token: String,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token: it has no business in a log.
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

/// A role, in one project or in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// What may be done.
    pub role: RoleWord,
    /// In which project; absent: in all.
    pub project: Option<String>,
}

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Via {
    /// A token, sent with each request or used to sign in.
    Token,
    /// An identity provider.
    Oidc,
}

/// Who asks: the bearer of a token, or who is signed in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Whoami {
    /// As it stands in the history: `token:NAME`, or `user:` and the address or id that the identity
    /// provider gives.
    pub principal: String,
    /// Whether a person asks: machines may not approve.
    pub person: bool,
    /// What may be done where. Several roles for one project add up.
    pub grants: Vec<GrantView>,
    /// The groups, for approval steps.
    pub groups: Vec<String>,
    /// By what it is known.
    pub via: Via,
    /// When that ends, used or not.
    pub expires_at: Timestamp,
}

/// How people can sign in, beside a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignInWays {
    /// The identity provider, if there is one.
    pub oidc: Option<OidcView>,
}

/// The identity provider that people sign in by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcView {
    /// What people call it.
    pub name: String,
    /// Where a browser goes to sign in; `?next=/path` says where to come back to.
    pub login_url: String,
}

/// Asks for a token in exchange for a CI job's ID token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExchangeRequest {
    /// The ID token, as the CI provider gives it to the job.
    pub id_token: String,
}

impl std::fmt::Debug for ExchangeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token: it has no business in a log.
        f.debug_struct("ExchangeRequest").finish_non_exhaustive()
    }
}

/// A token for a CI job.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exchanged {
    /// The token's text; send it as `Authorization: Bearer …`.
    pub secret: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchanged")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
