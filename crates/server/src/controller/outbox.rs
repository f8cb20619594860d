//! Delivering notices from the outbox: at least once, never in the way of a step.

use std::time::Duration;

use drivers::{Cx, Notice, NotifierConfig, notify::Delivery};
use jiff::Timestamp;
use store::Store;
use tokio_util::sync::CancellationToken;

/// Notices claimed at a time and delivered at once: a claim that waits its turn could run out.
const BATCH: u32 = 8;
/// How often the outbox is looked at when nothing rings.
const EVERY: Duration = Duration::from_secs(5);

/// Delivers until `stop`; `ring` tells of new notices.
pub(crate) async fn deliver_notices(
    store: Store,
    cx: Cx,
    ring: std::sync::Arc<tokio::sync::Notify>,
    stop: CancellationToken,
) {
    loop {
        let claimed = match store.claim_notices(BATCH).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::debug!(%error, "cannot read the outbox");
                Vec::new()
            }
        };
        let full = claimed.len() == BATCH as usize;
        let deliveries = claimed.into_iter().map(|it| deliver(&store, &cx, it));
        let deliveries = futures::future::join_all(deliveries);
        // One that is dropped becomes visible again by itself.
        if stop.run_until_cancelled(deliveries).await.is_none() {
            return;
        }
        if full {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = ring.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn deliver(store: &Store, cx: &Cx, claimed: store::Notice) {
    let id = claimed.id;
    let noted = match serde_json::from_value::<NotifierConfig>(claimed.target) {
        Err(error) => store.gone(id, &error.to_string()).await,
        Ok(notifier) => {
            let notice = Notice {
                id: id.to_string(),
                at: claimed.created_at,
                kind: claimed.kind,
                payload: claimed.payload,
            };
            match notifier.driver().deliver(cx, &notice).await {
                Ok(Delivery::Accepted) => store.delivered(id).await,
                Ok(Delivery::Gone) => store.gone(id, "the receiver is gone (410)").await,
                Err(error) => {
                    let retry_at = Timestamp::now() + backoff(claimed.attempts);
                    store.failed(id, &error.to_string(), retry_at).await
                }
            }
        }
    };
    if let Err(error) = noted {
        // It becomes visible again by itself and is delivered once more: at least once.
        tracing::warn!(%error, notice = %id, "cannot note what became of a notice");
    }
}

/// 5 s, doubling, at most an hour (Standard Webhooks asks for a schedule that reaches over days).
fn backoff(attempts: i32) -> Duration {
    let doubled = Duration::from_secs(5).saturating_mul(1 << attempts.clamp(0, 12));
    doubled.min(Duration::from_secs(3600))
}
