//! One Postgres for the tests that run at the same time, one database a test.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use local::postgres::Postgres;
use rollout::{
    Cursor, Event, Plan, Reason, Revision, Revisions, State, Track, WaitingOn,
    gate::Gates,
    strategy::{Delivery, Recreate, Strategy},
};
use serde_json::{Value, json};
use store::{
    Change, Commit, CreateFacts, Created, Fence, NewNotice, NewRevision, NewRollout, Options,
    Rollout, Store,
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Time within which anything that must happen has happened, on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server; stopped, and its files removed, when the last test that uses it is over.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = local::postgres::Options {
            durable: false,
            port: None,
        };
        let postgres = Postgres::start(dir.path(), options).await.unwrap();
        Self {
            postgres,
            _dir: dir,
        }
    }
}

/// A test's own database, migrated, and a store on it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) url: String,
    database: String,
    server: Arc<Server>,
}

static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The running server, with a migrated database named `model`.
async fn server() -> Arc<Server> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Server::start().await);
    let url = server.postgres.create_database("model").await.unwrap();
    Store::migrate(&url).await.unwrap();
    *shared = Arc::downgrade(&server);
    server
}

impl World {
    pub(crate) async fn new() -> Self {
        // Patient: the machine runs many tests at once.
        let options = Options {
            acquire_timeout: SOON,
            ..Options::default()
        };
        Self::with(options).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let server = server().await;
        let database = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        // One copy at a time: Postgres refuses to copy a database that is being copied.
        let copying = SERVER.lock().await;
        let sql = format!("CREATE DATABASE {database} TEMPLATE model");
        server.postgres.execute("sluice", &sql).await.unwrap();
        drop(copying);
        let url = server.postgres.url();
        let url = format!("{}/{database}", url.strip_suffix("/sluice").unwrap());
        let store = Store::connect(&url, options).await.unwrap();
        Self {
            store,
            url,
            database,
            server,
        }
    }

    /// Runs SQL as the superuser.
    pub(crate) async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        self.server.postgres.execute(&self.database, sql).await
    }

    /// Waits until a session of this database waits for `event`, such as `PgSleep` or
    /// `Lock`.
    pub(crate) async fn until_waits_for(&self, event: &str) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND '{event}' IN (wait_event, wait_event_type)"
        );
        local::wait::until(SOON, event, || async {
            match self.sql(&sql).await.unwrap().as_str() {
                "0" => Err("nobody waits"),
                _ => Ok(()),
            }
        })
        .await
        .unwrap();
    }

    /// All events, once there are `count`: transactions of other tests may hold them back.
    pub(crate) async fn events(&self, count: usize) -> Vec<store::TransitionRow> {
        local::wait::until(SOON, "events", || async {
            let rows = self.store.events_after(None, None, 1000).await.unwrap();
            if rows.len() == count {
                Ok(rows)
            } else {
                Err(rows.len())
            }
        })
        .await
        .unwrap()
    }

    /// An app named `name` in project `shop`.
    pub(crate) async fn app(&self, name: &str) -> store::App {
        let (app, _) = self
            .store
            .put_app("shop", name, &json!({"app": name}), None, "ann")
            .await
            .unwrap();
        app
    }

    /// A pending rollout of a new app.
    pub(crate) async fn pending(&self, name: &str) -> Rollout {
        let app = self.app(name).await;
        self.deploy(app.id, "v1").await
    }

    /// Asks for a revision with this artifact.
    pub(crate) async fn deploy(&self, app: Uuid, artifact: &str) -> Rollout {
        self.store
            .create_rollout(&new(app, artifact), build, None)
            .await
            .unwrap()
    }

    /// All shards for one replica, which is returned.
    pub(crate) async fn owner(&self) -> Uuid {
        let owner = Uuid::now_v7();
        assert_eq!(self.store.renew(owner).await.unwrap().len(), 64);
        owner
    }

    pub(crate) async fn fence(&self, app: Uuid, owner: Uuid) -> Fence {
        self.store.load(app, owner).await.unwrap().unwrap().fence
    }
}

pub(crate) fn new(app: Uuid, artifact: &str) -> NewRollout {
    NewRollout {
        app,
        revision: NewRevision::New {
            artifact: artifact.to_owned(),
            digest: None,
            document: json!({"artifact": artifact}),
            config_hash: "c1".to_owned(),
            content: None,
        },
        undo: false,
        comment: Some("with love".to_owned()),
        by: "token:ci".to_owned(),
        source: None,
    }
}

