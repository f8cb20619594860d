//! Decides who may use a route: the one place. Runs before the body is read.

use std::sync::Arc;

use api::RoleWord;
use axum::{
    extract::{RawPathParams, Request, State},
    middleware::Next,
    response::Response,
};
use uuid::Uuid;

use super::{
    Access, Entry, Web,
    extract::{Asked, Caller},
};
use crate::{
    auth::{Principal, role_word},
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
    mut request: Request,
    next: Next,
) -> Response {
    use axum::response::IntoResponse as _;
    let mut answer = match guard.admit(&params, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    answer.extensions_mut().insert(Answered(guard.entry.path));
    answer
}

impl Guard {
    /// 401, then 429, then 404 for what is not the token's business, then 403.
    async fn admit(&self, params: &RawPathParams, request: &mut Request) -> Result<(), ServeError> {
        let Entry { access, urgent, .. } = *self.entry;
        if access == Access::Public {
            return Ok(());
        }
        let stores = self.web.stores(urgent);
        let tokens = &self.web.shared.tokens;
        let principal = tokens.principal(request.headers(), &stores).await?;
        self.web.shared.limits.take(principal.token_id, urgent)?;
        match access {
            Access::Public | Access::Any => {}
            Access::Role(role) => has(&principal, role)?,
            Access::Project(role) => {
                let (project, app) = (param(params, "project"), param(params, "app"));
                if !principal.sees(project) {
                    return Err(ServeError::not_found(format!("app {project}/{app}")));
                }
                has(&principal, role)?;
            }
            Access::Rollout(role) => {
                self.find(params, request, &principal).await?;
                has(&principal, role)?;
            }
            Access::Approval => {
                self.find(params, request, &principal).await?;
                approves(&principal)?;
            }
        }
        request.extensions_mut().insert(Caller(principal));
        Ok(())
    }

    /// Looks up the rollout of the path, for the handler.
    async fn find(
        &self,
        params: &RawPathParams,
        request: &mut Request,
        principal: &Principal,
    ) -> Result<(), ServeError> {
        let text = param(params, "id");
        let missing = || ServeError::not_found(format!("rollout {text}"));
        let id: Uuid = text.parse().map_err(|_| missing())?;
        let rollout = self.web.rollout(id, self.entry.urgent).await?;
        let rollout = rollout.filter(|it| principal.sees(&it.project));
        let rollout = rollout.ok_or_else(missing)?;
        request.extensions_mut().insert(Asked(Arc::new(rollout)));
        Ok(())
    }
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> &'a str {
    let found = params.iter().find(|(it, _)| *it == name);
    found.map_or("", |(_, value)| value)
}

/// Whether a token with `role` may do what needs `needed`.
pub(super) fn reaches(role: RoleWord, needed: RoleWord) -> bool {
    role >= needed
}

/// Whether a token with this role may approve. Operators order rollouts about and apply app files;
/// that the same token cannot also approve is what an approval step is for.
pub(super) fn may_approve(role: RoleWord) -> bool {
    match role {
        RoleWord::Approver | RoleWord::Admin => true,
        RoleWord::Viewer | RoleWord::Deployer | RoleWord::Operator => false,
    }
}

/// Refuses a principal whose role does not reach.
pub(super) fn has(principal: &Principal, needed: RoleWord) -> Result<(), ServeError> {
    match reaches(principal.role, needed) {
        true => Ok(()),
        false => Err(ServeError::Forbidden {
            detail: format!(
                "this needs the role {}, {} has {}",
                role_word(needed),
                principal.name,
                role_word(principal.role)
            ),
        }),
    }
}

fn approves(principal: &Principal) -> Result<(), ServeError> {
    let detail = match (may_approve(principal.role), principal.person) {
        (true, true) => return Ok(()),
        (true, false) => format!(
            "only people approve, and {} is a machine's token",
            principal.name
        ),
        (false, true | false) => format!(
            "this needs the role approver or admin, {} has {}",
            principal.name,
            role_word(principal.role)
        ),
    };
    Err(ServeError::Forbidden { detail })
}
