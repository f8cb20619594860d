//! The loop: wakes in, passes out. At most one pass an app at a time; rollbacks have slots and
//! database connections of their own and interrupt a pass that is under way.
//!
//! ```text
//!  commands, alerts ─┐
//!  drivers ──────────┤            ┌─ normal lane:   16 passes ─┐
//!  NOTIFY ───────────┼─> wakes ──>│                            ├─> pass (see pass.rs)
//!  timers ───────────┤            └─ rollback lane: 16 passes ─┘      │
//!  measurements ─────┘ <── to measure, wake at ───────────────────────┘
//! ```

mod count;
mod crash_point;
mod dispatch;
mod housekeeping;
mod leases;
mod measure;
mod notices;
mod observe;
mod outbox;
mod pass;
#[cfg(test)]
pub(crate) mod rig;
mod sealing;
mod troubles;

use std::time::Instant;

use drivers::AppKey;
use tokio::sync::mpsc;

pub(crate) use count::{Inquiry, NO_HISTOGRAM, Probe, STRETCH, Stand, instances, ready_made};
pub(crate) use dispatch::Dispatcher;
pub(crate) use leases::{Leases, RELEASE_WITHIN};
pub(crate) use measure::ask;
pub(crate) use notices::Telling;
pub(crate) use troubles::Troubles;

use measure::Measured;

use crate::service::Service;

/// Which slots and connections a pass uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Everything but rollbacks.
    Normal,
    /// Aborts and what follows from them; never waits behind the normal lane.
    Rollback,
}

impl Lane {
    /// The word for it, as a metric label.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Rollback => "rollback",
        }
    }
}

/// What can reach the dispatcher.
#[derive(Debug)]
enum Message {
    /// Look at this app.
    Wake {
        app: AppKey,
        urgent: bool,
        at: Instant,
    },
    /// A gate was measured.
    Measured {
        app: AppKey,
        measured: Box<Measured>,
    },
    /// The leases changed, or notifications may have been missed: look at everything.
    Rescan,
}

/// Wakes the loop; cheap to clone, never blocks.
#[derive(Debug, Clone)]
pub(crate) struct Waker(mpsc::UnboundedSender<Message>);

impl Waker {
    /// A waker, and the end that the dispatcher drains (it folds repeats together).
    fn channel() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Looks at `app` soon; `urgent`: its traffic must go back, so a pass that is under way is
    /// interrupted (a pass may be dropped at any await: it is crash-safe).
    pub(crate) fn wake(&self, app: AppKey, urgent: bool) {
        self.send(Message::Wake {
            app,
            urgent,
            at: Instant::now(),
        });
    }

    /// Looks at every app.
    pub(crate) fn rescan(&self) {
        self.send(Message::Rescan);
    }

    /// Once the loop has ended there is nobody left to wake.
    fn send(&self, message: Message) {
        self.0.send(message).ok();
    }
}

/// A waker for the routes and the receiving end for the dispatcher.
#[derive(Debug)]
pub(crate) struct Wakes(mpsc::UnboundedReceiver<Message>);

/// Both ends of the way into the loop.
pub(crate) fn wakes() -> (Waker, Wakes) {
    let (waker, receiver) = Waker::channel();
    (waker, Wakes(receiver))
}

/// What every pass needs; shared.
#[derive(Debug)]
pub(crate) struct Loop {
    /// What the routes use as well: stores, drivers' clients, leases, what was last seen.
    pub(crate) service: Service,
    /// What does not work now, so that it is said once.
    pub(crate) troubles: Troubles,
}

impl Loop {
    /// What the passes need of the service.
    pub(crate) fn of(service: &Service) -> Self {
        Self {
            service: service.clone(),
            troubles: Troubles::default(),
        }
    }

    /// Drops what is remembered of an app that is not this replica's business any more.
    fn forget(&self, app: &AppKey) {
        self.service.live.forget(app);
        self.service.cx.forget(app);
        self.troubles.forget(app);
    }

    fn store(&self, lane: Lane) -> &store::Store {
        match lane {
            Lane::Normal => &self.service.store,
            Lane::Rollback => &self.service.rollback_store,
        }
    }
}

pub(crate) use housekeeping::keep_house;
pub(crate) use outbox::deliver_notices;
pub(crate) use sealing::seal_audit;
