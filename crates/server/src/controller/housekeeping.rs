//! Forgetting what need not be kept: answered idempotency keys, closed notices, old alerts.

use std::time::Duration;

use store::Store;
use tokio_util::sync::CancellationToken;

/// How often. What is kept too long costs only space.
const EVERY: Duration = Duration::from_secs(3600);

/// Sweeps until `stop`. Any replica may: a row is swept once.
pub(crate) async fn keep_house(store: Store, stop: CancellationToken) {
    loop {
        match store.sweep().await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "forgot what need not be kept"),
            Err(error) => tracing::debug!(%error, "cannot sweep now, trying again in an hour"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
