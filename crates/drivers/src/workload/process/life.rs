//! The task of one instance.
//!
//! ```text
//!   start ──> live: probe, follow orders ──> ended ──> back-off ──┐
//!     ^          │ drained and released: SIGTERM, SIGKILL         │
//!     └──────────┼────────────────────────────────────────────────┘
//!                └──> ended while it was to end: forget
//! ```

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rollout::observation::{InstanceState, ProblemKind};
use tokio::time::{Instant, sleep_until};

use super::{
    child::{Exit, Handle},
    instance::{Due, Instance, Trouble},
    launch, log_file,
    probing::Probing,
    record,
    supervisor::Shared,
};

/// The first pause before an instance is started again; doubled each time.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);

/// The longest pause before an instance is started again.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// An instance that lived so long begins anew with the shortest pause.
const BACK_OFF_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// So many ends within [`CRASH_WINDOW`] are a crash loop.
const CRASHES: usize = 3;

/// The time in which ends are counted.
const CRASH_WINDOW: Duration = Duration::from_secs(60);

/// Pause before a start that failed is tried again: a disk was freed, a file put back.
const START_AGAIN: Duration = Duration::from_secs(1);

/// How often the loop is woken to look whether something still routes to a draining instance.
const ASK_FOR_RELEASE: Duration = Duration::from_secs(1);

/// How often the size of the log is looked at.
const LOG_CHECK: Duration = Duration::from_secs(10);

/// How often SIGKILL is repeated; only for a process that the kernel cannot end at once.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How the lives of an instance ended so far.
#[derive(Debug, Default)]
struct History {
    ends: VecDeque<Instant>,
    streak: u32,
}

impl History {
    /// Notes an end now; gives whether it is a crash loop, and the pause before the next start.
    fn end(&mut self, lived: Duration, settled: bool) -> (bool, Duration) {
        let now = Instant::now();
        if settled {
            self.ends.clear();
        }
        if lived >= BACK_OFF_FORGOTTEN_AFTER {
            self.streak = 0;
        }
        self.ends.push_back(now);
        self.ends.retain(|it| now - *it <= CRASH_WINDOW);
        let pause = BACK_OFF_FIRST
            .saturating_mul(1 << self.streak.min(10))
            .min(BACK_OFF_MAX);
        self.streak += 1;
        (self.ends.len() >= CRASHES, pause)
    }
}

/// Looks after `instance` until it is gone for good. `handle`: it already runs.
pub(super) async fn run(shared: Arc<Shared>, instance: Arc<Instance>, handle: Option<Handle>) {
    let mut history = History::default();
    let mut adopted = handle;
    loop {
        let started = match adopted.take() {
            Some(handle) => Some(handle),
            None => start(&shared, &instance).await,
        };
        let Some(mut handle) = started else { break };
        let began = Instant::now();
        let mut probing = Probing::new(began);
        let exit = live(&instance, &mut handle, &mut probing).await;
        let (crashing, pause) = history.end(began.elapsed(), probing.has_settled());
        let trouble = trouble(&instance, exit, crashing.then_some(history.ends.len()));
        instance.update(|it| {
            it.phase = InstanceState::Exited;
            it.known = true;
            it.problem = Some(trouble);
        });
        if wait(&instance, pause).await {
            break;
        }
        instance.update(|it| it.restarts += 1);
    }
    forget(&shared, &instance).await;
}

/// Starts it, again and again until it works; `None` when it is no longer wanted.
async fn start(shared: &Arc<Shared>, instance: &Arc<Instance>) -> Option<Handle> {
    while !instance.retire() {
        let (held, it) = (Arc::clone(shared), Arc::clone(instance));
        let launched = tokio::task::spawn_blocking(move || launch::launch(&held, &it));
        let launched = launched.await.unwrap_or_else(|error| {
            Err((
                ProblemKind::Exited,
                format!("{} cannot be started now: {error}", instance.name),
            ))
        });
        match launched {
            Ok(handle) => {
                instance.update(|it| {
                    it.phase = InstanceState::Starting;
                    // What kept it from starting is over; that it keeps ending may not be.
                    it.problem
                        .take_if(|(kind, _)| *kind != ProblemKind::CrashLoop);
                });
                return Some(handle);
            }
            Err(trouble) => instance.update(|it| {
                it.phase = InstanceState::Exited;
                it.problem = Some(trouble);
            }),
        }
        if wait(instance, START_AGAIN).await {
            return None;
        }
    }
    None
}

