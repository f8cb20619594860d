//! What other systems tell us.

use api::{AlertmanagerPayload, HookAnswer, ProblemBody, RoleWord};
use axum::{Json, extract::State};

use super::{
    Web,
    extract::{Caller, HOOK_MAX, JsonBody, Source},
};
use crate::{
    error::ServeError,
    service::{AlertOutcome, AlertSource},
};

/// The payload version of Alertmanager's webhook that is understood; the only one there has been
/// since Alertmanager 0.5.
const VERSION: &str = "4";

/// Takes Alertmanager's alerts: those that match a rule of an app's file take its active rollout
/// back, hold it, or tell whom the app notifies. Resolved, repeated and older alerts change nothing. Unknown keys are accepted.
#[utoipa::path(post, path = "/api/v1/hooks/alertmanager", tag = "hooks",
    request_body = AlertmanagerPayload,
    responses((status = 200, body = HookAnswer), (status = 413, body = ProblemBody),
        (status = 422, body = ProblemBody, description = "Not payload version 4")))]
pub(super) async fn alertmanager(
    State(web): State<Web>,
    Caller(caller): Caller,
    Source(source): Source,
    body: JsonBody<AlertmanagerPayload, HOOK_MAX>,
) -> Result<Json<HookAnswer>, ServeError> {
    let payload = body.value;
    if payload.version != VERSION {
        return Err(ServeError::field(
            "/version",
            format!(
                "is \"{}\", only \"{VERSION}\" is understood",
                payload.version
            ),
        ));
    }
    let allowed = caller.projects_with(RoleWord::Deployer);
    let from = AlertSource {
        receiver: &payload.receiver,
        by: &caller.name,
        address: source,
        projects: allowed.as_deref(),
    };
    let AlertOutcome { acted, ignored, .. } = web.service.alerts(&payload.alerts, from).await?;
    let mut answer = HookAnswer { acted, ignored };
    if payload.truncated_alerts > 0 {
        tracing::warn!(
            left_out = payload.truncated_alerts,
            receiver = payload.receiver,
            "alertmanager left alerts out: set max_alerts to 0 for this receiver"
        );
        answer.ignored.push(format!(
            "{} alerts were left out by Alertmanager: set max_alerts to 0 for this receiver",
            payload.truncated_alerts
        ));
    }
    Ok(Json(answer))
}
