//! What probes and scrapers ask. No token is needed: the answers name no app, no person and no
//! address; bind to a private address to keep even counts to yourself.

use api::ProblemBody;
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::Web;
use crate::{error::ServeError, metrics::OPENMETRICS};

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "probes", responses((status = 200, body = String)))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether requests can be served and rollouts go on: the database answers, and this replica
/// renewed its leases within the last seconds.
#[utoipa::path(get, path = "/ready", tag = "probes",
    responses((status = 200, body = String), (status = 503, body = ProblemBody)))]
pub(super) async fn ready(State(web): State<Web>) -> Result<&'static str, ServeError> {
    let refuse = |detail: &str| ServeError::NotReady {
        detail: detail.to_owned(),
    };
    if web.service.stop.is_cancelled() {
        return Err(refuse("the server is stopping"));
    }
    let answered = web.service.store.ping().await;
    answered.map_err(|error| refuse(&error.to_string()))?;
    match web.service.leases.may_act() {
        true => Ok("ok\n"),
        false => Err(refuse(
            "the leases were not renewed lately, rollouts stand still",
        )),
    }
}

/// Whether the start is over: the same question as `/ready`, under the name that probes use.
#[utoipa::path(get, path = "/startup", tag = "probes",
    responses((status = 200, body = String), (status = 503, body = ProblemBody)))]
pub(super) async fn startup(state: State<Web>) -> Result<&'static str, ServeError> {
    ready(state).await
}

/// What this process counts, as OpenMetrics.
#[utoipa::path(get, path = "/metrics", tag = "probes",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(web): State<Web>) -> Result<Response, ServeError> {
    let (store, metrics) = (&web.service.store, &web.service.metrics);
    let (pending, phases) = tokio::join!(store.pending_notices(), store.unfinished_counts());
    match (pending, phases) {
        (Ok(pending), Ok(phases)) => metrics.set_world(pending, &phases),
        // A scrape must work when the database does not: that is when it is needed.
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "scrape without numbers from the database");
        }
    }
    let text = metrics.encode().map_err(ServeError::internal)?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
