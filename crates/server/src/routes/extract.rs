//! What handlers take from a request: the caller, the rollout, parameters, a JSON body. Whatever
//! cannot be read is a problem that says where and why.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{BodyDataStream, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use store::Rollout;

use crate::{auth::Principal, error::ServeError};

/// Most bytes of a request to the API; app files are a few KiB.
pub(super) const BODY_MAX: usize = 1 << 20;
/// Most bytes of a hook's payload, which only somebody with a token may send: ten thousand alerts of
/// some 400 bytes. One that is refused is a rollback that does not come.
pub(super) const HOOK_MAX: usize = 4 << 20;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of a refused body that are read on, and for how long.
const DISCARD_MAX: usize = 8 << 20;
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// Who asks; put there by the row's guard.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) Principal);

/// Where the request comes from, as far as it can be known: the peer, or what a trusted proxy says.
/// Every request has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(pub(super) IpAddr);

/// The rollout of the path, which the caller may see; put there by the row's guard.
#[derive(Debug, Clone)]
pub(super) struct Asked(pub(super) Arc<Rollout>);

/// Query parameters.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

/// The project and the app of the path.
#[derive(Debug)]
pub(super) struct AppPath {
    pub(super) project: String,
    pub(super) app: String,
}

/// A JSON body of at most `MAX` bytes, and the bytes as they were sent.
#[derive(Debug)]
pub(super) struct JsonBody<T, const MAX: usize = BODY_MAX> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

fn not_guarded() -> ServeError {
    ServeError::internal("a handler wants what its row's access does not provide")
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServeError> {
        parts.extensions.get().cloned().ok_or_else(not_guarded)
    }
}

impl<S: Sync> FromRequestParts<S> for Source {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServeError> {
        parts.extensions.get().copied().ok_or_else(not_guarded)
    }
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServeError> {
        parts.extensions.get().cloned().ok_or_else(not_guarded)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServeError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(ServeError::Malformed {
                detail: innermost(&error),
            }),
        }
    }
}

/// The cause that names the parameter.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(cause) => innermost(cause),
        None => format!("query parameters: {error}"),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AppPath {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ServeError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((project, app)) = path.map_err(|_| ServeError::NoRoute {
            path: parts.uri.path().to_owned(),
        })?;
        Ok(Self { project, app })
    }
}

impl<S: Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for JsonBody<T, MAX> {
    type Rejection = ServeError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ServeError> {
        let (parts, body) = request.into_parts();
        let mut chunks = body.into_data_stream();
        match read(&parts.headers, &mut chunks, MAX).await {
            Ok(bytes) => {
                let value = parse(&bytes)?;
                Ok(Self { value, bytes })
            }
            Err(refusal) => {
                tokio::select! {
                    () = discard(&mut chunks) => {}
                    () = tokio::time::sleep(DISCARD_WITHIN) => {}
                }
                Err(refusal)
            }
        }
    }
}

async fn read(
    headers: &HeaderMap,
    chunks: &mut BodyDataStream,
    max: usize,
) -> Result<Bytes, ServeError> {
    declared(headers, max)?;
    let bytes = tokio::time::timeout(BODY_WITHIN, whole(chunks, max)).await;
    bytes.map_err(|_| ServeError::TooSlow {
        within: BODY_WITHIN,
    })?
}

/// Reads on and forgets, within bounds: who is still sending when the connection is closed never gets
/// to the answer.
async fn discard(chunks: &mut BodyDataStream) {
    let mut left = DISCARD_MAX;
    while let Some(Ok(chunk)) = chunks.next().await {
        match left.checked_sub(chunk.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// What the headers say of the body, before a byte of it is read.
fn declared(headers: &HeaderMap, max: usize) -> Result<(), ServeError> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|it| it.parse::<u64>().ok());
    if length.is_some_and(|it| it > max as u64) {
        return Err(ServeError::TooLarge { limit: max });
    }
    let refuse = |detail: &str| ServeError::UnsupportedMedia {
        detail: detail.to_owned(),
    };
    if text(header::CONTENT_ENCODING).is_some_and(|it| it != "identity") {
        return Err(refuse("send the body uncompressed"));
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let json = kind.eq_ignore_ascii_case("application/json")
        || kind.to_ascii_lowercase().ends_with("+json");
    match json {
        true => Ok(()),
        false => Err(refuse("send JSON, with Content-Type: application/json")),
    }
}

async fn whole(chunks: &mut BodyDataStream, max: usize) -> Result<Bytes, ServeError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ServeError::Malformed {
            detail: "the body broke off".to_owned(),
        })?;
        if bytes.len() + chunk.len() > max {
            return Err(ServeError::TooLarge { limit: max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// JSON as `T`. What is no JSON at all is 400; what is JSON of another shape is 422 with a pointer
/// to the field as far as serde tells it: our bodies are flat, so its name is enough.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServeError> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => ServeError::Malformed {
            detail: format!("the body is not JSON: {error}"),
        },
        Category::Data => {
            let offset = offset(bytes, error.line(), error.column());
            let words = error.to_string();
            let pointer = named(&words).or_else(|| key_before(bytes.get(..offset)?));
            let pointer = pointer.map(|it| it.replace('~', "~0").replace('/', "~1"));
            ServeError::Field {
                pointer: pointer.map(|it| format!("/{it}")).unwrap_or_default(),
                detail: words,
            }
        }
    })
}

