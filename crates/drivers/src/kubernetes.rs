//! What all Kubernetes drivers share: clusters, what is known of their objects, and writes to them.
//!
//! ```text
//!   driver ── get, group ──> cache ──────< watch <── list, watch ── API server
//!     │                        ^  │                                    ^
//!     │                        │  └─ a change wakes the apps that      │
//!     │                        │     asked for the object              │
//!     └── create, patch ───── write ── fenced, within a deadline ──────┘
//! ```
//!
//! - Reads come from caches, one for each kind and namespace, kept by one watch; they begin when
//!   they are first needed. An app at rest costs no request. Pods are many and only matter while
//!   something moves, so they are watched by app and label, and no longer than that ([`Cluster::pods`]).
//! - A write carries what it was decided on (the object's version, or the fields themselves) and
//!   the epoch of the lease it is made under; its answer is in the cache when the call returns, and
//!   nothing older replaces it there. A write whose caller is interrupted is finished all the same,
//!   and the next look waits for it.
//! - What cannot be read is an error, never "there is none": a cache that is not complete answers
//!   nothing.
//!
//! How drivers use it: [`Clusters::get`], then [`Cluster::get`] and [`Cluster::group`], then
//! [`Cluster::patch`], [`Cluster::create`] and [`Cluster::delete`]. A kind is one constant
//! ([`kind`]).

mod abandoned;
pub mod adopt;
mod cache;
mod cluster;
mod connect;
mod event;
pub mod kind;
mod memory;
mod notes;
mod object;
pub mod references;
mod request;
pub mod revisions;
pub mod template;
mod watch;
mod write;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

pub use cluster::Cluster;
pub use event::Event;
pub use kind::Kind;
use memory::Memory;
pub use notes::Notes;
pub use object::{Manager, Object, Owner};
pub use request::{Failure, RequestError};
pub(crate) use write::merge;
pub use write::{Change, EPOCH, MANAGER};

use crate::{AppKey, DriverError, Wake};

/// The clusters in use, each connected when it is first needed.
#[derive(Debug)]
pub struct Clusters {
    /// Instead of `KUBECONFIG` and the home directory's.
    kubeconfig: Option<PathBuf>,
    wake: Wake,
    connected: Mutex<BTreeMap<String, Arc<Cluster>>>,
    memory: Mutex<BTreeMap<AppKey, Memory>>,
}

impl Clusters {
    /// Clusters as kubectl knows them, or the one that this runs in; `kubeconfig` instead of
    /// `KUBECONFIG` and `~/.kube/config`.
    pub fn new(wake: Wake, kubeconfig: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            kubeconfig,
            wake,
            connected: Mutex::default(),
            memory: Mutex::default(),
        })
    }

    /// The cluster of a kubeconfig context; without one that of the current context, or the one
    /// that this runs in. Nothing is asked of the cluster itself yet.
    pub async fn get(&self, context: Option<&str>) -> Result<Arc<Cluster>, DriverError> {
        if let Some(cluster) = locked(&self.connected).get(context.unwrap_or_default()) {
            return Ok(Arc::clone(cluster));
        }
        let connection = connect::connect(self.kubeconfig.as_deref(), context).await?;
        let mut connected = locked(&self.connected);
        // The current context has a name as well: one cluster, one set of watches.
        let cluster = connected
            .entry(connection.name.clone())
            .or_insert_with(|| Cluster::new(connection, self.wake.clone()));
        let cluster = Arc::clone(cluster);
        let key = context.unwrap_or_default().to_owned();
        connected.insert(key, Arc::clone(&cluster));
        Ok(cluster)
    }

    /// Notes that `app` is as it should be: its pods are not watched until they are asked for again.
    pub fn at_rest(&self, app: &AppKey) {
        let clusters: Vec<_> = locked(&self.connected).values().cloned().collect();
        clusters.iter().for_each(|it| it.at_rest(app));
        let mut memory = locked(&self.memory);
        if memory
            .get_mut(app)
            .is_some_and(|it| !it.rest(Instant::now()))
        {
            memory.remove(app);
        }
    }

    /// Ends what is watched for `app` alone, wakes it no more, and remembers nothing of it.
    pub fn forget(&self, app: &AppKey) {
        let clusters: Vec<_> = locked(&self.connected).values().cloned().collect();
        clusters.iter().for_each(|it| it.forget(app));
        locked(&self.memory).remove(app);
    }
}

/// A panic elsewhere leaves these values whole: each is changed in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