pub(crate) fn plan(stable: Option<Revision>, candidate: Revision) -> Plan {
    let delivery = Delivery {
        strategy: Strategy::Recreate(Recreate { gate: None }),
        gates: Vec::new(),
        alerts: Vec::new(),
        progress_deadline: SignedDuration::from_mins(10),
        drain: SignedDuration::from_secs(5),
    };
    let revisions = Revisions {
        stable,
        candidate,
        replicas: 3,
        undo: false,
    };
    Plan::compile(&delivery, revisions)
}

/// What the service makes of a new rollout: an active one is aborted, a pending one cancelled.
pub(crate) fn build(facts: &CreateFacts) -> Created {
    let reason = Reason::Superseded {
        revision: facts.candidate,
    };
    let abort = facts
        .active
        .iter()
        .filter(|it| it.phase != rollout::Phase::Aborting);
    let abort = abort.map(|it| Change {
        rollout: it.id,
        state: aborting(&it.state),
        event: Event::AbortStarted {
            reason: reason.clone(),
        },
        notices: vec![notice("rollout.abortStarted")],
    });
    let cancel = facts.pending.iter().map(|it| Change {
        rollout: it.id,
        state: State {
            generation: it.state.generation + 1,
            phase: rollout::Phase::Cancelled,
            ..it.state.clone()
        },
        event: Event::Cancelled {
            reason: reason.clone(),
        },
        notices: Vec::new(),
    });
    Created {
        plan: plan(facts.stable, facts.candidate),
        state: State::new(facts.now),
        event: Event::Created {
            by: "token:ci".to_owned(),
            comment: None,
            break_glass: None,
        },
        supersede: abort.chain(cancel).collect(),
        notices: vec![notice("rollout.created")],
    }
}

pub(crate) fn aborting(state: &State) -> State {
    State {
        generation: state.generation + 1,
        phase: rollout::Phase::Aborting,
        cursor: Cursor {
            track: Track::Abort,
            ..state.cursor
        },
        ..state.clone()
    }
}

pub(crate) fn notice(kind: &str) -> NewNotice {
    NewNotice {
        id: None,
        target: json!({"webhook": "hook"}),
        kind: kind.to_owned(),
        payload: Value::Null, // a payload like any other
    }
}

/// The notice of that kind, for a receiver of its own.
pub(crate) fn notice_to(receiver: usize) -> NewNotice {
    NewNotice {
        target: json!({"webhook": receiver}),
        ..notice("x")
    }
}

/// Claims until nothing is left to claim.
pub(crate) async fn claim_all(store: &Store) -> Vec<store::Notice> {
    let mut all = Vec::new();
    loop {
        match store.claim_notices(&[], 10).await.unwrap() {
            claimed if claimed.is_empty() => return all,
            claimed => all.extend(claimed),
        }
    }
}

/// A commit that changes nothing but what the caller then sets.
pub(crate) fn keep(rollout: &Rollout) -> Commit {
    Commit {
        rollout: rollout.id,
        expected_version: rollout.version,
        fence: None,
        state: rollout.state.clone(),
        gates: Gates::default(),
        waiting: Some(WaitingOn::FirstPass),
        wake_at: None,
        plan: None,
        transition: None,
        source: None,
        measurements: Vec::new(),
        stable: None,
        notices: Vec::new(),
        alert: None,
    }
}

/// A commit of the next state, in `phase`.
pub(crate) fn next(rollout: &Rollout, phase: rollout::Phase, event: Event) -> Commit {
    Commit {
        state: State {
            generation: rollout.state.generation + 1,
            phase,
            ..rollout.state.clone()
        },
        transition: Some((event, "system".to_owned())),
        waiting: match phase.is_terminal() {
            true => None,
            false => Some(WaitingOn::Promotion),
        },
        ..keep(rollout)
    }
}

pub(crate) fn start(rollout: &Rollout) -> Commit {
    next(rollout, rollout::Phase::Progressing, Event::Started)
}

/// Starts it, lets it succeed, and returns it as it is then.
pub(crate) async fn succeed(store: &Store, rollout: &Rollout) -> Rollout {
    store.commit(&start(rollout)).await.unwrap();
    let running = store.rollout(rollout.id).await.unwrap().unwrap();
    let end = Commit {
        stable: Some(running.candidate),
        ..next(&running, rollout::Phase::Succeeded, Event::Succeeded)
    };
    store.commit(&end).await.unwrap();
    store.rollout(rollout.id).await.unwrap().unwrap()
}

/// A moment that Postgres keeps as it is.
pub(crate) fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}
