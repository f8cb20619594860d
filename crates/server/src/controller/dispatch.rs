//! Which app is looked at when. One task owns this; passes and measurements run beside it and
//! report back.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use drivers::AppKey;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, Id, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::{
    sync::CancellationToken,
    time::{DelayQueue, delay_queue::Key},
};
use uuid::Uuid;

use super::{
    Lane, Loop, Message, Wakes,
    measure::{Measured, measure_beside},
    pass::{Pass, PassEnd},
};

/// Passes at a time in each lane. A pass waits for sockets and the database, hardly for the CPU.
const SLOTS: usize = 16;
/// How long an app at rest is left alone when nothing wakes it.
const REST: Duration = Duration::from_secs(300);
/// How long a rollout that waits for somebody is: drivers watch what a pass has looked at lately.
const REST_IN_ROLLOUT: Duration = Duration::from_secs(30);
/// How often rollouts are looked for that nothing woke.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// The first and the longest wait before a pass is repeated because its effect is not seen yet.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// The longest such wait of an app at rest: a thousand of them behind a router that is away must
/// not keep the machine busy, and the router's driver wakes them when it is back.
const RETRY_AT_REST: Duration = Duration::from_secs(10);
/// How long the database may take to list apps.
const SCAN_WITHIN: Duration = Duration::from_secs(10);

/// What is known of one app between its passes.
#[derive(Debug, Default)]
struct Entry {
    /// Known after the first pass; an app that was deleted and made anew has another.
    app_id: Option<Uuid>,
    running: Option<(Id, AbortHandle, Lane)>,
    queued: Option<Lane>,
    /// A wake that came while a pass was under way.
    again: bool,
    /// Set from an urgent wake until a pass begins that will see its cause.
    urgent: bool,
    /// The last pass that looked was taking traffic back, or could not look and may have to.
    rolling_back: bool,
    /// Since when every pass could read the world.
    readable_since: Option<Timestamp>,
    /// The rollout's version that the last pass left.
    version: Option<i64>,
    woken_at: Option<Instant>,
    timer: Option<Key>,
    retries: u32,
    measured: Vec<Measured>,
    measuring: HashSet<String>,
}

impl Entry {
    fn lane(&self) -> Lane {
        match self.urgent || self.rolling_back {
            true => Lane::Rollback,
            false => Lane::Normal,
        }
    }
}

/// Which apps to look for in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scan {
    /// Every app of this replica's shards.
    All,
    /// The safety net: rollouts whose time has come, should a wake have been lost.
    Forgotten,
}

/// Decides which app is looked at when.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    shared: Arc<Loop>,
    messages: mpsc::UnboundedReceiver<Message>,
    entries: HashMap<AppKey, Entry>,
    queues: HashMap<Lane, VecDeque<AppKey>>,
    timers: DelayQueue<AppKey>,
    passes: JoinSet<(AppKey, PassEnd)>,
    running: HashMap<Id, AppKey>,
    slots: HashMap<Lane, usize>,
    /// The look into the database that is under way, if any: beside the loop, because a slow
    /// database must not hold up a wake.
    scans: JoinSet<(Scan, Result<Vec<store::AppRef>, String>)>,
    /// A look at everything is asked for.
    rescan: bool,
    scan_fails: bool,
}

impl Dispatcher {
    /// A dispatcher that drains `wakes`.
    pub(crate) fn new(shared: Arc<Loop>, wakes: Wakes) -> Self {
        Self {
            shared,
            messages: wakes.0,
            entries: HashMap::new(),
            queues: HashMap::new(),
            timers: DelayQueue::new(),
            passes: JoinSet::new(),
            running: HashMap::new(),
            slots: HashMap::from([(Lane::Normal, SLOTS), (Lane::Rollback, SLOTS)]),
            scans: JoinSet::new(),
            rescan: false,
            scan_fails: false,
        }
    }

