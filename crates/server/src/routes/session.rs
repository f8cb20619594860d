//! Signing a browser in with a token, out again, and who is asking.

use api::{GrantView, ProblemBody, SignIn, Via, Whoami};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::{SignedDuration, Timestamp};
use store::SessionOf;
use uuid::Uuid;

use super::{
    Web,
    extract::{Caller, JsonBody, Source},
    limit::Lane,
    recorder::Noted,
};
use crate::{
    auth::{self, Credential, Principal, SESSION, cookie},
    error::ServeError,
};

/// Most bytes of a body that holds a token.
pub(super) const TOKEN_BODY_MAX: usize = 16 << 10;

/// Who asks.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "sign-in",
    responses((status = 200, body = Whoami)))]
pub(super) async fn whoami(Caller(caller): Caller) -> Json<Whoami> {
    Json(view(caller))
}

/// Who is signed in; 401 if nobody is.
#[utoipa::path(get, path = "/api/v1/session", tag = "sign-in",
    responses((status = 200, body = Whoami)))]
pub(super) async fn get(Caller(caller): Caller) -> Json<Whoami> {
    Json(view(caller))
}

/// Signs the browser in with a token: the answer sets a cookie that no script can read. The session
/// has the token's rights for as long as the token is good, and one day at most.
#[utoipa::path(post, path = "/api/v1/session", tag = "sign-in", request_body = SignIn,
    responses((status = 200, body = Whoami),
        (status = 401, body = ProblemBody, description = "The token is not good"),
        (status = 403, body = ProblemBody, description = "A page of another site asks")))]
pub(super) async fn sign_in(
    State(web): State<Web>,
    Source(source): Source,
    headers: HeaderMap,
    body: JsonBody<SignIn, TOKEN_BODY_MAX>,
) -> Result<Response, ServeError> {
    let store = &web.service.store;
    let text = body.value.token.trim();
    let look = || web.shared.limits.take_from(source, Lane::Look);
    let principal = web.shared.tokens.bearer(text, &[store], look).await?;
    let of = SessionOf::Token(principal.credential.id());
    let (cookie, principal) = web.begin_session(of, principal, source, &headers).await?;
    let noted = Extension(Noted::of(&principal.name));
    Ok(([(header::SET_COOKIE, cookie)], noted, Json(view(principal))).into_response())
}

/// Ends the session, here and on the server.
#[utoipa::path(delete, path = "/api/v1/session", tag = "sign-in",
    responses((status = 204, description = "It is over"),
        (status = 409, body = ProblemBody, description = "The caller sent a token")))]
pub(super) async fn sign_out(
    State(web): State<Web>,
    Caller(caller): Caller,
) -> Result<Response, ServeError> {
    let Credential::Session { id, .. } = caller.credential else {
        return Err(ServeError::conflict(
            "a token is no session; DELETE /api/v1/tokens/{id} revokes one",
        ));
    };
    web.end_session(id).await?;
    let cookie = cookie::clear(SESSION).ok_or_else(no_cookie)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn no_cookie() -> ServeError {
    ServeError::internal("a cookie cannot be made")
}

impl Web {
    /// Begins a session for `principal` and gives its cookie. It is always a new one, and the one
    /// that the browser had ends: nobody can plant a session that somebody else then signs in to.
    pub(super) async fn begin_session(
        &self,
        of: SessionOf,
        mut principal: Principal,
        source: std::net::IpAddr,
        headers: &HeaderMap,
    ) -> Result<(HeaderValue, Principal), ServeError> {
        let stores = [&self.service.store];
        if let Some(before) = self.shared.tokens.named(headers) {
            // Only its own cookie names it, so whoever shows that may end it.
            let shown = self.shared.tokens.principal(headers, &stores, || Ok(()));
            if shown.await.is_ok() {
                self.end_session(before).await?;
            }
        }
        let longest = SignedDuration::try_from(self.shared.people.sessions.longest);
        let longest = Timestamp::now().checked_add(longest.unwrap_or(SignedDuration::MAX));
        let until = principal.expires_at.min(longest.unwrap_or(Timestamp::MAX));
        let token = match &of {
            SessionOf::Token(id) => Some(*id),
            SessionOf::Person { .. } => None,
        };
        let known = (principal.name.clone(), principal.groups.clone());
        let (text, row) = auth::new_session(of, known, source, until);
        self.service.store.insert_session(&row).await?;
        let cookie = cookie::set(SESSION, &text, until);
        principal.credential = Credential::Session { id: row.id, token };
        principal.expires_at = until;
        tracing::info!(by = principal.name, from = %source, "signed in");
        Ok((cookie.ok_or_else(no_cookie)?, principal))
    }

    async fn end_session(&self, id: Uuid) -> Result<(), ServeError> {
        self.service.store.end_session(id).await?;
        self.shared.tokens.forget(id);
        Ok(())
    }
}

fn view(it: Principal) -> Whoami {
    let via = match it.credential {
        Credential::Token(_) | Credential::Session { token: Some(_), .. } => Via::Token,
        Credential::Session { token: None, .. } => Via::Oidc,
    };
    let grants = it.grants.into_iter().map(|it| GrantView {
        role: it.role,
        project: it.project,
    });
    Whoami {
        principal: it.name,
        person: it.person,
        grants: grants.collect(),
        groups: it.groups,
        via,
        expires_at: it.expires_at,
    }
}
