//! One instance: what is wanted of it, what it can do now, what is wrong with it.
//!
//! The supervisor gives orders, the instance's task follows them; both meet in [`State`], under
//! one lock, so that an order to go on and the signal to end can never cross.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollout::{
    Revision,
    observation::{Instance as Shown, InstanceProblem, InstanceState, ProblemKind},
};
use tokio::{sync::Notify, time::Instant};

use super::{Process, record::Record};
use crate::{AppKey, Wake};

/// An app that nobody observed for so long is at rest: its ready instances are probed less often.
/// Longer than any pause between the passes of a rollout.
const AT_REST_AFTER: Duration = Duration::from_secs(30);

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// To run, and to be started again when it ends.
    Run,
    /// To end, once nothing routes to it any more.
    Drain {
        /// Since when nothing routes to it; `None`: something does, or that is not known.
        released: Option<Instant>,
    },
}

/// A problem of an instance: what kind, and one sentence.
pub(super) type Trouble = (ProblemKind, String);

/// Where an instance stands.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) order: Order,
    /// What it could do if it were wanted: never `Draining`.
    pub(super) phase: InstanceState,
    /// It was told to end, or has ended for good; there is no way back.
    pub(super) signalled: bool,
    /// Whether `phase` was seen by this Sluice. Not yet so for one that was just adopted.
    pub(super) known: bool,
    pub(super) port: Option<u16>,
    pub(super) restarts: u32,
    pub(super) problem: Option<Trouble>,
}

impl State {
    /// A new instance that is to run.
    pub(super) fn new() -> Self {
        Self {
            order: Order::Run,
            phase: InstanceState::Starting,
            signalled: false,
            known: true,
            port: None,
            restarts: 0,
            problem: None,
        }
    }

    /// The state as others see it.
    fn seen(&self) -> InstanceState {
        match (self.order, self.phase) {
            (Order::Run, phase) => phase,
            (Order::Drain { .. }, InstanceState::Exited) => InstanceState::Exited,
            (Order::Drain { .. }, _) => InstanceState::Draining,
        }
    }

    /// What a change of wakes the loop. The words of a problem may differ from probe to probe and
    /// are left out.
    fn face(
        &self,
    ) -> (
        InstanceState,
        bool,
        bool,
        Option<u16>,
        u32,
        Option<ProblemKind>,
    ) {
        let problem = self.problem.as_ref().map(|(kind, _)| *kind);
        (
            self.seen(),
            self.signalled,
            self.known,
            self.port,
            self.restarts,
            problem,
        )
    }
}

/// What is due for an instance that may have to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is to run.
    Nothing,
    /// It is to end, but something may still route to it.
    Release,
    /// It is to be signalled at this moment.
    At(Instant),
    /// It is to be signalled now; from here there is no way back.
    Signal,
}

/// Whether anybody looks at an app.
#[derive(Debug)]
pub(super) struct Attention {
    looked: Mutex<Instant>,
    /// Told when somebody looks after a while.
    pub(super) back: Notify,
    /// Told when an adopted instance has been probed for the first time.
    pub(super) known: Notify,
}

impl Attention {
    /// Somebody looks now.
    pub(super) fn new() -> Self {
        let looked = Mutex::new(Instant::now());
        Self {
            looked,
            back: Notify::new(),
            known: Notify::new(),
        }
    }

    /// Notes that somebody looks.
    pub(super) fn look(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() > AT_REST_AFTER {
            self.back.notify_waiters();
        }
        *looked = Instant::now();
    }

    /// Whether nobody has looked for a while.
    pub(super) fn at_rest(&self) -> bool {
        self.looked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
            > AT_REST_AFTER
    }
}

/// Which instance it is and how it is run: what never changes of it.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) app: AppKey,
    pub(super) revision: Revision,
    /// The `n` of its name.
    pub(super) number: u32,
    pub(super) artifact: String,
    pub(super) settings: Process,
}

impl From<&Record> for Identity {
    fn from(record: &Record) -> Self {
        Self {
            app: record.key(),
            revision: record.revision,
            number: record.number,
            artifact: record.artifact.clone(),
            settings: record.settings.clone(),
        }
    }
}

