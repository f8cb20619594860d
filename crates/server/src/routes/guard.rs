//! Decides who may use a route: the one place. Runs before the body is read.

use std::sync::Arc;

use api::RoleWord;
use axum::{
    extract::{RawPathParams, Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use store::Rollout;
use uuid::Uuid;

use super::{
    Access, Entry, Web,
    extract::{Asked, Caller, Source},
    limit::Lane,
    origin,
    recorder::{self, Recorder},
};
use crate::{
    auth::{Principal, Shown, may_approve, role_word},
    error::ServeError,
};

/// One row's guard.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// For tokens, limits and rollouts.
    pub(super) web: Web,
    /// The row.
    pub(super) entry: Arc<Entry>,
}

/// The path of the row that answered, for counting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered(pub(super) &'static str);

/// Lets a request through to the handler, or says why not.
pub(super) async fn check(
    State(guard): State<Guard>,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match source(&request) {
        Ok(source) => guard.answer(source, &params, request, next).await,
        Err(error) => error.into_response(),
    };
    answer.extensions_mut().insert(Answered(guard.entry.path));
    answer
}

impl Guard {
    /// Admits the request, has it handled, and has the audit log written around that.
    async fn answer(
        &self,
        source: Source,
        params: &RawPathParams,
        mut request: Request,
        next: Next,
    ) -> Response {
        let store = &self.web.service.store;
        let admitted = self.admit(source, params, &mut request).await;
        let mut recorder = Recorder::new(&self.entry, params, source, &request);
        let admitted = match admitted {
            Ok(()) => recorder.begins(store).await,
            refused => refused,
        };
        let answer = match admitted {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        };
        if let Some(line) = recorder.ended(&self.web, &answer) {
            recorder::write(store, &line).await;
        }
        answer
    }

    /// 401, then 403 for what a page of another site sends, 429, 404 for what is not the caller's
    /// business, then 403.
    async fn admit(
        &self,
        source: Source,
        params: &RawPathParams,
        request: &mut Request,
    ) -> Result<(), ServeError> {
        let changes = !request.method().is_safe();
        let known = self.known(source, changes, request.headers());
        let Some(principal) = known.await? else {
            return Ok(());
        };
        let allowed = self.allows(&principal, params, request).await;
        // Also when it may not: the audit log names it.
        request.extensions_mut().insert(Caller(principal));
        allowed
    }

    /// Who asks; `None`: everybody may.
    async fn known(
        &self,
        Source(source): Source,
        changes: bool,
        headers: &HeaderMap,
    ) -> Result<Option<Principal>, ServeError> {
        let Entry {
            access,
            urgent,
            limit,
            ..
        } = *self.entry;
        let shared = &self.web.shared;
        if let Some(lane) = limit {
            shared.limits.take_from(source, lane)?;
        }
        let public_url = shared.people.public_url.as_deref();
        if access == Access::Public {
            if changes {
                // Nobody's browser is to be signed in, or made to do anything else, by another site.
                origin::not_foreign(headers, public_url)?;
            }
            return Ok(None);
        }
        let stores = self.web.stores(urgent);
        let lane = if urgent { Lane::UrgentLook } else { Lane::Look };
        let look = || shared.limits.take_from(source, lane);
        let known = shared.tokens.principal(headers, &stores, look);
        let (principal, shown) = known.await?;
        if changes && shown == Shown::Cookie {
            origin::ours(headers, public_url)?;
        }
        Ok(Some(principal))
    }

    /// Whether `principal` may ask this, and now.
    async fn allows(
        &self,
        principal: &Principal,
        params: &RawPathParams,
        request: &mut Request,
    ) -> Result<(), ServeError> {
        let Entry { access, urgent, .. } = *self.entry;
        let limits = &self.web.shared.limits;
        limits.take(principal.credential.id(), urgent)?;
        match access {
            Access::Public | Access::Any => Ok(()),
            Access::Role(role) => has(principal, role, None),
            Access::Everywhere(role) => everywhere(principal, role),
            Access::Project(role) => {
                let (project, app) = (param(params, "project"), param(params, "app"));
                if !principal.sees(project) {
                    let what = match app {
                        "" => format!("project {project}"),
                        app => format!("app {project}/{app}"),
                    };
                    return Err(ServeError::not_found(what));
                }
                has(principal, role, Some(project))
            }
            Access::Rollout(role) => {
                let rollout = self.find(params, request, principal).await?;
                has(principal, role, Some(&rollout.project))
            }
            Access::Approval => {
                let rollout = self.find(params, request, principal).await?;
                approves(principal, &rollout.project)
            }
        }
    }

    /// Looks up the rollout of the path, for the handler.
    async fn find(
        &self,
        params: &RawPathParams,
        request: &mut Request,
        principal: &Principal,
    ) -> Result<Arc<Rollout>, ServeError> {
        let text = param(params, "id");
        let missing = || ServeError::not_found(format!("rollout {text}"));
        let id: Uuid = text.parse().map_err(|_| missing())?;
        let rollout = self.web.rollout(id, self.entry.urgent).await?;
        let rollout = rollout.filter(|it| principal.sees(&it.project));
        let rollout = Arc::new(rollout.ok_or_else(missing)?);
        request.extensions_mut().insert(Asked(Arc::clone(&rollout)));
        Ok(rollout)
    }
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> &'a str {
    let found = params.iter().find(|(it, _)| *it == name);
    found.map_or("", |(_, value)| value)
}

/// Where the request comes from; the envelope has put that there.
fn source(request: &Request) -> Result<Source, ServeError> {
    let source = request.extensions().get().copied();
    source.ok_or_else(|| ServeError::internal("a connection without an address"))
}

/// Refuses a principal that has no role in `project` (`None`: anywhere) which reaches `needed`.
pub(super) fn has(
    principal: &Principal,
    needed: RoleWord,
    project: Option<&str>,
) -> Result<(), ServeError> {
    match principal.has(needed, project) {
        true => Ok(()),
        false => Err(ServeError::Forbidden {
            detail: format!(
                "this needs the role {}, {} has {}",
                role_word(needed),
                principal.name,
                principal.role_words(project)
            ),
        }),
    }
}

/// Refuses a principal that has no role in all projects which reaches `needed`.
fn everywhere(principal: &Principal, needed: RoleWord) -> Result<(), ServeError> {
    match principal.has_everywhere(needed) {
        true => Ok(()),
        false => Err(ServeError::Forbidden {
            detail: format!(
                "this needs the role {} in all projects, {} has {}",
                role_word(needed),
                principal.name,
                principal.role_words(None)
            ),
        }),
    }
}

/// Refuses whoever has no role to approve in `project`; whether the step's own rules let them is for the handler, against that step.
pub(super) fn approves(principal: &Principal, project: &str) -> Result<(), ServeError> {
    match principal.roles(Some(project)).any(may_approve) {
        true => Ok(()),
        false => Err(ServeError::Forbidden {
            detail: format!(
                "this needs the role approver or admin, {} has {}",
                principal.name,
                principal.role_words(Some(project))
            ),
        }),
    }
}
