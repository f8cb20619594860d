//! Takes over the instances that an earlier Sluice started.

use std::sync::Arc;

use rollout::observation::InstanceState;
use tokio::time::Instant;

use super::{
    child::Handle,
    instance::{self, Order, State},
    record::{self, Record},
    supervisor::{App, Shared},
};

impl Shared {
    /// Takes over every instance on record: what runs goes on, what has ended is started again
    /// unless it was being stopped.
    pub(super) fn adopt_all(self: &Arc<Self>) {
        for record in record::all(&self.root) {
            self.adopt(&record);
        }
    }

    fn adopt(self: &Arc<Self>, record: &Record) {
        let same_boot = record.boot_id == self.boot_id;
        let handle = same_boot
            .then(|| Handle::adopt(record.pid, record.start_time))
            .flatten();
        let name = instance::name(record.revision, record.number);
        let directory = record::directory(&self.root, &record.key(), &name);
        if handle.is_none() && record.stopping {
            if let Err(error) = record::forget(&directory) {
                tracing::warn!(directory = %directory.display(), %error, "forget an instance");
            }
            return;
        }
        self.ports.hold(record.port);
        let state = adopted(record, handle.is_some());
        let mut apps = self.apps();
        let entry = apps.entry(record.key()).or_insert_with(App::new);
        self.look_after(entry, record.into(), state, handle);
    }
}

/// The state of an instance on record that runs still, or has ended.
fn adopted(record: &Record, runs: bool) -> State {
    let mut state = State::new();
    state.port = Some(record.port);
    state.restarts = record.restarts;
    if !runs {
        state.phase = InstanceState::Exited;
        state.restarts += 1;
    } else if record.stopping {
        state.signalled = true;
        state.order = Order::Drain {
            released: Some(Instant::now()),
        };
    } else {
        state.known = false;
    }
    state
}
