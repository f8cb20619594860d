//! Apps and their revisions.

use api::{
    AppSummary, AppView, OutcomesView, Page, PlanRequest, PlanView, ProblemBody, PutApp,
    ReleaseRequest, Released, RevisionView,
};
use axum::{
    Extension, Json,
    extract::{OriginalUri, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde_json::json;
use store::App;
use utoipa::IntoParams;

use super::{
    Web,
    extract::{AppPath, Caller, JsonBody, Params},
    guard,
    page::{self, Paged},
    recorder::Noted,
};
use crate::{error::ServeError, views};

/// Rollouts read at a time for a page of apps.
const READS: usize = 4;

/// Which apps.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only apps of this project.
    project: Option<String>,
    /// How many items, 1 to 200; 50 when absent.
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

/// The apps, by project and name.
#[utoipa::path(get, path = "/api/v1/apps", tag = "apps", params(ListParams),
    responses((status = 200, body = Page<AppSummary>)))]
pub(super) async fn list(
    State(web): State<Web>,
    Caller(caller): Caller,
    Params(params): Params<ListParams>,
    OriginalUri(uri): OriginalUri,
) -> Result<Paged<AppSummary>, ServeError> {
    let wanted = page::wanted("apps", params.limit, params.cursor.as_deref())?;
    let projects = seen(&caller, params.project);
    let after = wanted.after.as_deref().map(|it| it.split_once('/'));
    let after = match after {
        Some(None) => return Err(page::bad_cursor()),
        Some(Some(after)) => Some(after),
        None => None,
    };
    let store = &web.service.store;
    let rows = store
        .list_apps(projects.as_deref(), after, wanted.limit + 1)
        .await?;
    let rows: Vec<(store::AppSummary, AppSummary)> = futures::stream::iter(rows)
        .map(|row| async {
            let rollout = match &row.active {
                Some(active) => store.rollout(active.id).await?,
                None => None,
            };
            let view = AppSummary {
                project: row.app.project.clone(),
                app: row.app.name.clone(),
                stable: row.app.stable.map(|it| it.to_string()),
                rollout: rollout.as_ref().map(views::summary),
                updated_at: row.app.updated_at,
            };
            Ok::<_, ServeError>((row, view))
        })
        .buffered(READS)
        .try_collect()
        .await?;
    let key = |row: &(store::AppSummary, AppSummary)| format!("{}/{}", row.1.project, row.1.app);
    Ok(Paged::new("apps", &wanted, uri, rows, key, |it| {
        it.1.clone()
    }))
}

/// The projects to look in: the one that is asked for, if the caller sees it.
pub(super) fn seen(
    caller: &crate::auth::Principal,
    project: Option<String>,
) -> Option<Vec<String>> {
    match project {
        Some(project) if caller.sees(&project) => Some(vec![project]),
        Some(_) => Some(Vec::new()),
        None => caller.projects(),
    }
}

/// One app.
#[utoipa::path(get, path = "/api/v1/apps/{project}/{app}", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path),
        ("if-none-match" = Option<String>, Header, description = "The ETag that is known already")),
    responses((status = 200, body = AppView, headers(("etag" = String, description = "The version"))),
        (status = 304, description = "It is still at that version")))]
pub(super) async fn get(
    State(web): State<Web>,
    path: AppPath,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let app = find(&web, &path).await?;
    let etag = etag(app.version);
    if matches(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let view = show(&web, app).await?;
    Ok(([(header::ETAG, etag)], Json(view)).into_response())
}

/// Applies an app file.
#[utoipa::path(put, path = "/api/v1/apps/{project}/{app}", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path),
        ("if-match" = Option<String>, Header, description = "The ETag it must have now"),
        ("if-none-match" = Option<String>, Header, description = "`*`: it must not exist")),
    request_body = PutApp,
    responses((status = 200, body = AppView), (status = 201, body = AppView),
        (status = 412, body = ProblemBody, description = "It has another version"),
        (status = 422, body = ProblemBody, description = "The app file has mistakes: all of them")))]
