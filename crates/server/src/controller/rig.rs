//! A service and its loop's parts on a real Postgres, for tests that put rollouts where they want them.

use std::{sync::Arc, time::Duration};

use drivers::{
    AppKey, Cx, Wake,
    kubernetes::Clusters,
    traffic::haproxy::Sockets,
    workload::{probe::Probes, process::Supervisor},
};
use local::postgres::Postgres;
use rollout::{Event, Phase, Revisions, State};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use store::{Commit, Created, NewNotice, NewRevision, NewRollout, Options, Rollout, Store};
use tokio_util::sync::CancellationToken;

use super::Wakes;
use crate::{app_file::AppFile, service::Service};

/// All of it is gone when it is dropped.
pub(crate) struct Rig {
    pub(crate) service: Service,
    pub(crate) url: SecretString,
    pub(crate) wakes: Option<Wakes>,
    postgres: Arc<Postgres>,
    dir: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.service.stop.cancel();
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let dir = tempfile::tempdir().unwrap();
        let options = local::postgres::Options {
            durable: false,
            port: None,
        };
        let postgres = Postgres::start(&dir.path().join("postgres"), options)
            .await
            .unwrap();
        let url = SecretString::from(postgres.url());
        Store::migrate(url.expose_secret()).await.unwrap();
        let connect = async || {
            Store::connect(url.expose_secret(), Options::default())
                .await
                .unwrap()
        };
        let (wake, _) = Wake::channel();
        let data_dir = dir.path().join("data");
        std::fs::create_dir(&data_dir).unwrap();
        let cx = Cx {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            processes: Supervisor::open(&data_dir, wake.clone()).unwrap(),
            probes: Probes::new(wake.clone()),
            haproxy: Arc::new(Sockets::default()),
            single_flight: Arc::default(),
            kubernetes: Clusters::new(wake.clone(), None),
            wake,
            data_dir,
        };
        let (waker, wakes) = super::wakes();
        let stores = (connect().await, connect().await);
        let service = Service::new(stores, cx, waker, CancellationToken::new());
        Self {
            service,
            url,
            wakes: Some(wakes),
            postgres: Arc::new(postgres),
            dir,
        }
    }

    /// The app file of an app whose router is away.
    pub(crate) fn document(&self, app: &str) -> Value {
        let socket = self.dir.path().join("haproxy.sock");
        json!({
            "app": app,
            "workload": {"static": {"pools": {"blue": ["127.0.0.1:1"], "green": ["127.0.0.1:2"]}}},
            "traffic": {"haproxy": {"socket": socket, "backend": app}},
            "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
            "alerts": [{"match": {"app": app}}],
        })
    }

    /// A new rollout of `app`, which is made if it is not there.
    pub(crate) async fn pending(&self, app: &str, artifact: &str) -> Rollout {
        let (store, document) = (&self.service.store, self.document(app));
        let put = store.put_app("default", app, &document, None, "test");
        let (row, _) = put.await.unwrap();
        let file = AppFile::read(&document).unwrap();
        let new = NewRollout {
            app: row.id,
            revision: NewRevision::New {
                artifact: artifact.to_owned(),
                digest: None,
                content: None,
                document: document.clone(),
                config_hash: file.config_hash(),
            },
            undo: false,
            comment: None,
            by: "test".to_owned(),
            source: None,
        };
        let build = |facts: &store::CreateFacts| Created {
            plan: file.plan(Revisions {
                stable: facts.stable,
                candidate: facts.candidate,
                replicas: 1,
                undo: false,
            }),
            state: State::new(facts.now),
            event: Event::Created {
                by: "test".to_owned(),
                comment: None,
                break_glass: None,
            },
            supersede: Vec::new(),
            notices: Vec::new(),
        };
        store.create_rollout(&new, build, None).await.unwrap()
    }

    /// Somebody locks a rollout's row and keeps it so until [`Rig::unlock`].
    pub(crate) async fn lock(&self, rollout: &Rollout) {
        let sql = format!(
            "BEGIN; SELECT FROM rollout WHERE id = '{}' FOR UPDATE; SELECT pg_sleep(60) AS holds",
            rollout.id
        );
        let postgres = Arc::clone(&self.postgres);
        tokio::spawn(async move { postgres.execute("sluice", &sql).await });
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        self.until(sql, 1).await;
    }

    /// Ends what [`Rig::lock`] began.
    pub(crate) async fn unlock(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE query LIKE '%AS holds' AND pid <> pg_backend_pid()",
        )
        .await;
    }

    /// Waits until exactly so many wait for a lock.
    pub(crate) async fn waiters(&self, wanted: u32) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        self.until(sql, wanted).await;
    }

    /// Waits until a query counts so many.
    async fn until(&self, sql: &str, wanted: u32) {
        let what = format!("{wanted} by {sql}");
        local::wait::until(Duration::from_secs(10), &what, || async {
            let waiting = self.sql(sql).await;
            (waiting == wanted.to_string()).then_some(()).ok_or(waiting)
        })
        .await
        .unwrap();
    }

    pub(crate) async fn sql(&self, sql: &str) -> String {
        self.postgres.execute("sluice", sql).await.unwrap()
    }

    /// Commits a change, as the loop would.
    pub(crate) async fn change(&self, rollout: &Rollout, phase: Phase, event: Event) -> Rollout {
        self.change_and_tell(rollout, phase, event, Vec::new())
            .await
    }

    /// Commits a change with notices.
    pub(crate) async fn change_and_tell(
        &self,
        rollout: &Rollout,
        phase: Phase,
        event: Event,
        notices: Vec<NewNotice>,
    ) -> Rollout {
        let mut state = rollout.state.clone();
        state.generation += 1;
        state.phase = phase;
        let commit = Commit {
            rollout: rollout.id,
            expected_version: rollout.version,
            fence: None,
            gates: rollout.gates.clone(),
            state,
            waiting: None,
            wake_at: None,
            plan: None,
            transition: Some((event, "system".to_owned())),
            source: None,
            measurements: Vec::new(),
            stable: None,
            notices,
            alert: None,
        };
        self.service.store.commit(&commit).await.unwrap();
        let found = self.service.store.rollout(rollout.id).await.unwrap();
        found.unwrap()
    }
}

/// An app's key.
pub(crate) fn key(app: &str) -> AppKey {
    AppKey {
        project: "default".to_owned(),
        app: app.to_owned(),
    }
}
