//! What holds for all apps of a project.

use api::{ProblemBody, ProjectSettingsView, PutProjectSettings};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use rollout::document::is_name;
use serde_json::json;
use store::ProjectSettings;

use super::{
    Web,
    apps::{etag, expected},
    extract::{Caller, JsonBody},
    recorder::Noted,
};
use crate::{error::ServeError, project_settings};

/// A project's settings. Where nobody wrote any they are empty, at version 0.
#[utoipa::path(get, path = "/api/v1/projects/{project}/settings", tag = "projects",
    params(("project" = String, Path)),
    responses((status = 200, body = ProjectSettingsView,
        headers(("etag" = String, description = "The version; none while nobody wrote any")))))]
pub(super) async fn settings(
    State(web): State<Web>,
    Path(project): Path<String>,
) -> Result<Response, ServeError> {
    let found = web.service.store.project_settings(&project).await?;
    Ok(match found {
        Some(settings) => shown(settings),
        None => Json(ProjectSettingsView {
            project,
            document: json!({}),
            version: 0,
            updated_at: None,
            updated_by: None,
        })
        .into_response(),
    })
}

/// Applies a project's settings. They hold at once, for rollouts under way too.
#[utoipa::path(put, path = "/api/v1/projects/{project}/settings", tag = "projects",
    params(("project" = String, Path),
        ("if-match" = Option<String>, Header, description = "The ETag they must have now"),
        ("if-none-match" = Option<String>, Header, description = "`*`: nobody must have written any")),
    request_body = PutProjectSettings,
    responses((status = 200, body = ProjectSettingsView,
            headers(("etag" = String, description = "The version"))),
        (status = 412, body = ProblemBody, description = "They have another version"),
        (status = 422, body = ProblemBody, description = "They have mistakes: all of them")))]
pub(super) async fn put_settings(
    State(web): State<Web>,
    Caller(caller): Caller,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: JsonBody<PutProjectSettings>,
) -> Result<Response, ServeError> {
    if !is_name(&project) {
        return Err(ServeError::not_found(format!("project {project}")));
    }
    let expected = expected(&headers)?;
    let PutProjectSettings(document) = body.value;
    project_settings::ProjectSettings::read(&document).map_err(ServeError::Document)?;
    let store = &web.service.store;
    let put = store.put_project_settings(&project, &document, expected, &caller.name);
    let settings = put.await?;
    let noted = Noted::about(json!({ "version": settings.version }));
    Ok((Extension(noted), shown(settings)).into_response())
}

fn shown(settings: ProjectSettings) -> Response {
    let etag = etag(settings.version);
    let view = ProjectSettingsView {
        project: settings.project,
        document: settings.document,
        version: settings.version,
        updated_at: Some(settings.updated_at),
        updated_by: Some(settings.updated_by),
    };
    ([(header::ETAG, etag)], Json(view)).into_response()
}
