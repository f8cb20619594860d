//! Delivering notices from the outbox: at least once, never in the way of a step, nor of each other.
//!
//! ```text
//!  outbox, lane by lane ── claim heads ──> one delivery a lane, each a task ──> note what became of it
//!        ^                                                                          │
//!        └── a lane that is under way, or rests after a failure, is passed over ────┘
//! ```
//!
//! All notices to one receiver are a lane. Its head is delivered, then the next: in the order of
//! writing, while its receiver works. A receiver that hangs or fails holds its own lane only. This
//! one task alone talks to the database, so that deliveries take no connections from the passes.

mod lanes;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use drivers::{Cx, Notice, NotifierConfig, notify::Delivery};
use jiff::{SignedDuration, Timestamp};
use store::{Store, StoreError};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::service::Service;
use lanes::Lanes;

/// Deliveries at a time, each with a connection to its receiver: so many of them may hang before
/// others wait, and then only until the first of those gives up.
const SLOTS: usize = 64;
/// How often the outbox is looked at when nothing rings.
const EVERY: Duration = Duration::from_secs(5);
/// How often the claims of deliveries under way are kept: a third of what a claim lasts.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// A notice that nobody took for so long is of no use any more. Standard Webhooks asks for a schedule
/// that reaches over days.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// Delivers until `stop`.
pub(crate) async fn deliver_notices(service: Service, stop: CancellationToken) {
    let outbox = Outbox {
        store: service.store.clone(),
        cx: service.cx.clone(),
        lanes: Lanes::default(),
        tasks: JoinSet::new(),
        under_way: HashMap::new(),
    };
    // Whatever is dropped under way becomes visible again by itself.
    stop.run_until_cancelled(outbox.run(&service.ring)).await;
}

/// A delivery under way.
#[derive(Debug)]
struct UnderWay {
    id: Uuid,
    lane: String,
    attempts: i32,
    created_at: Timestamp,
}

/// What became of a delivery.
enum Outcome {
    Delivered,
    /// There is nobody left to be told.
    Gone(String),
    /// `transient`: the receiver is to be left alone for a moment.
    Failed {
        why: String,
        transient: bool,
    },
}

struct Outbox {
    store: Store,
    cx: Cx,
    lanes: Lanes,
    tasks: JoinSet<Outcome>,
    under_way: HashMap<Id, UnderWay>,
}

impl Outbox {
    async fn run(mut self, ring: &tokio::sync::Notify) {
        let mut keep = tokio::time::interval(KEEP_EVERY);
        keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.claim().await;
            let now = Instant::now();
            let look = self.lanes.next_end(now).unwrap_or(EVERY).min(EVERY);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                () = ring.notified() => {}
                _ = keep.tick() => self.keep().await,
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    /// Begins a delivery for each lane that has something due and nothing under way.
    async fn claim(&mut self) {
        let free = SLOTS.saturating_sub(self.under_way.len());
        if free == 0 {
            return;
        }
        let passed_over = self.lanes.passed_over(Instant::now());
        let limit = u32::try_from(free).unwrap_or_default();
        let claimed = match self.store.claim_notices(&passed_over, limit).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::debug!(%error, "cannot read the outbox");
                return;
            }
        };
        for claimed in claimed {
            let under_way = UnderWay {
                id: claimed.id,
                lane: claimed.lane.clone(),
                attempts: claimed.attempts,
                created_at: claimed.created_at,
            };
            self.lanes.begin(&under_way.lane);
            let delivery = deliver(self.cx.clone(), claimed);
            let task = self.tasks.spawn(delivery);
            self.under_way.insert(task.id(), under_way);
        }
    }

    async fn ended(&mut self, first: Result<(Id, Outcome), JoinError>) {
        let mut next = Some(first);
        // Those that ended meanwhile as well, so that there is one claim for all of them.
        while let Some(ended) = next {
            let (id, outcome) = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    let why = format!("the delivery broke off: {error}");
                    let transient = false;
                    (error.id(), Outcome::Failed { why, transient })
                }
            };
            if let Some(delivery) = self.under_way.remove(&id)
                && let Err(error) = self.note(&delivery, outcome).await
            {
                // It becomes visible again by itself and is delivered once more: at least once.
                tracing::warn!(%error, notice = %delivery.id, "cannot note what became of a notice");
            }
            next = self.tasks.try_join_next_with_id();
        }
    }

    async fn note(&mut self, delivery: &UnderWay, outcome: Outcome) -> Result<(), StoreError> {
        let id = delivery.id;
        let (why, transient) = match outcome {
            Outcome::Delivered => {
                self.lanes.works(&delivery.lane);
                return self.store.delivered(id).await;
            }
            Outcome::Gone(why) => {
                self.lanes.works(&delivery.lane);
                return self.store.gone(id, &why).await;
            }
            Outcome::Failed { why, transient } => (why, transient),
        };
        let news = match transient {
            true => self.lanes.fails(&delivery.lane, Instant::now()),
            // It answers, it does not want this one.
            false => {
                self.lanes.works(&delivery.lane);
                delivery.attempts == 1
            }
        };
        if news {
            tracing::info!(notice = %id, %why, "a notice is not taken, it is tried again");
        }
        let now = Timestamp::now();
        if now.duration_since(delivery.created_at) > GIVEN_UP_AFTER {
            tracing::warn!(notice = %id, %why, "gave up a notice that nobody took for three days");
            let why = format!("given up after {} h: {why}", GIVEN_UP_AFTER.as_hours());
            return self.store.gone(id, &why).await;
        }
        let retry_at = now + backoff(delivery.attempts);
        self.store.failed(id, &why, retry_at).await
    }

    async fn keep(&self) {
        let ids: Vec<Uuid> = self.under_way.values().map(|it| it.id).collect();
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.store.keep_claims(&ids).await {
            tracing::debug!(%error, "cannot keep the claims of notices");
        }
    }
}

async fn deliver(cx: Cx, claimed: store::Notice) -> Outcome {
    let notifier = match serde_json::from_value::<NotifierConfig>(claimed.target) {
        Ok(notifier) => notifier,
        Err(error) => return Outcome::Gone(error.to_string()),
    };
    let notice = Notice {
        id: claimed.id.to_string(),
        at: claimed.created_at,
        kind: claimed.kind,
        payload: claimed.payload,
    };
    match notifier.driver().deliver(&cx, &notice).await {
        Ok(Delivery::Accepted) => Outcome::Delivered,
        Ok(Delivery::Gone) => Outcome::Gone("the receiver is gone".to_owned()),
        Err(error) => Outcome::Failed {
            why: error.to_string(),
            transient: error.transient,
        },
    }
}

/// 5 s, doubling, at most an hour. Longer than a lane rests once it has failed a few times, so that a
/// notice that its receiver cannot digest does not hold back those behind it.
fn backoff(attempts: i32) -> Duration {
    let doublings = attempts.saturating_sub(1).clamp(0, 12);
    let doubled = Duration::from_secs(5).saturating_mul(1 << doublings);
    doubled.min(Duration::from_secs(3600))
}

#[cfg(test)]
mod tests;