pub(super) async fn put(
    State(web): State<Web>,
    Caller(caller): Caller,
    path: AppPath,
    headers: HeaderMap,
    body: JsonBody<PutApp>,
) -> Result<Response, ServeError> {
    let expected = expected(&headers)?;
    let PutApp(document) = body.value;
    let put = web
        .service
        .put_app(&path.project, &path.app, document, expected, &caller.name);
    let (app, created) = put.await?;
    let etag = etag(app.version);
    let noted = Extension(Noted::about(json!({ "version": app.version })));
    let location = location(&format!("/api/v1/apps/{}/{}", path.project, path.app));
    let view = show(&web, app).await?;
    Ok(match created {
        true => {
            let headers = [(header::ETAG, etag), (header::LOCATION, location)];
            (StatusCode::CREATED, headers, noted, Json(view)).into_response()
        }
        false => ([(header::ETAG, etag)], noted, Json(view)).into_response(),
    })
}

/// Removes an app that has no active rollout. What runs goes on running.
#[utoipa::path(delete, path = "/api/v1/apps/{project}/{app}", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path),
        ("if-match" = Option<String>, Header, description = "The ETag it must have now")),
    responses((status = 204, description = "It is gone"),
        (status = 409, body = ProblemBody, description = "It has an active rollout")))]
pub(super) async fn delete(
    State(web): State<Web>,
    path: AppPath,
    headers: HeaderMap,
) -> Result<StatusCode, ServeError> {
    let expected = expected(&headers)?;
    let store = &web.service.store;
    store.delete_app(&path.project, &path.app, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives back whatever of Sluice is left at the app's workload and router, and removes the app. What
/// runs goes on running, as it did before Sluice came.
#[utoipa::path(post, path = "/api/v1/apps/{project}/{app}/release", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path)), request_body = ReleaseRequest,
    responses((status = 200, body = Released),
        (status = 409, body = ProblemBody,
            description = "It has an active rollout, or something could not be given back")))]
pub(super) async fn release(
    State(web): State<Web>,
    path: AppPath,
    body: JsonBody<ReleaseRequest>,
) -> Result<(Extension<Noted>, Json<Released>), ServeError> {
    let AppPath { project, app } = path;
    let dry_run = body.value.dry_run;
    let done = web.service.release(&project, &app, dry_run).await?;
    let noted = Noted::about(json!({ "dryRun": dry_run }));
    Ok((Extension(noted), Json(Released { done, dry_run })))
}

/// An app's revisions, newest first: the last 200.
#[utoipa::path(get, path = "/api/v1/apps/{project}/{app}/revisions", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path)),
    responses((status = 200, body = Page<RevisionView>)))]
pub(super) async fn revisions(
    State(web): State<Web>,
    path: AppPath,
) -> Result<Json<Page<RevisionView>>, ServeError> {
    const SHOWN: u32 = 200;
    let app = find(&web, &path).await?;
    let rows = web.service.store.revisions(app.id, SHOWN).await?;
    Ok(Json(Page {
        items: rows.iter().map(views::revision_view).collect(),
        next_cursor: None,
    }))
}

/// How many days back outcomes are counted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OutcomesParams {
    /// 1 to 366; 30 when absent.
    days: Option<u32>,
}

/// How an app's rollouts went lately.
#[utoipa::path(get, path = "/api/v1/apps/{project}/{app}/outcomes", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path), OutcomesParams),
    responses((status = 200, body = OutcomesView)))]
pub(super) async fn outcomes(
    State(web): State<Web>,
    path: AppPath,
    Params(params): Params<OutcomesParams>,
) -> Result<Json<OutcomesView>, ServeError> {
    const DAYS: u32 = 30;
    const DAYS_MAX: u32 = 366;
    let days = params.days.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        let detail = format!("{days} is not from 1 to {DAYS_MAX}");
        return Err(ServeError::field("/days", detail));
    }
    let app = find(&web, &path).await?;
    let outcomes = web.service.store.outcomes(app.id, days).await?;
    Ok(Json(views::outcomes_view(days, &outcomes)))
}

/// What a rollout would do, before any traffic moves. A document that is not applied yet makes this
/// server ask what the document names, so it needs the role that may apply it.
#[utoipa::path(post, path = "/api/v1/apps/{project}/{app}/plan", tag = "apps",
    params(("project" = String, Path), ("app" = String, Path)), request_body = PlanRequest,
    responses((status = 200, body = PlanView),
        (status = 422, body = ProblemBody, description = "The app file has mistakes: all of them")))]