/// Waits for `pause`; `true` as soon as the instance is no longer wanted.
async fn wait(instance: &Instance, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    loop {
        if instance.retire() {
            return true;
        }
        tokio::select! {
            () = sleep_until(until) => return instance.retire(),
            () = instance.changed.notified() => {}
        }
    }
}

/// Probes it and follows orders until it ends.
async fn live(instance: &Arc<Instance>, handle: &mut Handle, probing: &mut Probing) -> Exit {
    let stop_timeout = instance.settings.stop_timeout.unsigned_abs();
    // Set as soon as it was told to end.
    let mut kill_at: Option<Instant> = None;
    let mut log_check = Instant::now() + LOG_CHECK;
    if instance.state().signalled {
        // Adopted in the middle of being stopped: the signal may have been lost.
        handle.terminate();
        kill_at = Some(Instant::now() + stop_timeout);
    }
    loop {
        let now = Instant::now();
        if now >= log_check {
            log_check = now + LOG_CHECK;
            let directory = instance.directory.clone();
            tokio::task::spawn_blocking(move || launch::rotate_log(&directory))
                .await
                .ok();
        }
        let due = instance.due(now);
        let look_again = match (kill_at, due) {
            (Some(at), _) if now >= at => {
                handle.kill();
                *kill_at.insert(now + KILL_AGAIN)
            }
            (Some(at), _) => at,
            (None, Due::Nothing) => log_check,
            (None, Due::Release) => now + ASK_FOR_RELEASE,
            (None, Due::At(at)) => at,
            (None, Due::Signal) => {
                let directory = instance.directory.clone();
                let noted = tokio::task::spawn_blocking(move || launch::note_stopping(&directory));
                if let Ok(Err(error)) = noted.await {
                    tracing::warn!(instance = %instance.name, %error, "record that an instance is stopped");
                }
                handle.terminate();
                *kill_at.insert(now + stop_timeout)
            }
        };
        let look_again = look_again.min(log_check);
        tokio::select! {
            biased;
            exit = handle.exited() => return exit,
            () = instance.changed.notified() => {}
            () = sleep_until(look_again) => {
                if due == Due::Release {
                    instance.wake.wake(&instance.app);
                }
            }
            unhealthy = probing.next(instance), if kill_at.is_none() => {
                if let Some(why) = unhealthy {
                    tracing::warn!(app = %instance.app, instance = %instance.name, why, "health probe failed, restarting");
                    instance.update(|it| it.phase = InstanceState::NotReady);
                    handle.terminate();
                    kill_at = Some(Instant::now() + stop_timeout);
                }
            }
        }
    }
}

/// What to tell of an end. `crashes`: it is one of so many in a short time.
fn trouble(instance: &Instance, exit: Exit, crashes: Option<usize>) -> Trouble {
    let name = &instance.name;
    if let Exit::Code(code) = exit
        && let Some(line) = launch::exec_failure(instance, code)
    {
        return (
            ProblemKind::StartFailed,
            format!("{name} cannot be started: {line}"),
        );
    }
    let line = log_file::last_line(&instance.directory);
    let log = log_file::path(&instance.directory);
    let said = match line.is_empty() {
        true => "it logged nothing".to_owned(),
        false => format!("last log line: {line}"),
    };
    match crashes {
        Some(times) => {
            let detail = format!(
                "{name} {exit}; it ended {times} times within a minute; {said} ({})",
                log.display()
            );
            (ProblemKind::CrashLoop, detail)
        }
        None => (
            ProblemKind::Exited,
            format!("{name} {exit} and is started again; {said}"),
        ),
    }
}

/// Removes what is left of it.
async fn forget(shared: &Shared, instance: &Arc<Instance>) {
    let directory = instance.directory.clone();
    // First the file, then the name: a new instance of that name must find neither.
    let forgotten = tokio::task::spawn_blocking(move || record::forget(&directory)).await;
    if let Ok(Err(error)) = forgotten {
        tracing::warn!(app = %instance.app, instance = %instance.name, %error, "forget an instance");
    }
    if let Some(port) = instance.state().port {
        shared.ports.release(port);
    }
    shared.remove(instance);
    instance.wake.wake(&instance.app);
}
