//! The stream of committed transitions, as server-sent events. An event's id is its place in the
//! order of commits: whoever comes back with `Last-Event-ID` misses nothing and gets nothing twice.

mod feed;

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use api::EventView;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use futures::stream;
use store::{EventCursor, StoreError};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast},
    time::Instant,
};

pub(super) use self::feed::Feed;
use self::feed::{BATCH, Fed, Told};
use super::{Web, extract::Caller};
use crate::{auth::Principal, error::ServeError};

/// Sent when there is nothing to tell, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is asked whether the caller may still listen.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How often a stream looks for itself though it is fed: what it must not need.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After the database did not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Tells nginx not to hold events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The events of the caller's projects, from after `Last-Event-ID` on, or from now on. Each is an
/// [`EventView`]. Ends when the server stops or the token does; come back with the last id.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(("last-event-id" = Option<String>, Header, description = "The id of the last event seen")),
    responses((status = 200, body = EventView, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(web): State<Web>,
    Caller(caller): Caller,
    headers: HeaderMap,
) -> Result<Response, ServeError> {
    let place = web.long_request()?;
    // Before anything is read: what comes after that is fed.
    let fed = web.shared.feed.subscribe(&web.service);
    let last = headers.get("last-event-id");
    let last = last
        .map(|it| it.to_str().map_err(|_| bad_id()))
        .transpose()?;
    let cursor = match last {
        Some(last) => last.parse().map_err(|_| bad_id())?,
        None => web.service.store.latest_cursor().await?.parse()?,
    };
    let tail = Tail {
        projects: caller.projects(),
        web,
        caller,
        cursor,
        ready: VecDeque::new(),
        fed,
        behind: true,
        looked: Instant::now(),
        _place: place,
    };
    let events = stream::unfold(tail, |mut tail| async move {
        let told = tail.next().await?;
        Some((Ok::<_, Infallible>(told.event()), tail))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut answer = Sse::new(events).keep_alive(keep_alive).into_response();
    let headers = answer.headers_mut();
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(answer)
}

fn bad_id() -> ServeError {
    ServeError::Malformed {
        detail: "Last-Event-ID must be the id of an event of this stream".to_owned(),
    }
}

/// One listener.
struct Tail {
    web: Web,
    caller: Principal,
    projects: Option<Vec<String>>,
    /// The last event that was sent, or the place from where it listens.
    cursor: EventCursor,
    ready: VecDeque<Arc<Told>>,
    fed: broadcast::Receiver<Fed>,
    /// Whether there may be events that it was not fed.
    behind: bool,
    looked: Instant,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// The next event; `None` when the stream is to end.
    async fn next(&mut self) -> Option<Arc<Told>> {
        loop {
            if self.web.service.stop.is_cancelled() {
                return None;
            }
            if let Some(told) = self.ready.pop_front() {
                self.cursor = told.cursor;
                return Some(told);
            }
            let store = &self.web.service.store;
            if !self.web.shared.tokens.still_good(&self.caller, store).await {
                return None;
            }
            if !self.behind && self.looked.elapsed() < LOOK_EVERY {
                self.listen().await;
                continue;
            }
            match self.look().await {
                Ok(()) => {}
                // The client comes back with its last id, maybe to a replica that is better off.
                Err(error) if !error.is_transient() => {
                    tracing::warn!(%error, "an event stream ends: cannot read events");
                    return None;
                }
                Err(_) => self.sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// Reads for itself.
    async fn look(&mut self) -> Result<(), StoreError> {
        let (store, cursor) = (&self.web.service.store, self.cursor.to_string());
        let rows = store.events_after(Some(&cursor), self.projects.as_deref(), BATCH);
        let rows = rows.await?;
        self.behind = rows.len() >= BATCH as usize;
        self.looked = Instant::now();
        for row in &rows {
            self.ready.push_back(Told::of(row)?);
        }
        Ok(())
    }

    /// Waits for what it is fed, or until the caller is to be looked at again.
    async fn listen(&mut self) {
        let fed = tokio::select! {
            () = self.web.service.stop.cancelled() => return,
            () = tokio::time::sleep(CHECK_EVERY) => return,
            fed = self.fed.recv() => fed,
        };
        match fed {
            Ok(Fed::Event(told)) => {
                let mine = self.projects.as_ref();
                let mine = mine.is_none_or(|it| it.contains(&told.project));
                if mine && told.cursor > self.cursor {
                    self.ready.push_back(told);
                }
            }
            Ok(Fed::Look) | Err(broadcast::error::RecvError::Lagged(_)) => self.behind = true,
            // The server holds the feed as long as it serves.
            Err(broadcast::error::RecvError::Closed) => self.sleep(CHECK_EVERY).await,
        }
    }

    async fn sleep(&self, time: Duration) {
        let stop = &self.web.service.stop;
        stop.run_until_cancelled(tokio::time::sleep(time)).await;
    }
}
