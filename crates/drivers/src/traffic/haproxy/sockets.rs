//! What is kept per stats socket: a limit on connections, and a watcher that wakes apps.
//!
//! HAProxy pushes nothing, but a connection that is kept open ends when HAProxy does: that is known
//! in a millisecond. One watcher a socket serves all apps behind it:
//!
//! | what | how | cost |
//! |---|---|---|
//! | HAProxy died or was restarted | the kept connection ends | none |
//! | HAProxy was reloaded: the old process keeps the connection, and would not end because of it | `show info` says `Stopping` | one command a second and socket |
//! | a check passed, the last session ended | `show stat` of apps that wait for that | 50 ms to 1 s |
//! | a server went down | `show stat` of apps that a pass has looked at within a minute | every 2 s |
//!
//! An idle app costs an entry in a map.

mod watcher;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::Connection;
use crate::{AppKey, DriverError, Wake};

/// Connections at a time to one socket, the watcher's not counted. HAProxy takes ten by default
/// (`stats maxconn`), and people and exporters want some.
const CONNECTIONS_MAX: usize = 4;

/// How long an app is woken after HAProxy restarted since a pass last looked at it. A pass looks
/// more often than that as long as the app exists.
const WATCHED_FOR: Duration = Duration::from_secs(3600);

/// How long an app's servers are looked at since a pass last looked at it.
const LOOKED_AT_FOR: Duration = Duration::from_secs(60);

/// How often an app's servers are looked at when nothing is expected of them.
const LOOK_SETTLED: Duration = Duration::from_secs(2);

/// The first and the longest distance of looks while something is expected.
const LOOK_UNSETTLED: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The stats sockets in use, shared by all `haproxy` routers.
#[derive(Debug, Default)]
pub struct Sockets {
    sockets: Mutex<BTreeMap<PathBuf, Arc<Socket>>>,
    /// One configuration file is rewritten at a time.
    files: Arc<tokio::sync::Mutex<()>>,
    commands: AtomicU64,
    cancelled: CancelOnDrop,
}

#[derive(Debug)]
struct CancelOnDrop(
    CancellationToken,
    #[expect(dead_code, reason = "dropped with the sockets")] DropGuard,
);

impl Default for CancelOnDrop {
    fn default() -> Self {
        let token = CancellationToken::new();
        Self(token.clone(), token.drop_guard())
    }
}

/// One stats socket.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    permits: Arc<Semaphore>,
    watched: Mutex<Watched>,
    /// Told when something is to be looked at earlier than the watcher knows.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct Watched {
    running: bool,
    apps: BTreeMap<(String, AppKey), App>,
}

/// An app that is served through the socket.
#[derive(Debug)]
struct App {
    wake: Wake,
    /// When a pass last looked.
    asked: Instant,
    /// That pass found everything as it should be and nothing under way: only a restart of HAProxy
    /// is news until the next pass.
    at_rest: bool,
    /// Something is expected to happen to its servers.
    unsettled: bool,
    fingerprint: Option<String>,
    look_at: Instant,
    distance: Duration,
}

impl Sockets {
    /// No sockets yet; each is opened when it is first needed.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many commands that change something were sent, to any socket.
    pub fn commands_sent(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, commands: usize) {
        self.commands.fetch_add(commands as u64, Ordering::Relaxed);
    }

    pub(super) async fn files(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.files).lock_owned().await
    }

    pub(super) async fn connect(&self, path: &Path) -> Result<Connection, DriverError> {
        let permits = Arc::clone(&self.socket(path).permits);
        // Never closed, so it cannot fail; without a permit the connection is still right.
        let permit = permits.acquire_owned().await.ok();
        Connection::open(path, permit).await
    }

    fn socket(&self, path: &Path) -> Arc<Socket> {
        let mut sockets = locked(&self.sockets);
        let socket = sockets.entry(path.to_owned()).or_insert_with(|| {
            Arc::new(Socket {
                path: path.to_owned(),
                permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
                watched: Mutex::default(),
                sooner: Notify::new(),
            })
        });
        Arc::clone(socket)
    }

    /// Notes that a pass looks at `app`, and starts the socket's watcher if there is none.
    pub(super) fn watch(&self, path: &Path, backend: &str, app: &AppKey, wake: &Wake) {
        let socket = self.socket(path);
        let mut watched = locked(&socket.watched);
        let now = Instant::now();
        let entry = watched
            .apps
            .entry((backend.to_owned(), app.clone()))
            .or_insert_with(|| App {
                wake: wake.clone(),
                asked: now,
                at_rest: false,
                unsettled: false,
                fingerprint: None,
                look_at: now + LOOK_SETTLED,
                distance: LOOK_SETTLED,
            });
        entry.wake = wake.clone();
        entry.asked = now;
        entry.at_rest = false;
        if !watched.running {
            watched.running = true;
            drop(watched);
            tokio::spawn(watcher::run(socket, self.cancelled.0.clone()));
        }
    }

    /// Notes that nothing is expected of `app`'s servers until a pass looks at them again.
    pub(crate) fn at_rest(&self, app: &AppKey) {
        let sockets: Vec<Arc<Socket>> = locked(&self.sockets).values().cloned().collect();
        for socket in sockets {
            let mut watched = locked(&socket.watched);
            let own = watched.apps.iter_mut().filter(|((_, key), _)| key == app);
            own.for_each(|(_, it)| it.at_rest = true);
        }
    }

    /// Notes what a pass saw of the servers, and whether it left something to be done.
    pub(super) fn seen(
        &self,
        path: &Path,
        backend: &str,
        app: &AppKey,
        fingerprint: String,
        unsettled: Option<bool>,
    ) {
        let socket = self.socket(path);
        let mut watched = locked(&socket.watched);
        let Some(entry) = watched.apps.get_mut(&(backend.to_owned(), app.clone())) else {
            return;
        };
        entry.fingerprint = Some(fingerprint);
        entry.unsettled = unsettled.unwrap_or(entry.unsettled);
        if entry.unsettled {
            entry.distance = LOOK_UNSETTLED.0;
            entry.look_at = Instant::now() + entry.distance;
            drop(watched);
            socket.sooner.notify_one();
        } else {
            entry.distance = LOOK_SETTLED;
        }
    }
}

/// The value, also after a panic elsewhere: every writer leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
