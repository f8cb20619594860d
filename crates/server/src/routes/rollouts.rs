//! Asking for rollouts, and looking at them.

use api::{
    Deploy, Explanation, MeasurementView, Page, ProblemBody, RoleWord, RolloutSummary, RolloutView,
    TransitionView,
};
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use rollout::Order;
use serde::Deserialize;
use store::{Idempotency, RolloutFilter};
use utoipa::IntoParams;

use super::{
    Web, approval,
    apps::{etag, location, matches, seen},
    extract::{AppPath, Asked, Caller, JsonBody, Params, Source},
    guard, orders,
    page::{self, PageParams, Paged, bad_cursor},
};
use crate::{
    error::ServeError,
    service::{Asked as What, DeployRequest},
    views,
};

/// The header of a request that may be repeated without being done twice.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest key: room for a pipeline's URL and a commit.
const KEY_MAX: usize = 200;

/// Asks for a rollout; one that is under way is superseded.
#[utoipa::path(post, path = "/api/v1/apps/{project}/{app}/rollouts", tag = "rollouts",
    params(("project" = String, Path), ("app" = String, Path),
        ("idempotency-key" = Option<String>, Header,
            description = "1 to 200 visible ASCII characters; the same key with the same body within \
                24 hours gives the same rollout")),
    request_body = Deploy,
    responses((status = 201, body = RolloutView, headers(("location" = String, description = "The rollout"))),
        (status = 409, body = ProblemBody,
            description = "There is nothing to do, or the first request with this key is under way"),
        (status = 422, body = ProblemBody, description = "A field is wrong, or the key was used \
            for another request")))]
pub(super) async fn create(
    State(web): State<Web>,
    Caller(caller): Caller,
    path: AppPath,
    Source(source): Source,
    headers: HeaderMap,
    body: JsonBody<Deploy>,
) -> Result<Response, ServeError> {
    let asked = what(&body.value)?;
    if let Some(reason) = &body.value.break_glass {
        guard::has(&caller, RoleWord::Operator, Some(&path.project))?;
        if reason.trim().is_empty() {
            let detail = "say why: it is kept in the history and told to all";
            return Err(ServeError::field("/breakGlass", detail));
        }
    }
    let AppPath { project, app } = path;
    let route = format!("POST /api/v1/apps/{project}/{app}/rollouts");
    let key = idempotency_key(&headers)?;
    let key = key.map(|key| {
        // By id: two tokens may come to have the same name, one after the other.
        let principal = caller.credential.id().to_string();
        Idempotency::new(key, &principal, &route, &body.bytes)
    });
    let request = DeployRequest {
        project,
        app,
        asked,
        comment: body.value.comment,
        break_glass: body.value.break_glass,
        by: caller.name.clone(),
        source: Some(source.to_string()),
        idempotency: key,
    };
    let rollout = web.service.deploy(request).await?;
    let view = web.show(&rollout, true, &caller).await?;
    let headers = [
        (
            header::LOCATION,
            location(&format!("/api/v1/rollouts/{}", rollout.id)),
        ),
        (header::ETAG, etag(rollout.version)),
    ];
    Ok((StatusCode::CREATED, headers, Json(view)).into_response())
}

/// Exactly one of the three ways to say it.
fn what(deploy: &Deploy) -> Result<What, ServeError> {
    match (&deploy.artifact, &deploy.undo_to, deploy.undo) {
        (Some(artifact), None, false) if artifact.trim().is_empty() => {
            Err(ServeError::field("/artifact", "is empty"))
        }
        (Some(artifact), None, false) => Ok(What::Artifact(artifact.clone())),
        (None, None, true) => Ok(What::Undo),
        (None, Some(text), false) => match views::revision(text) {
            Some(revision) => Ok(What::UndoTo(revision)),
            None => Err(ServeError::field(
                "/undoTo",
                format!("\"{text}\" is not a revision, e.g. r6"),
            )),
        },
        (None, None, false) => Err(ServeError::field(
            "/artifact",
            "name an artifact, or undoTo, or undo",
        )),
        (_, _, _) => Err(ServeError::field(
            "",
            "give only one of artifact, undoTo and undo",
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ServeError> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), second) = (all.next(), all.next()) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let visible = !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic());
    match visible && text.len() <= KEY_MAX && second.is_none() {
        true => Ok(Some(text)),
        false => Err(ServeError::Malformed {
            detail: format!("Idempotency-Key must be one of 1 to {KEY_MAX} visible characters"),
        }),
    }
}

/// Which rollouts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only rollouts of this project's apps.
    project: Option<String>,
    /// Only rollouts of apps with this name.
    app: Option<String>,
    /// How many items, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

/// The rollouts, newest first.
#[utoipa::path(get, path = "/api/v1/rollouts", tag = "rollouts", params(ListParams),
    responses((status = 200, body = Page<RolloutSummary>)))]
pub(super) async fn list(
    State(web): State<Web>,
    Caller(caller): Caller,
    Params(params): Params<ListParams>,
    OriginalUri(uri): OriginalUri,
) -> Result<Paged<RolloutSummary>, ServeError> {
    let wanted = page::wanted("rollouts", params.limit, params.cursor.as_deref())?;
    let before = wanted.after.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| bad_cursor())?;
    let filter = RolloutFilter {
        projects: seen(&caller, params.project),
        app: params.app,
        phases: Vec::new(),
    };
    let store = &web.service.store;
    let rows = store.rollouts(&filter, before, wanted.limit + 1).await?;
    let key = |row: &store::Rollout| row.id.to_string();
    Ok(Paged::new(
        "rollouts",
        &wanted,
        uri,
        rows,
        key,
        views::summary,
    ))
}

