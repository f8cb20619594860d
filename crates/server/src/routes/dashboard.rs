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
    file(&format!("assets/{name}"), &headers)
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
fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some(found) = Files::get(name) else {
        return (StatusCode::NOT_FOUND, "there is no such file").into_response();
    };
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
    answer
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
