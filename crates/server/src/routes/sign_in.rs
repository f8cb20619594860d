//! Signing in by the identity provider, and CI jobs' ID tokens for tokens of ours.

use api::{ExchangeRequest, Exchanged, OidcView, ProblemBody, SignInWays};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;

use super::{
    Web,
    extract::{JsonBody, Params, Source},
    recorder::Noted,
    session::TOKEN_BODY_MAX,
};
use crate::{
    auth::{Callback, Credential, Door, Failed, Principal, SIGN_IN, cookie, is_secret, secret},
    error::ServeError,
};

/// How long the browser keeps what binds a sign-in to it.
const BROWSER_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Longest address on this site that a sign-in leads back to.
const NEXT_MAX: usize = 2048;
/// The page that says what came of a sign-in that failed.
const PAGE: &str = "/sign-in";

/// How people can sign in, for the page where they do. A token is always good for it.
#[utoipa::path(get, path = "/api/v1/auth", tag = "sign-in",
    responses((status = 200, body = SignInWays)))]
pub(super) async fn ways(State(web): State<Web>) -> Json<SignInWays> {
    let door = web.shared.door.as_ref();
    Json(SignInWays {
        oidc: door.map(|it| OidcView {
            name: it.name().to_owned(),
            login_url: "/auth/login".to_owned(),
        }),
    })
}

/// Where to go after a sign-in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    next: Option<String>,
}

/// Sends the browser to the identity provider.
#[utoipa::path(get, path = "/auth/login", tag = "sign-in",
    params(("next" = Option<String>, Query, description = "A path on this site to come back to")),
    responses((status = 302, description = "To the provider, or to /sign-in with what went wrong"),
        (status = 404, body = ProblemBody, description = "No provider is set up")))]
pub(super) async fn login(
    State(web): State<Web>,
    Params(login): Params<Login>,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let door = web.door()?;
    let next = login.next.as_deref().and_then(local).unwrap_or_else(root);
    // Two tabs of one browser may sign in at once.
    let had = cookie::read(&headers, SIGN_IN).filter(|it| is_secret(it));
    let browser = had.map_or_else(secret, ToOwned::to_owned);
    match door.begin(&web.service.store, &browser, &next).await {
        Ok(url) => {
            let until = Timestamp::now().checked_add(BROWSER_FOR);
            let cookie = cookie::set(SIGN_IN, &browser, until.unwrap_or(Timestamp::MAX));
            Ok(go(url.as_str(), cookie.into_iter().collect()))
        }
        Err(why) => Ok(gone_wrong(&why)),
    }
}

/// Takes the browser back from the identity provider.
#[utoipa::path(get, path = "/auth/callback", tag = "sign-in",
    params(("code" = Option<String>, Query), ("state" = Option<String>, Query)),
    responses((status = 302, description = "To where the sign-in began, with a cookie, or to \
            /sign-in with what went wrong"),
        (status = 404, body = ProblemBody, description = "No provider is set up")))]
pub(super) async fn callback(
    State(web): State<Web>,
    Source(source): Source,
    Params(came): Params<Callback>,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let door = web.door()?;
    let browser = cookie::read(&headers, SIGN_IN);
    let (person, next) = match door.end(&web.service.store, browser, &came).await {
        Ok(it) => it,
        Err(why) => {
            let noted = Noted {
                refused: Some(why.detail.clone()),
                ..Noted::about(json!({ "problem": why.word }))
            };
            return Ok((Extension(noted), gone_wrong(&why)).into_response());
        }
    };
    let issuer = web.shared.people.oidc.as_ref().map(|it| it.issuer.as_str());
    let grants = web
        .shared
        .people
        .grants(issuer.unwrap_or_default(), &person.groups);
    let Some(grants) = grants else {
        let detail = format!("{} is in no group that has a role here", person.name);
        let answer = gone_wrong(&Failed {
            word: "noRole",
            detail: detail.clone(),
        });
        let noted = Noted {
            refused: Some(detail),
            ..Noted::of(&person.name)
        };
        return Ok((Extension(noted), answer).into_response());
    };
    let principal = Principal {
        name: person.name,
        grants,
        groups: person.groups,
        person: true,
        // The session's own id takes its place.
        credential: Credential::Session {
            id: uuid::Uuid::nil(),
            token: None,
        },
        expires_at: Timestamp::MAX,
    };
    let begun = web.begin_session(person.of, principal, source, &headers);
    let (cookie, principal) = begun.await?;
    let cookies = cookie::clear(SIGN_IN).into_iter().chain([cookie]);
    let noted = Extension(Noted::of(&principal.name));
    Ok((noted, go(&next, cookies.collect())).into_response())
}

