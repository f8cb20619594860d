//! New events, read once for all streams of this server.
//!
//! ```text
//!  ring, timer ──> one read of what is new ──> broadcast ──> stream: its projects, after its place
//!                                                  │
//!                  begun, or too slow for it ──> "look yourself": the stream reads from its place on
//! ```
//!
//! Otherwise every change would make each of five hundred streams ask the database, and a rollback
//! would stand in that queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::response::sse::Event;
use store::{EventCursor, StoreError, TransitionRow};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

use crate::{service::Service, views};

/// Events read at a time.
pub(super) const BATCH: u32 = 200;
/// Notifications can be lost with their connection, so we look now and then all the same.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// An event is given out only when every transaction that began before its own has ended; after a
/// ring we look again this soon, for [`SOON`], before falling back to [`LOOK_EVERY`].
const LOOK_SOON: Duration = Duration::from_millis(50);
/// For how long we look more often.
const SOON: Duration = Duration::from_secs(1);
/// Events that a stream may be behind; beyond it, it reads for itself.
const KEPT: usize = 256;

/// An event, ready to be sent.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) cursor: EventCursor,
    pub(super) project: String,
    event: String,
    data: String,
}

impl Told {
    pub(super) fn of(row: &TransitionRow) -> Result<Arc<Self>, StoreError> {
        let view = views::event_view(row);
        Ok(Arc::new(Self {
            cursor: row.event_id.parse()?,
            project: row.project.clone(),
            data: serde_json::to_string(&view).unwrap_or_default(),
            event: view.event,
        }))
    }

    pub(super) fn event(&self) -> Event {
        let event = Event::default().id(self.cursor.to_string());
        event.event(&self.event).data(&self.data)
    }
}

/// What a stream is given.
#[derive(Debug, Clone)]
pub(super) enum Fed {
    /// The feed begins here: what came before it, each reads for itself.
    Look,
    /// The next event of all projects.
    Event(Arc<Told>),
}

/// What all streams are fed from; it reads only while there are any.
#[derive(Debug)]
pub(in crate::routes) struct Feed {
    given: broadcast::Sender<Fed>,
    wanted: Notify,
    started: AtomicBool,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            given: broadcast::Sender::new(KEPT),
            wanted: Notify::new(),
            started: AtomicBool::new(false),
        }
    }
}

impl Feed {
    /// Everything that is committed after this call, once what is committed until now was read.
    pub(super) fn subscribe(self: &Arc<Self>, service: &Service) -> broadcast::Receiver<Fed> {
        let subscribed = self.given.subscribe();
        if !self.started.swap(true, Ordering::Relaxed) {
            let (feed, service) = (Arc::clone(self), service.clone());
            let stop = service.stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(feed.run(&service)).await });
        }
        self.wanted.notify_one();
        subscribed
    }

    async fn run(&self, service: &Service) {
        let mut rings = Rings {
            changed: service.changed.subscribe(),
            soon_until: Instant::now(),
        };
        let mut from = None;
        loop {
            if self.given.receiver_count() == 0 {
                from = None;
                self.wanted.notified().await;
                continue;
            }
            match self.read(service, &mut from).await {
                Ok(true) => {}
                Ok(false) => rings.pause().await,
                Err(error) => {
                    tracing::debug!(%error, "cannot read events for the streams");
                    rings.pause().await;
                }
            }
        }
    }

    /// Gives out what is new after `from`; whether there was anything.
    async fn read(
        &self,
        service: &Service,
        from: &mut Option<EventCursor>,
    ) -> Result<bool, StoreError> {
        let store = &service.store;
        let Some(after) = *from else {
            *from = Some(store.latest_cursor().await?.parse()?);
            // Nobody listening any more is no fault.
            self.given.send(Fed::Look).ok();
            return Ok(true);
        };
        let after = after.to_string();
        let rows = store.events_after(Some(&after), None, BATCH).await?;
        for row in &rows {
            let told = Told::of(row)?;
            *from = Some(told.cursor);
            self.given.send(Fed::Event(told)).ok();
        }
        Ok(!rows.is_empty())
    }
}

/// When to look again.
struct Rings {
    changed: broadcast::Receiver<()>,
    soon_until: Instant,
}

impl Rings {
    async fn pause(&mut self) {
        let soon = Instant::now() < self.soon_until;
        let look = if soon { LOOK_SOON } else { LOOK_EVERY };
        tokio::select! {
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
