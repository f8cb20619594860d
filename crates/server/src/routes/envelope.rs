//! What every request gets, where it comes from, and what every answer has in common: a request id,
//! security headers, its place in the counts, and a problem as its body when something went wrong,
//! panics included.

use std::{any::Any, net::SocketAddr, time::Instant};

use axum::{
    extract::{ConnectInfo, OriginalUri, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Web, extract::Source, guard::Answered};
use crate::error::{REQUEST_ID, ServeError};

/// Echoed in every answer, made when the request has none.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 64;
/// How answers without a row of the table are counted.
const NO_ROW: &str = "none";

/// Goes around every request.
pub(super) async fn wrap(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method_word(request.method());
    let id = request_id(request.headers());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let proxies = &web.shared.people.trusted_proxies;
    let source = peer.map(|it| Source(proxies.source(it.0, request.headers())));
    let span = tracing::debug_span!("request", request = %id, method, path = request.uri().path());
    if let Some(source) = source {
        span.in_scope(|| tracing::debug!(from = %source.0, "asked"));
        request.extensions_mut().insert(source);
    }
    let work = next.run(request).instrument(span);
    let mut answer = REQUEST_ID.scope(id.clone(), work).await;
    let route = answer.extensions().get::<Answered>().map(|it| it.0);
    let status = answer.status().as_u16();
    let metrics = &web.service.metrics;
    metrics.answered(method, route.unwrap_or(NO_ROW), status, began.elapsed());
    decorate(answer.headers_mut(), &id);
    answer
}

/// A client's own id, if it is a plain one: it goes into logs.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|it| it.to_str().ok());
    let plain = |text: &&str| {
        let fits = (1..=REQUEST_ID_MAX).contains(&text.len());
        fits && text
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
    };
    given
        .filter(plain)
        .map_or_else(|| Uuid::now_v7().to_string(), ToOwned::to_owned)
}

fn decorate(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    let always = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let unless_said = [
        (header::CACHE_CONTROL, "no-store"),
        // What is no page needs nothing.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in unless_said {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// Methods as labels: a client cannot make up new ones.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Answers where there is no route.
pub(super) async fn no_route(OriginalUri(uri): OriginalUri) -> ServeError {
    ServeError::NoRoute {
        path: uri.path().to_owned(),
    }
}

/// Answers where there is a route, but not with this method.
pub(super) async fn method_not_allowed(
    method: Method,
    OriginalUri(uri): OriginalUri,
) -> ServeError {
    ServeError::MethodNotAllowed {
        path: uri.path().to_owned(),
        method: method.to_string(),
    }
}

/// Answers instead of a handler that panicked.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the layer gives the payload away"
)]
pub(super) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    ServeError::internal(format!("a handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        let with = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
            request_id(&headers)
        };
        assert_eq!(with("build-17.a_b"), "build-17.a_b");
        for odd in ["", "a b", "a\"b", "{}", &"x".repeat(65)] {
            assert_ne!(with(odd), odd);
        }
    }

    #[test]
    fn a_panic_is_a_problem_that_tells_nothing() {
        let answer = panicked(Box::new("index out of bounds"));
        assert_eq!(answer.status().as_u16(), 500);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], api::PROBLEM_JSON);
    }
}