pub(super) async fn plan(
    State(web): State<Web>,
    Caller(caller): Caller,
    path: AppPath,
    body: JsonBody<PlanRequest>,
) -> Result<Json<PlanView>, ServeError> {
    if body.value.document.is_some() {
        guard::has(&caller, api::RoleWord::Operator, Some(&path.project))?;
    }
    let plan = web
        .service
        .dry_run(&path.project, &path.app, &body.value)
        .await?;
    Ok(Json(plan))
}

async fn find(web: &Web, path: &AppPath) -> Result<App, ServeError> {
    let AppPath { project, app } = path;
    let found = web.service.store.get_app(project, app).await?;
    found.ok_or_else(|| ServeError::not_found(format!("app {project}/{app}")))
}

async fn show(web: &Web, app: App) -> Result<AppView, ServeError> {
    let store = &web.service.store;
    let current = store.current(app.id).await?;
    let stable = match app.stable {
        Some(revision) => store.revision(app.id, revision).await?,
        None => None,
    };
    let current = current.as_ref().map(views::summary);
    Ok(views::app_view(app, stable.as_ref(), current))
}

/// A version as a strong ETag.
pub(super) fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// Where something is; names in paths are checked to be plain.
pub(super) fn location(path: &str) -> HeaderValue {
    HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"))
}

/// Whether the client has this version already (`If-None-Match`, compared weakly: RFC 9110 13.1.2).
pub(super) fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    known
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .map(|it| it.trim())
        .any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it).as_bytes() == etag.as_bytes())
}

/// The version that a write expects: `Some(0)`: none may be there.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<i64>, ServeError> {
    let one = |name: &HeaderName| {
        let mut all = headers.get_all(name).iter();
        match (all.next().map(HeaderValue::to_str), all.next()) {
            (None, _) => Ok(None),
            (Some(Ok(text)), None) => Ok(Some(text.trim())),
            (Some(_), _) => Err(unread(name)),
        }
    };
    match (one(&header::IF_MATCH)?, one(&header::IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(0)),
        (None, Some(_)) => Err(unread(&header::IF_NONE_MATCH)),
        (Some(text), None) => {
            let version = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            let version = version.and_then(|it| it.parse::<i64>().ok());
            let version = version.filter(|it| *it > 0);
            version.map(Some).ok_or_else(|| unread(&header::IF_MATCH))
        }
        (Some(_), Some(_)) => Err(ServeError::Malformed {
            detail: "give If-Match or If-None-Match, not both".to_owned(),
        }),
    }
}

fn unread(name: &HeaderName) -> ServeError {
    let wanted = match *name {
        header::IF_MATCH => "one ETag as this server gave it, e.g. \"7\"",
        _ => "* here",
    };
    ServeError::Malformed {
        detail: format!("{name} must be {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(HeaderName, &str)], expect: Option<Option<i64>>) {
        let headers: HeaderMap = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        assert_eq!(expected(&headers).ok(), expect, "{pairs:?}");
    }

    #[test]
    fn preconditions_are_read_or_refused_never_guessed() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        check(&[], Some(None));
        check(&[(IF_MATCH, "\"7\"")], Some(Some(7)));
        check(&[(IF_NONE_MATCH, "*")], Some(Some(0)));
        for odd in ["7", "\"0\"", "\"-1\"", "W/\"7\"", "*", "\"7\", \"8\"", ""] {
            check(&[(IF_MATCH, odd)], None);
        }
        check(&[(IF_NONE_MATCH, "\"7\"")], None);
        check(&[(IF_MATCH, "\"7\""), (IF_NONE_MATCH, "*")], None);
    }

    #[test]
    fn a_known_version_is_recognised() {
        let headers = |text: &str| -> HeaderMap {
            [(header::IF_NONE_MATCH, text.parse().unwrap())]
                .into_iter()
                .collect()
        };
        for known in ["\"7\"", "W/\"7\"", "\"6\", \"7\"", "*"] {
            assert!(matches(&headers(known), &etag(7)), "{known}");
        }
        for other in ["\"8\"", "7", ""] {
            assert!(!matches(&headers(other), &etag(7)), "{other}");
        }
    }
}
