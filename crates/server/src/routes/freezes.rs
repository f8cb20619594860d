//! Freeze windows. Who may make one for a scope is decided here: an operator for its project, an
//! admin of all projects for all.

use api::{
    FreezeOnce, FreezeRecurring, FreezeRequest, FreezeRunning, FreezeView, Page, ProblemBody,
    RoleWord,
};
use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::{SignedDuration, Timestamp};
use rollout::Running;
use serde::Deserialize;
use serde_json::json;
use store::{FreezeRow, FreezeRule, StoreError};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    Web,
    apps::seen,
    extract::{Caller, JsonBody, Params},
    guard,
    recorder::Noted,
    tokens::plain,
};
use crate::{
    auth::Principal,
    error::ServeError,
    freezes::{self, BadRule},
    views,
};

/// Longest reason.
const REASON_MAX: usize = 1000;

/// Which windows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only windows that concern this project; those for all projects do.
    project: Option<String>,
}

/// The freeze windows, by name: of the caller's projects, and those for all projects.
#[utoipa::path(get, path = "/api/v1/freezes", tag = "freezes", params(ListParams),
    responses((status = 200, body = Page<FreezeView>)))]
pub(super) async fn list(
    State(web): State<Web>,
    Caller(caller): Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<FreezeView>>, ServeError> {
    let projects = seen(&caller, params.project);
    let rows = web.service.store.freezes(projects.as_deref()).await?;
    let now = web.service.leases.now();
    Ok(Json(Page {
        items: rows.iter().map(|it| views::freeze_view(it, now)).collect(),
        next_cursor: None,
    }))
}

/// Makes a freeze window. It is in force when this is answered.
#[utoipa::path(post, path = "/api/v1/freezes", tag = "freezes", request_body = FreezeRequest,
    responses((status = 201, body = FreezeView),
        (status = 403, body = ProblemBody, description = "Not an operator of that scope"),
        (status = 409, body = ProblemBody, description = "A window of the scope has this name"),
        (status = 422, body = ProblemBody, description = "A field is wrong")))]
pub(super) async fn create(
    State(web): State<Web>,
    Caller(caller): Caller,
    body: JsonBody<FreezeRequest>,
) -> Result<(StatusCode, Extension<Noted>, Json<FreezeView>), ServeError> {
    let asked = body.value;
    may_freeze(&caller, asked.project.as_deref())?;
    let now = web.service.leases.now();
    let row = row_of(asked, caller.name, now)?;
    web.service.store.add_freeze(&row).await?;
    let view = views::freeze_view(&row, now);
    Ok((StatusCode::CREATED, noted(&row), Json(view)))
}

/// Takes a freeze window away; what it held goes on.
#[utoipa::path(delete, path = "/api/v1/freezes/{id}", tag = "freezes",
    params(("id" = Uuid, Path)), responses((status = 204, description = "It is gone")))]
pub(super) async fn remove(
    State(web): State<Web>,
    Caller(caller): Caller,
    Path(text): Path<String>,
) -> Result<(StatusCode, Extension<Noted>), ServeError> {
    let missing = || ServeError::not_found(format!("freeze window {text}"));
    let id: Uuid = text.parse().map_err(|_| missing())?;
    let row = web.service.store.freeze(id).await?.ok_or_else(missing)?;
    if !row.project.as_deref().is_none_or(|it| caller.sees(it)) {
        return Err(missing());
    }
    may_freeze(&caller, row.project.as_deref())?;
    match web.service.store.remove_freeze(id, &caller.name).await {
        Ok(()) => Ok((StatusCode::NO_CONTENT, noted(&row))),
        Err(StoreError::NotFound { .. }) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

fn noted(row: &FreezeRow) -> Extension<Noted> {
    let noted = Noted::about(json!({ "freeze": row.name, "reason": row.reason }));
    Extension(Noted {
        app: row.app.clone(),
        ..noted.within(row.project.clone())
    })
}

fn may_freeze(caller: &Principal, project: Option<&str>) -> Result<(), ServeError> {
    match project {
        Some(project) if caller.sees(project) => {
            guard::has(caller, RoleWord::Operator, Some(project))
        }
        Some(project) => Err(ServeError::Forbidden {
            detail: format!("{} has no rights in project {project}", caller.name),
        }),
        None if caller.projects_with(RoleWord::Admin).is_none() => Ok(()),
        None => Err(ServeError::Forbidden {
            detail:
                "a window for all projects needs the role admin in all projects; name a project"
                    .to_owned(),
        }),
    }
}

fn row_of(asked: FreezeRequest, by: String, now: Timestamp) -> Result<FreezeRow, ServeError> {
    let word = |pointer: &str, text: Option<&str>| match text.is_none_or(plain) {
        true => Ok(()),
        false => Err(ServeError::field(
            pointer,
            "must be 1 to 63 letters, digits, '-', '_' or '.'",
        )),
    };
    word("/name", Some(&asked.name))?;
    word("/project", asked.project.as_deref())?;
    word("/app", asked.app.as_deref())?;
    if asked.app.is_some() && asked.project.is_none() {
        return Err(ServeError::field("/project", "name the app's project"));
    }
    let reason = asked.reason.trim();
    if reason.is_empty() || reason.len() > REASON_MAX || reason.contains('\0') {
        let detail = format!("say why, in 1 to {REASON_MAX} bytes: whoever waits is told");
        return Err(ServeError::field("/reason", detail));
    }
    let (part, rule) = rule_of(asked.recurring, asked.once)?;
    freezes::check(&rule, now).map_err(|BadRule { part: of, detail }| {
        ServeError::field(format!("/{part}/{of}"), detail)
    })?;
    Ok(FreezeRow {
        id: Uuid::now_v7(),
        reason: reason.to_owned(),
        name: asked.name,
        project: asked.project,
        app: asked.app,
        rule,
        running: match asked.running {
            FreezeRunning::Hold => Running::Hold,
            FreezeRunning::Finish => Running::Finish,
        },
        created_at: now,
        created_by: by,
    })
}

/// The rule, and which field it stood in.
fn rule_of(
    recurring: Option<FreezeRecurring>,
    once: Option<FreezeOnce>,
) -> Result<(&'static str, FreezeRule), ServeError> {
    match (recurring, once) {
        (Some(it), None) => {
            let duration = it.duration.parse::<SignedDuration>();
            let duration = duration.map_err(|error| {
                ServeError::field("/recurring/duration", format!("{error}; e.g. 62h"))
            })?;
            let rule = FreezeRule::Recurring {
                cron: it.cron,
                duration,
                time_zone: it.time_zone,
            };
            Ok(("recurring", rule))
        }
        (None, Some(FreezeOnce { from, until })) => Ok(("once", FreezeRule::Once { from, until })),
        (None, None) | (Some(_), Some(_)) => {
            Err(ServeError::field("", "give either recurring or once"))
        }
    }
}
