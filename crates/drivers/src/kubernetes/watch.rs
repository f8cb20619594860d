//! Keeps a cache: reads everything, then follows the changes, for as long as it is wanted.
//!
//! ```text
//!   watch that begins with everything ──ends (5 min)──> watch from the last version
//!     ^     │ the server cannot: list, page by page ──────────^
//!     │     └── fails: wait, then the same ──────────────────┐│
//!     └──────── 410: too old ────────────────────────────────┘
//! ```
//!
//! A watch that begins with everything is one request where a list is one a page, and the server
//! does not build the list in memory. Kubernetes has it on by default since 1.34.
//!
//! The client library has such a loop too, but it does not say when a watch stands again, nor what
//! bookmarks tell: that a quiet namespace is still being watched.

use std::{
    ops::RangeInclusive,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt;
use http::{Request, StatusCode, header::ACCEPT};
use serde_json::Value;

use super::{
    cache::Cache,
    object::Object,
    request::{ANSWER_WITHIN, ApiServer, Failure, RequestError, failed, failure_of},
};

/// Objects in one page of a list. A page is held as text and as a tree at the same time.
const PAGE: u32 = 100;

/// How long the server is asked to keep a watch, at random, so that those that began together do not
/// end together. It sends a bookmark about once a minute.
const WATCH_SECONDS: RangeInclusive<u64> = 240..=300;

/// Silence after which a watch is taken for dead: two bookmarks were missed.
const SILENT_FOR: Duration = Duration::from_secs(150);

/// The first and the longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A watch that stood this long was a good one.
const STOOD: Duration = Duration::from_secs(10);

/// The annotation of the bookmark that ends the objects that there were when a watch began.
const EVERYTHING_TOLD: &str = "/metadata/annotations/k8s.io~1initial-events-end";

/// Follows the objects of `cache`'s scope until it is dropped.
pub(super) async fn keep(server: Arc<ApiServer>, cache: Arc<Cache>) {
    let mut pause = PAUSES.0;
    let mut version: Option<String> = None;
    loop {
        let began = tokio::time::Instant::now();
        let from = version.take();
        let is_first = from.is_none();
        let only_lists = server.only_lists.load(Ordering::Relaxed);
        let (seen, ended) = match from {
            None if only_lists => match list(&server, &cache).await {
                Ok(listed) => {
                    version = Some(listed);
                    continue;
                }
                Err(error) => (None, Err(error)),
            },
            from => watch(&server, &cache, from).await,
        };
        version = seen;
        if began.elapsed() > STOOD {
            pause = PAUSES.0;
        }
        match ended {
            // The server ends a watch when its time is over; one that ends at once would spin.
            Ok(()) if began.elapsed() > STOOD => continue,
            Ok(()) => {}
            Err(error) if error.failure == Failure::Expired => {
                cache.begin();
                version = None;
            }
            // If that is not why, the list is refused as well.
            Err(error) if is_first && error.failure == Failure::Invalid && !only_lists => {
                tracing::debug!(%error, "no watch begins with everything here");
                server.only_lists.store(true, Ordering::Relaxed);
                continue;
            }
            Err(error) => {
                tracing::debug!(namespace = cache.scope.namespace, %error, "a watch is lost");
                cache.lost(error);
            }
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Reads everything. The version that it was read at.
async fn list(server: &ApiServer, cache: &Cache) -> Result<String, RequestError> {
    cache.begin();
    let mut more: Option<String> = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(more.take().map(|it| ("continue", it)));
        let request = get(cache, query, "PartialObjectMetadataList");
        let operation = operation("list", cache);
        let page = server
            .ask_json("list", &operation, request, Vec::new())
            .await;
        let mut page = page.map_err(|error| explained(error, cache))?;
        let items = page.get_mut("items").and_then(Value::as_array_mut);
        for item in items.map(std::mem::take).unwrap_or_default() {
            if let Some(object) = Object::read(cache.kind, item) {
                cache.seen(object);
            }
        }
        let said = |key: &str| {
            let value = page.pointer(key).and_then(Value::as_str);
            value.filter(|it| !it.is_empty()).map(str::to_owned)
        };
        more = said("/metadata/continue");
        if more.is_none() {
            let Some(version) = said("/metadata/resourceVersion") else {
                let message = "the list has no version";
                return Err(failed(&operation, Failure::Unknown, message));
            };
            cache.end(&version);
            return Ok(version);
        }
    }
}

/// Tells everything and then the changes, or with `from` the changes since that version, until the
/// watch ends: the version that it got to, and how it ended.
async fn watch(
    server: &ApiServer,
    cache: &Cache,
    from: Option<String>,
) -> (Option<String>, Result<(), RequestError>) {
    let operation = operation("watch", cache);
    if from.is_none() {
        cache.begin();
    }
    let query = watch_query(from.as_deref());
    let opened = server
        .open(&operation, get(cache, query, "PartialObjectMetadata"))
        .await;
    let mut lines = match opened {
        Ok(lines) => std::pin::pin!(lines),
        Err(error) => return (from, Err(explained(error, cache))),
    };
    if from.is_some() {
        cache.current();
    }
    let mut version = from;
    loop {
        let silence = match version {
            Some(_) => SILENT_FOR,
            None => ANSWER_WITHIN,
        };
        let line = match tokio::time::timeout(silence, lines.next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(error))) => return (version, Err(error)),
            Ok(None) => return (version, Ok(())),
            Err(_) => {
                let message = format!("nothing was heard for {} s", silence.as_secs());
                let failure = match version {
                    Some(_) => Failure::Unknown,
                    // What stands behind the server cannot say when all is told: as if refused.
                    None => Failure::Invalid,
                };
                return (version, Err(failed(&operation, failure, message)));
            }
        };
        match event(cache, &operation, &line) {
            // Objects that were there come in any order: there is no going on from one of them.
            Ok(told) if version.is_some() || told.everything => {
                version = told.version.or(version);
            }
            Ok(_) => {}
            Err(error) => return (version, Err(error)),
        }
    }
}

/// A watch from a version on, or one that begins with everything there is.
fn watch_query(from: Option<&str>) -> Vec<(&'static str, String)> {
    let seconds = rand::random_range(WATCH_SECONDS);
    let mut query = vec![
        ("watch", "1".to_owned()),
        ("allowWatchBookmarks", "true".to_owned()),
        ("timeoutSeconds", seconds.to_string()),
    ];
    match from {
        Some(version) => query.push(("resourceVersion", version.to_owned())),
        None => query.extend([
            ("sendInitialEvents", "true".to_owned()),
            ("resourceVersionMatch", "NotOlderThan".to_owned()),
        ]),
    }
    query
}

/// What an event told.
struct Told {
    /// The version that it is of.
    version: Option<String>,
    /// All objects that there were when the watch began have been told now.
    everything: bool,
}

/// Takes one event.
fn event(cache: &Cache, operation: &str, line: &str) -> Result<Told, RequestError> {
    let Ok(mut event) = serde_json::from_str::<Value>(line) else {
        return Err(failed(operation, Failure::Unknown, "an event is not JSON"));
    };
    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let version = text("/metadata/resourceVersion").map(str::to_owned);
    let mut everything = false;
    match event.get("type").and_then(Value::as_str) {
        Some("ADDED" | "MODIFIED") => {
            if let Some(object) = Object::read(cache.kind, object) {
                cache.seen(object);
            }
        }
        Some("DELETED") => {
            if let (Some(name), Some(version)) = (text("/metadata/name"), &version) {
                cache.gone(name, version);
            }
        }
        Some("BOOKMARK") => {
            if let (Some("true"), Some(version)) = (text(EVERYTHING_TOLD), &version) {
                everything = true;
                cache.end(version);
            }
        }
        Some("ERROR") => {
            let code = object.get("code").and_then(Value::as_u64).unwrap_or(500);
            let code = u16::try_from(code).ok().map(StatusCode::from_u16);
            let status = code
                .and_then(Result::ok)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let failure = failure_of(status, text("/reason").unwrap_or_default());
            let message = text("/message").unwrap_or("the watch failed");
            return Err(failed(operation, failure, message));
        }
        Some(_) | None => {}
    }
    Ok(Told {
        version,
        everything,
    })
}

fn operation(verb: &str, cache: &Cache) -> String {
    let scope = &cache.scope;
    format!("{verb} {} in namespace {}", scope.resource, scope.namespace)
}

/// A kind that the server does not have is found out at the first look.
fn explained(mut error: RequestError, cache: &Cache) -> RequestError {
    if error.failure == Failure::NotFound {
        error.message = format!(
            "the cluster has no {} of version {}",
            cache.scope.resource, cache.kind.version
        );
    }
    error
}

/// A request for objects; `metadata`: the form without what they hold, for kinds that want no more.
fn get(cache: &Cache, query: Vec<(&str, String)>, metadata: &str) -> http::request::Builder {
    let request = Request::get(uri(cache, query));
    match cache.kind.metadata_only {
        true => {
            let form = format!("application/json;as={metadata};g=meta.k8s.io;v=v1");
            request.header(ACCEPT, form)
        }
        false => request,
    }
}

fn uri(cache: &Cache, query: Vec<(&str, String)>) -> String {
    let selector = cache.scope.selector.clone();
    let query = query
        .into_iter()
        .chain(selector.map(|it| ("labelSelector", it)));
    let query: Vec<String> = query
        .map(|(key, value)| format!("{key}={}", encoded(&value)))
        .collect();
    let path = cache.kind.path(&cache.scope.namespace, None);
    format!("{path}?{}", query.join("&"))
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    let plain = |it: &u8| it.is_ascii_alphanumeric() || b"-._~".contains(it);
    text.bytes()
        .map(|it| match plain(&it) {
            true => char::from(it).to_string(),
            false => format!("%{it:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn watches_that_begin_together_do_not_end_together() {
        let ends = (0..100).map(|_| {
            let query = watch_query(Some("7"));
            let (_, seconds) = query.iter().find(|it| it.0 == "timeoutSeconds").unwrap();
            seconds.parse().unwrap()
        });
        let ends: BTreeSet<u64> = ends.collect();
        // Of 61 seconds a hundred draws leave out no more than this, but for a chance of 1e-20.
        assert!(ends.len() > 10, "{ends:?}");
        assert!(ends.iter().all(|it| (240..=300).contains(it)), "{ends:?}");
    }
}