/// The field that serde names in its message.
fn named(words: &str) -> Option<String> {
    let says = ["unknown field `", "missing field `", "duplicate field `"];
    let rest = says.iter().find_map(|it| words.strip_prefix(it))?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

/// Bytes before a place that serde names by line and column, both from 1.
fn offset(bytes: &[u8], line: usize, column: usize) -> usize {
    let lines = bytes.split_inclusive(|it| *it == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column).min(bytes.len())
}

/// The last key of the outermost object that begins in `bytes`.
fn key_before(bytes: &[u8]) -> Option<String> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, None, false);
    let (mut last, mut key) = (None, None);
    for (place, byte) in bytes.iter().enumerate() {
        match (quoted, *byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(begin), b'"') => {
                quoted = None;
                last = bytes.get(begin..=place).filter(|_| depth == 1);
            }
            (None, b'"') => quoted = Some(place),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => depth = depth.saturating_sub(1),
            (None, b':') if depth == 1 => key = last,
            _ => {}
        }
    }
    key.and_then(|it| serde_json::from_slice(it).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: DeserializeOwned>(body: &str, status: u16, pointer: &str) {
        let Err(error) = parse::<T>(body.as_bytes()) else {
            panic!("{body} was read");
        };
        let problem = error.body();
        assert_eq!(problem.status, status, "{body}: {problem:?}");
        let found = problem.errors.first().map_or("none", |it| &it.pointer);
        assert_eq!(found, pointer, "{body}: {problem:?}");
    }

    #[test]
    fn what_is_wrong_in_a_body_is_pointed_at() {
        check::<api::Deploy>("", 400, "none");
        check::<api::Deploy>("{\"artifact\":", 400, "none");
        check::<api::Deploy>("nonsense", 400, "none");
        check::<api::Deploy>(r#"{"artefact": "x"}"#, 422, "/artefact");
        check::<api::Deploy>(r#"{"a/b~c": "x"}"#, 422, "/a~1b~0c");
        check::<api::Deploy>("{\"comment\": \"{[\",\n \"undo\": \"yes\"}", 422, "/undo");
        check::<api::Deploy>("{\"artifact\": {\"a\": 1}}", 422, "/artifact");
        check::<api::Deploy>("null", 422, "");
        check::<api::Deploy>("7", 422, "");
        check::<api::CommandRequest>("{}", 422, "/order");
        check::<api::CommandRequest>(r#"{"order": "destroy"}"#, 422, "/order");
        check::<api::CommandRequest>(r#"{"order": "abort", "order": "abort"}"#, 422, "/order");
        check::<api::Approve>(r#"{"decision": "approve", "step": -1}"#, 422, "/step");
    }

    #[test]
    fn deep_and_odd_json_is_an_error_and_no_panic() {
        let deep = "[".repeat(100_000);
        check::<serde_json::Value>(&deep, 400, "none");
        for bytes in [&b"\xff\xfe"[..], b"{\"a\":NaN}", b"\"\\ud800\"", b"\0"] {
            assert!(parse::<serde_json::Value>(bytes).is_err());
        }
    }

    #[test]
    fn a_body_is_refused_by_its_headers() {
        let headers = |pairs: &[(header::HeaderName, &str)]| {
            let pairs = pairs.iter().cloned();
            pairs
                .map(|(name, value)| (name, value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
        assert!(declared(&headers(std::slice::from_ref(&json)), 9).is_ok());
        for wrong in [
            headers(&[]),
            headers(&[(header::CONTENT_TYPE, "text/plain")]),
            headers(&[json.clone(), (header::CONTENT_LENGTH, "10")]),
            headers(&[json, (header::CONTENT_ENCODING, "gzip")]),
        ] {
            assert!(declared(&wrong, 9).is_err(), "{wrong:?}");
        }
    }
}
