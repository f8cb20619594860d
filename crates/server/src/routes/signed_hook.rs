//! Alerts of anybody who can sign them, by the Standard Webhooks specification.
//!
//! ```text
//!  webhook-id, webhook-timestamp, webhook-signature + body ── by one of the source's secrets? ── no ──> 401
//!                                                                      │ yes
//!                                                          as an alert of Alertmanager
//! ```

use api::{HookAnswer, ProblemBody, SignedAlert};
use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use drivers::{notify::webhook::verify, small_file};
use secrecy::SecretString;

use super::{
    Web,
    extract::{JsonBody, Source},
};
use crate::{
    error::ServeError,
    people::HookSource,
    service::{AlertOutcome, AlertSource},
};

/// Most bytes of one alert, which anybody may send.
const ALERT_MAX: usize = 64 << 10;
/// Most bytes of a file of secrets.
const SECRET_MAX: u64 = 4 << 10;
/// What tells one message from another.
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// Takes an alert that is signed as Standard Webhooks has it, with the same effect as one of
/// Alertmanager: what matches a rule of an app's file takes its active rollout back, holds it, or
/// tells whom the app notifies. Sources and their secrets stand in the server's settings.
#[utoipa::path(post, path = "/api/v1/hooks/signed/{source}", tag = "hooks",
    params(("source" = String, Path, description = "The source's name in the settings"),
        ("webhook-id" = String, Header, description = "The message's id, the same in a repetition"),
        ("webhook-timestamp" = String, Header, description = "Seconds since 1970, at most five minutes off"),
        ("webhook-signature" = String, Header, description = "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; several with blanks between them")),
    request_body = SignedAlert,
    responses((status = 200, body = HookAnswer),
        (status = 401, body = ProblemBody, description = "The source is not known, or the signature is not good"),
        (status = 422, body = ProblemBody)))]
pub(super) async fn signed(
    State(web): State<Web>,
    Path(name): Path<String>,
    Source(address): Source,
    headers: HeaderMap,
    body: JsonBody<SignedAlert, ALERT_MAX>,
) -> Result<Json<HookAnswer>, ServeError> {
    let sources = &web.shared.people.hooks;
    let source = sources.iter().find(|it| it.name == name);
    let source = source.ok_or_else(not_good)?;
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let text = |name| text(name).unwrap_or_default();
    let id = text(ID);
    let secret = secret(source).await?;
    let now = web.service.leases.now();
    if id.is_empty()
        || !verify(
            &secret,
            id,
            text(TIMESTAMP),
            &body.bytes,
            text(SIGNATURE),
            now,
        )
    {
        return Err(not_good());
    }
    let from = AlertSource {
        receiver: &format!("signed/{name}"),
        by: &format!("hook:{name}"),
        address,
        projects: source.project.as_ref().map(std::slice::from_ref),
    };
    let alert = alert(body.value, id);
    let AlertOutcome { acted, ignored, .. } = web.service.alerts(&[alert], from).await?;
    Ok(Json(HookAnswer { acted, ignored }))
}

/// Nobody learns from it which sources there are.
fn not_good() -> ServeError {
    ServeError::Unauthenticated {
        detail: format!(
            "the source is not known or the signature is not good: {SIGNATURE} must be \"v1,\" and the \
             base64 of HMAC-SHA256 over {ID}.{TIMESTAMP}.BODY by the source's secret, and {TIMESTAMP} at \
             most five minutes off"
        ),
    }
}

async fn secret(source: &HookSource) -> Result<SecretString, ServeError> {
    match small_file::read_text(&source.secret_file, SECRET_MAX).await {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let HookSource {
                name, secret_file, ..
            } = source;
            tracing::error!(
                source = name,
                path = secret_file,
                error,
                "cannot read a hook's secret"
            );
            Err(ServeError::Unavailable {
                detail: "the source's secret cannot be read; the server's log says why".to_owned(),
            })
        }
    }
}

fn alert(signed: SignedAlert, id: &str) -> api::Alert {
    let mut labels = signed.labels;
    labels.insert("alertname".to_owned(), signed.name);
    let summary = signed.summary.map(|it| ("summary".to_owned(), it));
    api::Alert {
        status: "firing".to_owned(),
        labels,
        annotations: summary.into_iter().collect(),
        starts_at: signed.starts_at,
        fingerprint: id.to_owned(),
    }
}
