//! The OpenAPI document, made from the table of routes.

use std::sync::OnceLock;

use api::{PROBLEM_JSON, ProblemBody};
use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    OpenApi, PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::{Access, Web, table};
use crate::auth::role_word;

/// The name of the way to authenticate.
const BEARER: &str = "token";

#[derive(OpenApi)]
#[openapi(info(
    title = "Sluice",
    description = "Progressive delivery: rollouts in gated steps."
))]
struct Frame;

/// The document: every route with its shapes, who may use it, and that errors are problems.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let rows = table();
    let entries: Vec<_> = rows.iter().map(|it| it.entry.clone()).collect();
    let router: OpenApiRouter<Web> = rows.into_iter().map(|row| row.handler).fold(
        OpenApiRouter::with_openapi(Frame::openapi()),
        OpenApiRouter::routes,
    );
    let mut document = router.into_openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let components = document.components.get_or_insert_default();
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components
        .security_schemes
        .insert(BEARER.to_owned(), scheme.into());
    let name = ProblemBody::name().into_owned();
    components.schemas.insert(name, ProblemBody::schema());
    let mut more = Vec::new();
    ProblemBody::schemas(&mut more);
    components.schemas.extend(more);
    for entry in &entries {
        let item = document.paths.paths.get_mut(entry.path);
        let operation = item.and_then(|item| match entry.method.as_str() {
            "GET" => item.get.as_mut(),
            "PUT" => item.put.as_mut(),
            "POST" => item.post.as_mut(),
            "DELETE" => item.delete.as_mut(),
            _ => None,
        });
        if let Some(operation) = operation {
            operation.operation_id = Some(operation_id(entry));
            finish(operation, entry.access);
        }
    }
    document
}

/// A name for generated clients: handlers of different routes share theirs.
fn operation_id(entry: &super::Entry) -> String {
    let words = entry.path.split('/').filter(|it| !it.is_empty());
    let words = words.filter(|it| !matches!(*it, "api" | "v1"));
    let words = words.map(|it| it.trim_matches(['{', '}', '*']).replace(['.', '-'], "_"));
    let method = entry.method.as_str().to_lowercase();
    std::iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

/// What every operation has, by its row.
fn finish(operation: &mut Operation, access: Access) {
    let problem = Ref::from_schema_name(ProblemBody::name());
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let problem = ResponseBuilder::new()
        .description("A problem (RFC 9457)")
        .content(PROBLEM_JSON, content)
        .build();
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), RefOr::T(problem));
    let who = who(access);
    let description = operation.description.take();
    operation.description = Some(match description {
        Some(text) => format!("{text}\n\n{who}"),
        None => who,
    });
    if access != Access::Public {
        let none: [String; 0] = [];
        operation.security = Some(vec![SecurityRequirement::new(BEARER, none)]);
    }
}

/// Who may, in words.
fn who(access: Access) -> String {
    match access {
        Access::Public => "Needs no token.".to_owned(),
        Access::Any => "Needs a token or a session.".to_owned(),
        Access::Role(role) => format!(
            "Needs the role {}; shows and touches the projects only where the caller has it.",
            role_word(role)
        ),
        Access::Everywhere(role) => format!("Needs the role {} in all projects.", role_word(role)),
        Access::Project(role) => format!("Needs the role {} in the project.", role_word(role)),
        Access::Rollout(role) => {
            format!(
                "Needs the role {} in the rollout's project.",
                role_word(role)
            )
        }
        Access::Approval => "Needs a person's token with the role approver or admin in the \
            rollout's project, and membership of the group that the step names."
            .to_owned(),
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "probes",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(super) async fn openapi_json() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}
