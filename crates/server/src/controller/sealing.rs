//! Sealing the audit log: a chain of hashes over what is written, made behind the writers' backs.

use std::time::Duration;

use store::Store;
use tokio_util::sync::CancellationToken;

/// How often. A line that is not sealed yet is one that a forger could still change unseen.
const EVERY: Duration = Duration::from_secs(3);

/// Seals until `stop`. Any replica may: one at a time does, the others find nothing to do.
pub(crate) async fn seal_audit(store: Store, stop: CancellationToken) {
    loop {
        // There may be more than is sealed at once.
        while let Some(lines) = sealed(&store).await.filter(|it| *it > 0) {
            tracing::trace!(lines, "sealed the audit log");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn sealed(store: &Store) -> Option<u64> {
    let sealed = store.seal_audit().await;
    sealed
        .inspect_err(|error| tracing::debug!(%error, "cannot seal the audit log, trying again"))
        .ok()
}
