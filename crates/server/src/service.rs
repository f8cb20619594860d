//! What the routes may do: deploy, order, look. Decisions are made by the core; here they are
//! committed and the loop is woken.

mod adoption;
mod alerts;
mod backtest;
mod calibrate;
mod calibrations;
mod deploy;
mod dry_run;
mod orders;
mod quiet;
mod release;
mod turns;

use std::sync::Arc;

use drivers::{AppKey, Cx};
use store::Store;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::{Leases, Waker},
    live::Live,
    metrics::Metrics,
};

pub(crate) use alerts::{AlertOutcome, AlertSource};
pub(crate) use deploy::{Asked, DeployRequest};
use turns::Turns;

/// Rings kept for slow listeners to [`Service::changed`]; whoever misses some looks anyway.
const CHANGES_KEPT: usize = 256;

/// Shared by all routes; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// For everything but rollbacks.
    pub(crate) store: Store,
    /// Connections kept free for rollbacks: aborts and alerts go through these.
    pub(crate) rollback_store: Store,
    /// The drivers' clients.
    pub(crate) cx: Cx,
    /// Wakes the loop.
    pub(crate) waker: Waker,
    /// What the loop last saw.
    pub(crate) live: Live,
    /// Per-process counters.
    pub(crate) metrics: Arc<Metrics>,
    /// This replica's shards.
    pub(crate) leases: Arc<Leases>,
    /// Whose turn it is to give a rollout an order.
    pub(crate) turns: Arc<Turns>,
    /// Rings after every commit that this replica hears of.
    pub(crate) changed: broadcast::Sender<()>,
    /// Rings when there are new notices to deliver.
    pub(crate) ring: Arc<Notify>,
    /// Where people reach this service, for links in notices; `None`: nobody said.
    pub(crate) public_url: Option<String>,
    /// Set when the server stops; ends long polls and event streams.
    pub(crate) stop: CancellationToken,
}

impl Service {
    /// A service that owns no shard yet.
    pub(crate) fn new(
        (store, rollback_store): (Store, Store),
        cx: Cx,
        waker: Waker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            store,
            rollback_store,
            cx,
            waker,
            live: Live::default(),
            metrics: Metrics::new(),
            leases: Leases::new(),
            turns: Arc::default(),
            changed: broadcast::channel(CHANGES_KEPT).0,
            ring: Arc::default(),
            public_url: None,
            stop,
        }
    }

    /// Wakes the loop for an app of this service; `urgent`: its traffic must go back.
    pub(crate) fn wake(&self, project: &str, app: &str, urgent: bool) {
        let key = AppKey {
            project: project.to_owned(),
            app: app.to_owned(),
        };
        self.waker.wake(key, urgent);
    }
}
