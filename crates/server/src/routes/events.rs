//! The stream of committed transitions, as server-sent events. An event's id is its place in the
//! order of commits: whoever comes back with `Last-Event-ID` misses nothing and gets nothing twice.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use api::EventView;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use store::TransitionRow;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast},
    time::Instant,
};

use super::{Web, extract::Caller};
use crate::{auth::Principal, error::ServeError, views};

/// Sent when there is nothing to tell, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Notifications can be lost with their connection, so we look now and then all the same.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// An event is given out only when every transaction that began before its own has ended; after a
/// ring we look again this soon, for [`SOON`], before falling back to [`LOOK_EVERY`].
const LOOK_SOON: Duration = Duration::from_millis(50);
/// For how long we look more often.
const SOON: Duration = Duration::from_secs(1);
/// Events read at a time.
const BATCH: u32 = 200;
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
    let changed = web.service.changed.subscribe();
    let last = headers.get("last-event-id");
    let last = last
        .map(|it| it.to_str().map_err(|_| bad_id()))
        .transpose()?;
    let store = &web.service.store;
    let projects = caller.projects();
    let (cursor, ready) = match last {
        Some(last) => {
            // Asked once here, so that a bad id is an answer and not a stream that breaks.
            let rows = store.events_after(Some(last), projects.as_deref(), BATCH);
            let rows = rows.await.map_err(|error| match error {
                store::StoreError::BadCursor { .. } => bad_id(),
                error => error.into(),
            })?;
            (last.to_owned(), VecDeque::from(rows))
        }
        None => (store.latest_cursor().await?, VecDeque::new()),
    };
    let tail = Tail {
        web,
        caller,
        projects,
        cursor,
        ready,
        changed,
        soon_until: Instant::now(),
        _place: place,
    };
    let events = stream::unfold(tail, |mut tail| async move {
        let row = tail.next().await?;
        Some((Ok::<_, Infallible>(told(&row)), tail))
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

fn told(row: &TransitionRow) -> Event {
    let view = views::event_view(row);
    let data = serde_json::to_string(&view).unwrap_or_default();
    Event::default().id(view.id).event(view.event).data(data)
}

/// One listener.
struct Tail {
    web: Web,
    caller: Principal,
    projects: Option<Vec<String>>,
    cursor: String,
    ready: VecDeque<TransitionRow>,
    changed: broadcast::Receiver<()>,
    soon_until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// The next event; `None` when the stream is to end.
    async fn next(&mut self) -> Option<TransitionRow> {
        loop {
            if self.web.service.stop.is_cancelled() {
                return None;
            }
            if let Some(row) = self.ready.pop_front() {
                self.cursor.clone_from(&row.event_id);
                return Some(row);
            }
            let store = &self.web.service.store;
            if !self.web.shared.tokens.still_good(&self.caller, store).await {
                return None;
            }
            let cursor = Some(self.cursor.as_str());
            match store
                .events_after(cursor, self.projects.as_deref(), BATCH)
                .await
            {
                Ok(rows) => self.ready.extend(rows),
                // The client comes back with its last id, maybe to a replica that is better off.
                Err(error) if !error.is_transient() => {
                    tracing::warn!(%error, "an event stream ends: cannot read events");
                    return None;
                }
                Err(_) => {}
            }
            if self.ready.is_empty() {
                self.pause().await;
            }
        }
    }

    async fn pause(&mut self) {
        let soon = Instant::now() < self.soon_until;
        let look = if soon { LOOK_SOON } else { LOOK_EVERY };
        tokio::select! {
            () = self.web.service.stop.cancelled() => {}
            () = tokio::time::sleep(look) => {}
            rung = self.changed.recv(), if !soon => match rung {
                Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.soon_until = Instant::now() + SOON;
                    self.changed = self.changed.resubscribe();
                }
                Err(broadcast::error::RecvError::Closed) => tokio::time::sleep(look).await,
            }
        }
    }
}
