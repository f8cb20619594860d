//! The task that watches one stats socket for all its apps.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{App, LOOK_SETTLED, LOOK_UNSETTLED, LOOKED_AT_FOR, Socket, WATCHED_FOR, locked};
use crate::{
    AppKey, DriverError,
    traffic::haproxy::{connection::Connection, snapshot::Snapshot},
};

/// How often the kept connection's process is asked whether it is still the one.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a kept connection may be idle for HAProxy, in seconds: a day. Without this HAProxy
/// closes it after `stats timeout`, ten seconds by default.
const IDLE_SECONDS: u32 = 86_400;

/// The first and the longest wait before a socket that is gone is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Watches until nobody has asked for any app for [`WATCHED_FOR`], or until cancelled.
pub(super) async fn run(socket: Arc<Socket>, cancelled: CancellationToken) {
    select! {
        () = cancelled.cancelled() => {}
        () = watch(&socket) => {}
    }
}

async fn watch(socket: &Socket) {
    let mut process: Option<Process> = None;
    let mut retry = RETRY.0;
    loop {
        match open(socket).await {
            Ok((mut connection, now)) => {
                retry = RETRY.0;
                if process.as_ref().is_some_and(|before| *before != now) {
                    tracing::info!(socket = %socket.path.display(), "haproxy was restarted or reloaded");
                    wake_all(socket);
                }
                let ended = hold(socket, &mut connection, &now).await;
                process = Some(now);
                match ended {
                    Ended::Forgotten => return,
                    Ended::Closed => wake_all(socket),
                    Ended::Replaced => {}
                }
            }
            Err(why) => {
                tracing::debug!(%why, "haproxy's socket cannot be watched");
                // Nothing is known of what comes back: whoever it is, the apps must look.
                process = Some(Process::default());
                if !forget(socket) {
                    return;
                }
                sleep(retry).await;
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

/// Which process answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Process {
    pid: String,
    started: String,
    stopping: bool,
}

impl Process {
    fn parse(info: &str) -> Self {
        let value = |key: &str| {
            let line = info
                .lines()
                .find_map(|it| it.strip_prefix(key)?.strip_prefix(": "));
            line.unwrap_or_default().to_owned()
        };
        Self {
            pid: value("Pid"),
            started: value("Start_time_sec"),
            stopping: value("Stopping") == "1",
        }
    }
}

async fn open(socket: &Socket) -> Result<(Connection, Process), DriverError> {
    let mut connection = Connection::open(&socket.path, None).await?;
    let timeout = format!("set timeout cli {IDLE_SECONDS}");
    let replies = connection.ask(&[timeout, "show info".to_owned()]).await?;
    let process = Process::parse(replies.get(1).map(String::as_str).unwrap_or_default());
    if process.stopping {
        return Err(connection.broken("this HAProxy is stopping"));
    }
    Ok((connection, process))
}

/// Why a kept connection is no longer held.
enum Ended {
    /// HAProxy closed it, or does not answer.
    Closed,
    /// The process behind it is being replaced by another.
    Replaced,
    /// No app is left to watch for.
    Forgotten,
}

async fn hold(socket: &Socket, connection: &mut Connection, process: &Process) -> Ended {
    let mut heartbeat = Instant::now() + HEARTBEAT;
    loop {
        let next = next_look(socket).map_or(heartbeat, |it| it.min(heartbeat));
        select! {
            () = connection.closed() => return Ended::Closed,
            () = socket.sooner.notified() => continue,
            () = sleep_until(next) => {}
        }
        if Instant::now() >= heartbeat {
            if !forget(socket) {
                return Ended::Forgotten;
            }
            let Ok(replies) = connection.ask(&["show info".to_owned()]).await else {
                return Ended::Closed;
            };
            let now = replies.first().map(|it| Process::parse(it));
            if now.as_ref() != Some(process) {
                return Ended::Replaced;
            }
            heartbeat = Instant::now() + HEARTBEAT;
        }
        if look(socket, connection).await.is_err() {
            return Ended::Closed;
        }
    }
}

/// Looks at the servers of the apps whose turn it is, and wakes those that changed.
async fn look(socket: &Socket, connection: &mut Connection) -> Result<(), DriverError> {
    for backend in due(socket) {
        let snapshot = Snapshot::take(connection, &backend).await?;
        // A backend that cannot be read is the pass's business, which says so to people.
        let fingerprint = snapshot.map(|it| it.fingerprint()).ok();
        let mut watched = locked(&socket.watched);
        // In the keys' order, so a look costs what its backend has, not what the socket has.
        let apps = watched
            .apps
            .range_mut(first_of(&backend)..)
            .take_while(|((of, _), _)| *of == backend);
        for ((_, key), app) in apps {
            if app.fingerprint != fingerprint {
                app.fingerprint.clone_from(&fingerprint);
                app.wake.wake(key);
                app.distance = LOOK_UNSETTLED.0;
            }
        }
    }
    Ok(())
}

/// The smallest key of a backend.
fn first_of(backend: &str) -> (String, AppKey) {
    let nobody = AppKey {
        project: String::new(),
        app: String::new(),
    };
    (backend.to_owned(), nobody)
}

/// The backends to look at now; sets when each is looked at next.
fn due(socket: &Socket) -> Vec<String> {
    let now = Instant::now();
    let mut backends = Vec::new();
    for ((backend, _), app) in &mut locked(&socket.watched).apps {
        if !is_active(app, now) || app.look_at > now {
            continue;
        }
        let longest = if app.unsettled {
            LOOK_UNSETTLED.1
        } else {
            LOOK_SETTLED
        };
        app.distance = (app.distance * 2).min(longest);
        app.look_at = now + app.distance;
        backends.push(backend.clone());
    }
    backends.dedup();
    backends
}

fn next_look(socket: &Socket) -> Option<Instant> {
    let now = Instant::now();
    let watched = locked(&socket.watched);
    watched
        .apps
        .values()
        .filter(|it| is_active(it, now))
        .map(|it| it.look_at)
        .min()
}

fn is_active(app: &App, now: Instant) -> bool {
    !app.at_rest && now.duration_since(app.asked) < LOOKED_AT_FOR
}

fn wake_all(socket: &Socket) {
    for ((_, key), app) in &locked(&socket.watched).apps {
        app.wake.wake(key);
    }
}

/// Forgets apps that nobody has asked for in a long time. `false`: none is left, and the watcher is
/// noted as ended.
fn forget(socket: &Socket) -> bool {
    let now = Instant::now();
    let mut watched = locked(&socket.watched);
    watched
        .apps
        .retain(|_, app| now.duration_since(app.asked) < WATCHED_FOR);
    watched.running = !watched.apps.is_empty();
    watched.running
}