/// One instance of a revision.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) app: AppKey,
    pub(super) attention: Arc<Attention>,
    pub(super) revision: Revision,
    /// The `n` of its name.
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) artifact: String,
    pub(super) settings: Process,
    /// Where its record and its log are.
    pub(super) directory: PathBuf,
    pub(super) wake: Wake,
    /// Told when the order changed.
    pub(super) changed: Notify,
    state: Mutex<State>,
}

impl Instance {
    /// An instance in `state`.
    pub(super) fn new(
        attention: Arc<Attention>,
        wake: Wake,
        directory: PathBuf,
        state: State,
        identity: Identity,
    ) -> Self {
        Self {
            app: identity.app,
            attention,
            revision: identity.revision,
            number: identity.number,
            name: name(identity.revision, identity.number),
            artifact: identity.artifact,
            settings: identity.settings,
            directory,
            wake,
            changed: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Its state now.
    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    /// Changes the state, and wakes the loop if others can see the difference.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, changed, learned) = {
            let mut state = self.lock();
            let before = state.face();
            let known = state.known;
            let result = change(&mut state);
            (result, before != state.face(), !known && state.known)
        };
        if learned {
            self.attention.known.notify_waiters();
        }
        if changed {
            self.wake.wake(&self.app);
        }
        result
    }

    /// Wants it to run; `false` when it is too late.
    pub(super) fn keep(&self) -> bool {
        let kept = self.update(|it| {
            let changed = it.order != Order::Run;
            if !it.signalled {
                it.order = Order::Run;
            }
            (!it.signalled, changed)
        });
        if kept == (true, true) {
            self.changed.notify_one();
        }
        kept.0
    }

    /// Wants it to end; `in_use` says what is still routed to.
    pub(super) fn drain(&self, in_use: Option<&BTreeSet<String>>) {
        let changed = self.update(|it| {
            let address = it.port.map(address);
            let routed = in_use.is_none_or(|used| {
                used.contains(&self.name) || address.is_some_and(|it| used.contains(&it))
            });
            let since = match it.order {
                Order::Drain {
                    released: Some(since),
                } => since,
                Order::Drain { released: None } | Order::Run => Instant::now(),
            };
            let order = Order::Drain {
                released: (!routed).then_some(since),
            };
            std::mem::replace(&mut it.order, order) != order
        });
        if changed {
            self.changed.notify_one();
        }
    }

    /// What is due at `now`. [`Due::Signal`] is final: the order cannot be taken back after it.
    pub(super) fn due(&self, now: Instant) -> Due {
        self.update(|it| match it.order {
            Order::Run => Due::Nothing,
            Order::Drain { released: None } => Due::Release,
            Order::Drain {
                released: Some(since),
            } => {
                let at = since + self.settings.drain.unsigned_abs();
                if now < at {
                    return Due::At(at);
                }
                it.signalled = true;
                Due::Signal
            }
        })
    }

    /// Whether it may go for good, now that it does not run. Final like [`Due::Signal`].
    pub(super) fn retire(&self) -> bool {
        self.update(|it| {
            it.signalled |= it.order != Order::Run;
            it.signalled
        })
    }

    /// It as others see it; `None` when it is only waiting to be forgotten.
    pub(super) fn shown(&self) -> Option<(Shown, Option<InstanceProblem>)> {
        let state = self.state();
        if state.signalled && state.phase == InstanceState::Exited {
            return None;
        }
        let shown = Shown {
            name: self.name.clone(),
            address: state.port.map(address),
            state: state.seen(),
            restarts: state.restarts,
        };
        // What is wrong with an instance that is to go is nobody's concern any more.
        let problem = state.problem.filter(|_| state.order == Order::Run);
        let problem = problem.map(|(kind, detail)| InstanceProblem {
            kind,
            instance: Some(self.name.clone()),
            detail,
        });
        Some((shown, problem))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the instance `number` of `revision`.
pub(super) fn name(revision: Revision, number: u32) -> String {
    format!("{revision}-{number}")
}

/// Where an instance with `port` serves.
pub(super) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