/// One rollout.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}", tag = "rollouts",
    params(("id" = uuid::Uuid, Path),
        ("if-none-match" = Option<String>, Header, description = "The ETag that is known already")),
    responses((status = 200, body = RolloutView, headers(("etag" = String, description = "The version"))),
        (status = 304, description = "It is still at that version")))]
pub(super) async fn get(
    State(web): State<Web>,
    Caller(caller): Caller,
    Asked(rollout): Asked,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let etag = etag(rollout.version);
    if matches(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let view = web.show(&rollout, false, &caller).await?;
    Ok(([(header::ETAG, etag)], Json(view)).into_response())
}

/// A rollout's history, oldest first: every committed change, with its place in the hash chain.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/history", tag = "rollouts",
    params(("id" = uuid::Uuid, Path), PageParams),
    responses((status = 200, body = Page<TransitionView>)))]
pub(super) async fn history(
    State(web): State<Web>,
    Asked(rollout): Asked,
    Params(params): Params<PageParams>,
    OriginalUri(uri): OriginalUri,
) -> Result<Paged<TransitionView>, ServeError> {
    let wanted = params.wanted("history")?;
    let after = number(wanted.after.as_deref())?;
    let store = &web.service.store;
    let rows = store.history(rollout.id, after, wanted.limit + 1).await?;
    let key = |row: &store::TransitionRow| row.seq.to_string();
    let view = |row: &store::TransitionRow| views::transition_view(row, &rollout.plan);
    Ok(Paged::new("history", &wanted, uri, rows, key, view))
}

/// Which measurements.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MeasurementParams {
    /// Only measurements of this gate.
    gate: Option<String>,
    /// How many items, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A rollout's measurements, oldest first.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/measurements", tag = "rollouts",
    params(("id" = uuid::Uuid, Path), MeasurementParams),
    responses((status = 200, body = Page<MeasurementView>)))]
pub(super) async fn measurements(
    State(web): State<Web>,
    Asked(rollout): Asked,
    Params(params): Params<MeasurementParams>,
    OriginalUri(uri): OriginalUri,
) -> Result<Paged<MeasurementView>, ServeError> {
    let wanted = page::wanted("measurements", params.limit, params.cursor.as_deref())?;
    let after = number(wanted.after.as_deref())?;
    let store = &web.service.store;
    let gate = params.gate.as_deref();
    let rows = store
        .measurements(rollout.id, gate, after, wanted.limit + 1)
        .await?;
    let key = |row: &store::StoredMeasurement| row.id.to_string();
    let view = views::measurement_view;
    Ok(Paged::new("measurements", &wanted, uri, rows, key, view))
}

fn number(after: Option<&str>) -> Result<i64, ServeError> {
    let number = after.map(str::parse).transpose();
    Ok(number.map_err(|_| bad_cursor())?.unwrap_or(0))
}

/// Why a rollout is where it is, and what can be done about it.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/explain", tag = "rollouts",
    params(("id" = uuid::Uuid, Path)), responses((status = 200, body = Explanation)))]
pub(super) async fn explain(
    State(web): State<Web>,
    Caller(caller): Caller,
    Asked(rollout): Asked,
) -> Result<Json<Explanation>, ServeError> {
    let now = Timestamp::now();
    let explain = |shown: &views::Shown<'_>| views::explain(shown, &caller.name, now);
    let mut explained = web.shown(&rollout, false, explain).await?;
    let may = |order: &Order| {
        let refused = orders::may(&caller, order, &rollout).err();
        refused.map(|it| it.to_string())
    };
    explained.actions = views::actions(&rollout, &caller.name, now, may);
    explained.rollout.approval = approval::view(&caller, &rollout);
    Ok(Json(explained))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::Revision;

    fn check(body: &str, expect: Result<What, &str>) {
        let deploy: Deploy = serde_json::from_str(body).unwrap();
        let found = what(&deploy).map_err(|it| it.body());
        let found = found.map_err(|it| it.errors.first().unwrap().pointer.clone());
        assert_eq!(found, expect.map_err(ToOwned::to_owned), "{body}");
    }

    #[test]
    fn exactly_one_way_to_say_what_is_deployed() {
        check(
            r#"{"artifact": "/srv/v2"}"#,
            Ok(What::Artifact("/srv/v2".to_owned())),
        );
        check(r#"{"undo": true}"#, Ok(What::Undo));
        check(r#"{"undoTo": "r6"}"#, Ok(What::UndoTo(Revision(6))));
        check(r#"{"undoTo": "6"}"#, Err("/undoTo"));
        check(r#"{"artifact": " "}"#, Err("/artifact"));
        check("{}", Err("/artifact"));
        check(r#"{"artifact": "x", "undo": true}"#, Err(""));
        check(r#"{"undoTo": "r6", "undo": true}"#, Err(""));
    }

    #[test]
    fn idempotency_keys_are_short_and_visible() {
        let check = |key: &str, good: bool| {
            let headers: HeaderMap = [(IDEMPOTENCY_KEY.parse().unwrap(), key.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(idempotency_key(&headers).is_ok(), good, "{key:?}");
        };
        check("build-17", true);
        check(&"k".repeat(200), true);
        check(&"k".repeat(201), false);
        check("", false);
        check("a b", false);
        assert_eq!(idempotency_key(&HeaderMap::new()).ok(), Some(None));
    }
}
