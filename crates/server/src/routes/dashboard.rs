//! The dashboard's files, embedded in the binary. It uses the public routes and nothing else.
//!
//! Assets have a digest of their content in their names and are kept by browsers for ever; the page
//! that names them is made anew for each request. The page answers every path that a browser asks for as a
//! page and that is nobody else's: the dashboard finds its way by itself.

use axum::{
    extract::{OriginalUri, Path},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};
use uuid::Uuid;

use super::envelope;
use crate::error::ServeError;

/// What `make web` has built; a page that says how to build it where that was not done.
#[derive(RustEmbed)]
#[folder = "$OUT_DIR/dashboard"]
struct Files;

const PAGE: &str = "index.html";
/// What stands in it for the nonce.
const NONCE: &str = "%CSP_NONCE%";
/// Nothing but our own files, no inline scripts, no frames around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// Paths that are programs' business: they get a problem, never a page.
const NO_PAGES: [&str; 7] = [
    "/api",
    "/auth",
    "/health",
    "/ready",
    "/startup",
    "/metrics",
    "/openapi.json",
];

/// The page.
#[utoipa::path(get, path = "/", tag = "dashboard",
    responses((status = 200, description = "The dashboard", content_type = "text/html")))]
pub(super) async fn page() -> Response {
    index()
}

/// A file that the page names.
#[utoipa::path(get, path = "/assets/{file}", tag = "dashboard",
    params(("file" = String, Path)),
    responses((status = 200, description = "A script, a style sheet, a picture"),
        (status = 304, description = "It is the one that the browser has")))]
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("assets/{name}");
    let no_file = || ServeError::NoRoute {
        path: format!("/{path}"),
    };
    file(&path, &headers).unwrap_or_else(|| no_file().into_response())
}

/// Where there is no route: the page for browsers, a problem for everybody else.
pub(super) async fn elsewhere(method: Method, uri: OriginalUri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let under = |it: &str| {
        let rest = path.strip_prefix(it);
        rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
    };
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let wants_page = accept.is_some_and(|it| it.contains("text/html"));
    match method == Method::GET && wants_page && !NO_PAGES.iter().any(|it| under(it)) {
        true => index(),
        false => envelope::no_route(uri).await.into_response(),
    }
}

/// The page, with a nonce of its own for styles that scripts add.
fn index() -> Response {
    let Some(found) = Files::get(PAGE) else {
        return (StatusCode::NOT_FOUND, "the page is missing").into_response();
    };
    let nonce = Uuid::new_v4().simple().to_string();
    let page = String::from_utf8_lossy(&found.data).replace(NONCE, &nonce);
    let policy = POLICY.replace(
        "style-src 'self'",
        &format!("style-src 'self' 'nonce-{nonce}'"),
    );
    let mut answer = page.into_response();
    set(
        &mut answer,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    set(&mut answer, header::CACHE_CONTROL, "no-store");
    set(&mut answer, header::CONTENT_SECURITY_POLICY, &policy);
    answer
}

/// A file that does not change under its name.
fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    let found = Files::get(name)?;
    let etag = etag(&found);
    let known = headers.get(header::IF_NONE_MATCH);
    let known = known.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let mut known = known
        .split(',')
        .map(|it| it.trim().trim_start_matches("W/"));
    let mut answer = match known.any(|it| it == etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let mut answer = found.data.into_owned().into_response();
            set(&mut answer, header::CONTENT_TYPE, found.metadata.mimetype());
            answer
        }
    };
    set(
        &mut answer,
        header::CACHE_CONTROL,
        "public, max-age=31536000, immutable",
    );
    set(&mut answer, header::ETAG, &etag);
    Some(answer)
}

fn set(answer: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// Of the content: 128 of SHA-256's bits.
fn etag(file: &EmbeddedFile) -> String {
    use std::fmt::Write as _;
    let hash = file.metadata.sha256_hash();
    let mut etag = "\"".to_owned();
    for byte in hash.iter().take(16) {
        // Writing to a string cannot fail.
        write!(etag, "{byte:02x}").unwrap_or_default();
    }
    etag + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(path: &str, accept: &str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let uri = OriginalUri(path.parse().unwrap());
        elsewhere(Method::GET, uri, headers).await
    }

    fn header_of(answer: &Response, name: HeaderName) -> &str {
        answer.headers().get(name).unwrap().to_str().unwrap()
    }

    #[tokio::test]
    async fn browsers_get_the_page_where_programs_get_a_problem() {
        for path in ["/apps/shop/checkout", "/rollouts/1", "/healthy"] {
            assert_eq!(told(path, "text/html,*/*").await.status(), 200, "{path}");
            assert_eq!(told(path, "application/json").await.status(), 404, "{path}");
        }
        for path in ["/api", "/api/v2/apps", "/auth/nothing", "/metrics/x"] {
            let answer = told(path, "text/html").await;
            assert_eq!(answer.status(), 404, "{path}");
            let kind = header_of(&answer, header::CONTENT_TYPE);
            assert_eq!(kind, api::PROBLEM_JSON, "{path}");
        }
    }

    #[tokio::test]
    async fn each_page_has_a_nonce_of_its_own_and_nothing_inline_besides() {
        let (one, other) = (page().await, page().await);
        let policy = |it: &Response| header_of(it, header::CONTENT_SECURITY_POLICY).to_owned();
        assert!(
            policy(&one).contains("style-src 'self' 'nonce-"),
            "{}",
            policy(&one)
        );
        assert!(!policy(&one).contains("unsafe"));
        assert_ne!(policy(&one), policy(&other));
        assert_eq!(header_of(&one, header::CACHE_CONTROL), "no-store");
    }

    #[tokio::test]
    async fn files_are_kept_by_their_digest_and_nothing_else_is_given_out() {
        for name in ["nothing.js", "../index.html", "..%2findex.html", ""] {
            let answer = asset(Path(name.to_owned()), HeaderMap::new()).await;
            assert_eq!(answer.status(), 404, "{name}");
        }
        // The page is a file as well; it is there whether the dashboard was built or not.
        let answer = file(PAGE, &HeaderMap::new()).unwrap();
        let etag = header_of(&answer, header::ETAG).to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(
            header::IF_NONE_MATCH,
            format!("\"x\", W/{etag}").parse().unwrap(),
        );
        assert_eq!(file(PAGE, &headers).unwrap().status(), 304);
        assert!(header_of(&answer, header::CACHE_CONTROL).contains("immutable"));
    }
}