    /// Runs until `stop`; passes under way are finished.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut forgotten = tokio::time::interval(FORGOTTEN);
        forgotten.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = forgotten.tick() => self.scan(Scan::Forgotten),
                message = self.messages.recv() => match message {
                    Some(message) => self.receive(message),
                    None => break,
                },
                Some(scanned) = self.scans.join_next() => self.scanned(scanned),
                Some(ended) = self.passes.join_next_with_id() => self.ended(ended),
                Some(due) = self.timers.next() => {
                    let app = due.into_inner();
                    self.entries.entry(app.clone()).or_default().timer = None;
                    self.wake(app, false, Instant::now());
                }
            }
            self.start_queued();
        }
        while self.passes.join_next().await.is_some() {}
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Wake { app, urgent, at } => self.wake(app, urgent, at),
            Message::Measured { app, measured } => {
                if let Some(entry) = self.entries.get_mut(&app) {
                    entry.measuring.remove(&measured.gate);
                    entry.measured.push(*measured);
                    self.wake(app, false, Instant::now());
                }
            }
            Message::Rescan => {
                self.rescan = true;
                self.scan(Scan::All);
            }
        }
    }

    /// Looks for apps, unless a look is under way.
    fn scan(&mut self, scan: Scan) {
        if !self.scans.is_empty() {
            return;
        }
        if scan == Scan::All {
            self.rescan = false;
        }
        let shared = Arc::clone(&self.shared);
        self.scans.spawn(async move {
            let (store, owner) = (&shared.service.store, shared.service.leases.owner);
            let found = async {
                match scan {
                    Scan::All => store.due(owner, u32::MAX).await,
                    Scan::Forgotten => store.unfinished(owner, u32::MAX).await,
                }
            };
            let found = match tokio::time::timeout(SCAN_WITHIN, found).await {
                Ok(found) => found.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", SCAN_WITHIN.as_secs())),
            };
            (scan, found)
        });
    }

    fn scanned(
        &mut self,
        scanned: Result<(Scan, Result<Vec<store::AppRef>, String>), tokio::task::JoinError>,
    ) {
        let failed = match scanned {
            Ok((scan, Ok(apps))) => {
                self.scan_fails = false;
                self.wake_all(scan, apps);
                None
            }
            Ok((scan, Err(error))) => Some((scan, error)),
            Err(error) => Some((Scan::All, error.to_string())),
        };
        if let Some((scan, error)) = failed {
            if !std::mem::replace(&mut self.scan_fails, true) {
                tracing::warn!(error, "cannot list the apps to look at, trying again");
            }
            if scan == Scan::All {
                let waker = self.shared.service.waker.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(RETRY_MOST).await;
                    waker.rescan();
                });
            }
        } else if self.rescan {
            self.scan(Scan::All);
        }
    }

    fn wake_all(&mut self, scan: Scan, apps: Vec<store::AppRef>) {
        for app in apps {
            let key = AppKey {
                project: app.project,
                app: app.name,
            };
            let entry = self.entries.entry(key.clone()).or_default();
            let known = entry.app_id == Some(app.app_id) && entry.version == app.version;
            // One that waits for somebody was not forgotten: nothing was written since its last pass.
            let waits = app.wake_at.is_none() && !app.urgent && entry.timer.is_some();
            if scan == Scan::Forgotten && known && waits {
                continue;
            }
            entry.app_id = Some(app.app_id);
            self.wake(key, app.urgent, Instant::now());
        }
    }

    fn wake(&mut self, app: AppKey, urgent: bool, at: Instant) {
        let entry = self.entries.entry(app.clone()).or_default();
        entry.urgent |= urgent;
        entry.woken_at.get_or_insert(at);
        let lane = entry.lane();
        match (&entry.running, entry.queued) {
            (Some((_, handle, Lane::Normal)), _) if urgent => {
                // Its end is reported as cancelled, and then the rollback pass starts.
                handle.abort();
                entry.again = true;
            }
            (Some(_), _) => entry.again = true,
            (None, Some(Lane::Rollback)) => {}
            (None, Some(Lane::Normal)) if lane == Lane::Normal => {}
            (None, Some(Lane::Normal) | None) => {
                entry.queued = Some(lane);
                self.queues.entry(lane).or_default().push_back(app);
            }
        }
    }

    fn start_queued(&mut self) {
        for lane in [Lane::Rollback, Lane::Normal] {
            while self.slots.get(&lane).copied().unwrap_or_default() > 0 {
                let next = self.queues.get_mut(&lane).and_then(VecDeque::pop_front);
                let Some(app) = next else { break };
                self.start(app, lane);
            }
        }
    }

    fn start(&mut self, app: AppKey, lane: Lane) {
        let Some(entry) = self.entries.get_mut(&app) else {
            return;
        };
        // Left behind when the app moved on to the other lane's queue.
        if entry.queued != Some(lane) || entry.running.is_some() {
            return;
        }
        entry.queued = None;
        entry.again = false;
        // An urgent wake that comes from here on may be about what this pass does not see.
        entry.urgent = false;
        if let Some(key) = entry.timer.take() {
            self.timers.try_remove(&key);
        }
        if let Some(at) = entry.woken_at.take() {
            self.shared.service.metrics.woken(lane.word(), at.elapsed());
        }
        let pass = Pass {
            shared: Arc::clone(&self.shared),
            app: app.clone(),
            app_id: entry.app_id,
            lane,
            measured: std::mem::take(&mut entry.measured),
            measuring: entry.measuring.clone(),
            readable_since: entry.readable_since,
        };
        let key = app.clone();
        let handle = self.passes.spawn(async move { (key, pass.run().await) });
        entry.running = Some((handle.id(), handle.clone(), lane));
        self.running.insert(handle.id(), app);
        if let Some(slots) = self.slots.get_mut(&lane) {
            *slots -= 1;
        }
    }

    fn ended(&mut self, ended: Result<(Id, (AppKey, PassEnd)), tokio::task::JoinError>) {
        let (id, end) = match ended {
            Ok((id, (_, end))) => (id, end),
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a pass panicked, it is repeated");
                }
                let again = if error.is_panic() {
                    PassEnd::retry()
                } else {
                    PassEnd::at_once()
                };
                (error.id(), again)
            }
        };
        let Some(app) = self.running.remove(&id) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&app) else {
            return;
        };
        let Some((_, _, lane)) = entry.running.take() else {
            return;
        };
        if let Some(slots) = self.slots.get_mut(&lane) {
            *slots += 1;
        }
        self.follow_up(app, end, lane);
    }

    fn follow_up(&mut self, app: AppKey, end: PassEnd, lane: Lane) {
        let Some(entry) = self.entries.get_mut(&app) else {
            return;
        };
        if end.looked {
            entry.rolling_back = end.rollback;
            entry.readable_since = end.readable_since;
            entry.version = end.version;
        } else {
            entry.rolling_back |= lane == Lane::Rollback;
        }
        entry.app_id = end.app_id.or(entry.app_id);
        for job in end.to_measure {
            if entry.measuring.insert(job.gate_name().to_owned()) {
                measure_beside(Arc::clone(&self.shared), app.clone(), job);
            }
        }
        if end.forget {
            if !entry.again {
                self.entries.remove(&app);
                self.shared.forget(&app);
                return;
            }
            // It may have been deleted and made anew.
            entry.app_id = None;
        }
        entry.retries = if end.unseen {
            entry.retries.saturating_add(1)
        } else {
            0
        };
        if entry.again || end.again {
            let urgent = entry.urgent;
            self.wake(app, urgent, Instant::now());
            return;
        }
        let now = self.shared.service.leases.now();
        let rest = if end.at_rest { REST } else { REST_IN_ROLLOUT };
        let mut wait = end.wake_at.map_or(rest, |at| until(at, now)).min(rest);
        if end.unseen {
            let most = if end.at_rest {
                RETRY_AT_REST
            } else {
                RETRY_MOST
            };
            let doubled = RETRY_FIRST.saturating_mul(1 << entry.retries.min(11));
            wait = wait.min(doubled.min(most));
        }
        entry.timer = Some(self.timers.insert(app, wait));
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