/// Exchanges the ID token of a CI job for a token that is good for 15 minutes.
#[utoipa::path(post, path = "/api/v1/auth/exchange", tag = "sign-in", request_body = ExchangeRequest,
    responses((status = 200, body = Exchanged),
        (status = 401, body = ProblemBody, description = "The ID token is not good, or was used"),
        (status = 403, body = ProblemBody, description = "No rule gives this job a token"),
        (status = 503, body = ProblemBody, description = "The provider's keys cannot be had now")))]
pub(super) async fn exchange(
    State(web): State<Web>,
    Source(source): Source,
    body: JsonBody<ExchangeRequest, TOKEN_BODY_MAX>,
) -> Result<(Extension<Noted>, Json<Exchanged>), ServeError> {
    let exchange = &web.shared.exchange;
    let made = exchange.exchange(&web.service.store, &body.value.id_token);
    let (secret, row) = made.await?;
    tracing::info!(
        rule = row.name,
        by = row.created_by,
        from = %source,
        "gave a CI job a token"
    );
    let noted = Noted {
        who: Some(row.created_by.clone()),
        ..Noted::named("token", &row.name).within(row.project.clone())
    };
    let exchanged = Exchanged {
        secret: secret.expose_secret().to_owned(),
        expires_at: row.expires_at.unwrap_or(Timestamp::MAX),
    };
    Ok((Extension(noted), Json(exchanged)))
}

impl Web {
    fn door(&self) -> Result<&Door, ServeError> {
        let door = self.shared.door.as_ref();
        door.ok_or_else(|| ServeError::not_found("identity provider set up"))
    }
}

fn root() -> String {
    "/".to_owned()
}

/// An address on this site, as the browser will understand it: what looks like a path may lead to
/// another site (`//evil`, `/\evil`, `/.//evil`).
fn local(next: &str) -> Option<String> {
    let odd = |it: char| it.is_control() || it.is_whitespace() || it == '\\';
    if next.len() > NEXT_MAX || !next.starts_with('/') || next.contains(odd) {
        return None;
    }
    let here: Url = "http://here.invalid".parse().ok()?;
    let there = here.join(next).ok()?;
    let path = there.path();
    let same = there.origin() == here.origin() && !path.starts_with("//");
    let text = there.as_str().strip_prefix("http://here.invalid")?;
    same.then(|| text.to_owned())
}

fn go(to: &str, cookies: Vec<HeaderValue>) -> Response {
    let Ok(to) = HeaderValue::from_str(to) else {
        return ServeError::internal("an address cannot be sent").into_response();
    };
    let mut answer = (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
    for cookie in cookies {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

fn gone_wrong(why: &Failed) -> Response {
    tracing::warn!(
        problem = why.word,
        "a sign-in came to nothing: {}",
        why.detail
    );
    go(&format!("{PAGE}?problem={}", why.word), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_back_to_this_site_only() {
        for (next, expect) in [
            ("/", Some("/")),
            (
                "/apps/shop/checkout?tab=1#gates",
                Some("/apps/shop/checkout?tab=1#gates"),
            ),
            ("/a/../b", Some("/b")),
            ("/?to=//evil.example", Some("/?to=//evil.example")),
            ("//evil.example", None),
            ("///evil.example", None),
            ("/\\evil.example", None),
            ("/\t/evil.example", None),
            ("/\n/evil.example", None),
            ("/.//evil.example", None),
            ("/a/..//evil.example", None),
            ("/%2e//evil.example", None),
            ("https://evil.example", None),
            ("javascript:alert(1)", None),
            ("evil.example", None),
            ("", None),
        ] {
            assert_eq!(local(next).as_deref(), expect, "{next}");
        }
        assert_eq!(local(&format!("/{}", "x".repeat(NEXT_MAX))), None);
    }
}
