//! The audit log, for admins: of their projects, or of everything.

use api::{AuditOutcome, AuditVerification, AuditView, Page, ProblemBody, RoleWord};
use axum::{
    Json,
    extract::{OriginalUri, State},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use store::{AuditFilter, AuditHead};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    Web,
    extract::{Caller, Params},
    page::{self, Paged, bad_cursor},
};
use crate::{error::ServeError, views};

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParams {
    /// Only of this project.
    project: Option<String>,
    /// Only about this app, in whichever project.
    app: Option<String>,
    /// Only about this rollout.
    rollout: Option<Uuid>,
    /// Only of this principal, e.g. `token:ci`.
    who: Option<String>,
    /// Only this action, e.g. `token.create`, or all of a kind, e.g. `token`.
    action: Option<String>,
    /// Only what was `refused`, or only what was `done`.
    #[param(inline)]
    outcome: Option<AuditOutcome>,
    /// Whether the steps that rollouts have done stand in it too; `true` when absent.
    steps: Option<bool>,
    /// Only from then on.
    since: Option<Timestamp>,
    /// Only before then.
    until: Option<Timestamp>,
    /// How many items, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

/// The audit log, newest first: every decision and every refused attempt. What is in no project, such
/// as sign-ins, is for admins of all projects.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditParams),
    responses((status = 200, body = Page<AuditView>),
        (status = 422, body = ProblemBody, description = "A parameter is wrong")))]
pub(super) async fn list(
    State(web): State<Web>,
    Caller(caller): Caller,
    OriginalUri(uri): OriginalUri,
    Params(params): Params<AuditParams>,
) -> Result<Response, ServeError> {
    const KIND: &str = "audit";
    let wanted = page::wanted(KIND, params.limit, params.cursor.as_deref())?;
    let own = caller.projects_with(RoleWord::Admin);
    let projects = match (own, params.project) {
        (own, None) => own,
        (Some(own), Some(project)) if !own.contains(&project) => Some(Vec::new()),
        (_, Some(project)) => Some(vec![project]),
    };
    let refused = match params.outcome {
        None => None,
        Some(AuditOutcome::Refused) => Some(true),
        Some(AuditOutcome::Done) => Some(false),
        Some(AuditOutcome::Failed | AuditOutcome::Unknown) => {
            return Err(ServeError::field("/outcome", "filter by refused or done"));
        }
    };
    let filter = AuditFilter {
        projects,
        app: params.app,
        rollout: params.rollout,
        who: params.who,
        action: params.action,
        refused,
        no_steps: params.steps == Some(false),
        since: params.since,
        until: params.until,
    };
    let store = &web.service.store;
    let rows = store.audit_lines(&filter, wanted.after.as_deref(), wanted.limit + 1);
    let rows = rows.await.map_err(|error| match error {
        store::StoreError::BadCursor { .. } => bad_cursor(),
        error => error.into(),
    })?;
    let key = |it: &store::AuditLine| it.place.to_string();
    Ok(Paged::new(KIND, &wanted, uri, rows, key, views::audit_view).into_response())
}

/// Which seal must be there.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VerifyParams {
    /// The `head` of an earlier verification: tells a log whose end was cut off.
    head: Option<String>,
}

/// Checks the whole log: that no line was changed, removed or slipped in since it was sealed, which
/// is some seconds after it was written.
#[utoipa::path(get, path = "/api/v1/audit/verification", tag = "audit", params(VerifyParams),
    responses((status = 200, body = AuditVerification),
        (status = 422, body = ProblemBody, description = "The head is none that this server gave")))]
pub(super) async fn verify(
    State(web): State<Web>,
    Params(params): Params<VerifyParams>,
) -> Result<Json<AuditVerification>, ServeError> {
    let head: Option<AuditHead> = match params.head.as_deref().map(str::parse).transpose() {
        Ok(head) => head,
        Err(_) => {
            let detail = "not a seal: give the head that a verification said, NUMBER:HASH";
            return Err(ServeError::field("/head", detail));
        }
    };
    let check = async { Ok(web.service.store.verify_audit(head).await) };
    let found = web.trial(check).await?;
    Ok(Json(views::audit_verification(found)?))
}
