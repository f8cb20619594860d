//! Hints from the other replicas, through Postgres' LISTEN and NOTIFY. A hint may be lost whenever the
//! connection is, so the listener says when it was, and the caller looks for work by itself then.

use std::time::Duration;

use serde::Deserialize;
use sqlx::postgres::{PgListener, PgPool};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{Options, Store, error::StoreError, session};

const CHANNEL: &str = "sluice";
/// Notifications that wait for a slow caller; beyond that they wait in Postgres.
const QUEUE_MAX: usize = 1024;
/// A connection that is silent for so long is asked whether it is still there: one cut off by a
/// firewall looks just like a quiet one.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Pauses between attempts to connect again: doubled from the first to the last, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// What there is to know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Notification {
    /// An app or one of its rollouts was written.
    Changed {
        /// The app.
        app_id: Uuid,
        /// Its project.
        project: String,
        /// Its name.
        app: String,
        /// The rollout, if it is about one.
        rollout: Option<Uuid>,
        /// Traffic is being taken back.
        urgent: bool,
        /// The replica whose pass wrote it; `None`: a person's command.
        sender: Option<Uuid>,
    },
    /// Leases are free to be taken: renew now.
    LeasesFreed,
    /// The connection was lost and is there again; what was said meanwhile is lost. Look for work.
    Reconnected,
}

/// A stream of notifications. Dropping it ends it.
#[derive(Debug)]
pub struct Listener {
    queue: mpsc::Receiver<Notification>,
    task: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// The next notification. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Notification {
        match self.queue.recv().await {
            Some(notification) => notification,
            // The task ends only with the runtime or with us.
            None => std::future::pending().await,
        }
    }
}

impl Store {
    /// Begins to listen, on a connection of its own. From the return on nothing is missed, so look
    /// for work after it, not before.
    ///
    /// # Errors
    /// That the database does not answer. Later losses are mended by the listener.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        let options = Options {
            max_connections: 1,
            min_connections: 0,
            acquire_timeout: ANSWER_WITHIN,
        };
        let pool = session::pool(&self.options, &options);
        let first = connect(&pool).await.map_err(StoreError::during("listen"))?;
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(run(pool, first, sender)).abort_handle();
        Ok(Listener { queue, task })
    }
}

async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Passes notifications on until nobody wants them.
async fn run(pool: PgPool, first: PgListener, queue: mpsc::Sender<Notification>) {
    let mut listener = first;
    loop {
        let lost = pass_on(&mut listener, &queue).await;
        // The pool lends one connection only: give it back before asking for the next.
        drop(listener);
        match lost {
            Some(error) => tracing::warn!(%error, "lost the connection that listens"),
            None => return,
        }
        listener = reconnect(&pool).await;
        if queue.send(Notification::Reconnected).await.is_err() {
            return;
        }
    }
}

/// Returns why the connection is lost, or `None` when nobody listens any more.
async fn pass_on(
    listener: &mut PgListener,
    queue: &mpsc::Sender<Notification>,
) -> Option<sqlx::Error> {
    let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
    loop {
        let payload = match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(it))) => it.payload().to_owned(),
            Ok(Ok(None)) => return Some(lost()),
            Ok(Err(error)) => return Some(error),
            Err(_) => {
                let asked = sqlx::query!("SELECT 1 AS one").fetch_one(&mut *listener);
                match timeout(ANSWER_WITHIN, asked).await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(error)) => return Some(error),
                    Err(_) => return Some(lost()),
                }
            }
        };
        match serde_json::from_str(&payload) {
            Ok(notification) => queue.send(notification).await.ok()?,
            // Of a newer version, or somebody's own NOTIFY: a hint we cannot use.
            Err(error) => tracing::debug!(%error, "notification not understood"),
        }
    }
}

async fn reconnect(pool: &PgPool) -> PgListener {
    let mut pause = FIRST_PAUSE;
    loop {
        match connect(pool).await {
            Ok(listener) => return listener,
            Err(error) => tracing::debug!(%error, "connect again to listen"),
        }
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}
