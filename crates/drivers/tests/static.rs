//! The `static` workload with real listeners.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use drivers::{
    AppKey, Cx, Wake, Workload, WorkloadConfig,
    traffic::haproxy::Sockets,
    workload::{
        RevisionSpec, WorkloadTarget, probe::Probes, process::Supervisor, static_pools::Static,
    },
};
use rollout::{
    Revision, document,
    observation::{InstanceState, ProblemKind, RevisionStatus},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc::UnboundedReceiver};

const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    _directory: tempfile::TempDir,
    cx: Cx,
    wakes: UnboundedReceiver<AppKey>,
}

fn world() -> World {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let directory = tempfile::tempdir().unwrap();
    let (wake, wakes) = Wake::channel();
    let cx = Cx {
        http: reqwest::Client::new(),
        processes: Supervisor::open(directory.path(), wake.clone()).unwrap(),
        probes: Probes::new(wake.clone()),
        haproxy: Arc::new(Sockets::default()),
        single_flight: Arc::default(),
        kubernetes: drivers::kubernetes::Clusters::new(wake.clone(), None),
        wake,
        data_dir: directory.path().to_owned(),
    };
    World {
        _directory: directory,
        cx,
        wakes,
    }
}

/// A service whose `/ready` answers 200 while the flag is set.
async fn service() -> (String, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::clone(&well);
    let ready = move || async move {
        match asked.load(Ordering::SeqCst) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        }
    };
    let router = Router::new().route("/ready", get(ready));
    tokio::spawn(async { axum::serve(listener, router).await });
    (address, well)
}

fn read(settings: &Value) -> Static {
    document::read(settings, Static::read).unwrap()
}

fn spec(revision: u32, pool: &str, settings: &Static) -> RevisionSpec {
    let workload = WorkloadConfig::Static(settings.clone());
    RevisionSpec {
        content: None,
        revision: Revision(revision),
        artifact: pool.to_owned(),
        workload,
    }
}

fn app() -> AppKey {
    AppKey {
        project: "shop".to_owned(),
        app: "checkout".to_owned(),
    }
}

impl World {
    async fn observe(&self, settings: &Static, specs: &[RevisionSpec], of: u32) -> RevisionStatus {
        let mut all = settings.observe(&self.cx, &app(), specs, 4).await.unwrap();
        all.remove(&Revision(of)).unwrap_or_default()
    }

    /// The revision once it has `ready` instances; only looked at when something wakes the app.
    async fn woken_until_ready(
        &mut self,
        settings: &Static,
        specs: &[RevisionSpec],
        of: u32,
        ready: u32,
    ) -> RevisionStatus {
        let seen = async {
            loop {
                self.wakes.recv().await.unwrap();
                let status = self.observe(settings, specs, of).await;
                if status.ready == ready {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap()
    }

    async fn ensure(&self, settings: &Static, scales: &[(u32, u32)]) {
        let scales: BTreeMap<_, _> = scales
            .iter()
            .map(|(it, scale)| (Revision(*it), *scale))
            .collect();
        let target = WorkloadTarget {
            scales,
            ..WorkloadTarget::default()
        };
        settings.ensure(&self.cx, &app(), &target).await.unwrap();
    }
}

#[tokio::test]
async fn pools_of_different_sizes_carry_the_whole_when_all_is_ready() {
    let mut world = world();
    let mut services = Vec::new();
    for _ in 0..6 {
        services.push(service().await);
    }
    let address = |it: usize| services[it].0.clone();
    let settings = read(&json!({
        "pools": { "blue": [address(0), address(1), address(2), address(3)], "green": [address(4), address(5)] },
        "ready": { "path": "/ready", "interval": "50ms", "failures": 2 },
    }));
    assert_eq!(settings.replicas(&world.cx, &app()).await.unwrap(), 4);
    let specs = [spec(1, "blue", &settings), spec(2, "green", &settings)];

    // Known at the first look, before anything was ensured.
    let blue = world.observe(&settings, &specs, 1).await;
    assert_eq!((blue.desired, blue.total, blue.ready), (0, 4, 4));
    world.ensure(&settings, &[(1, 4), (2, 4)]).await;
    let green = world.observe(&settings, &specs, 2).await;
    assert_eq!(
        (
            green.desired,
            green.total,
            green.ready,
            green.instances.len()
        ),
        (4, 4, 4, 2)
    );
    assert_eq!(green.instances[1].name, "r2-2");
    assert_eq!(green.instances[1].address, Some(address(5)));

    services[5].1.store(false, Ordering::SeqCst);
    // Half a pool is half the replicas.
    let green = world.woken_until_ready(&settings, &specs, 2, 2).await;
    assert_eq!(green.total, 4);
    assert_eq!(green.instances[1].state, InstanceState::NotReady);
    services[5].1.store(true, Ordering::SeqCst);
    world.woken_until_ready(&settings, &specs, 2, 4).await;

    world.ensure(&settings, &[(1, 4), (2, 1)]).await;
    let green = world.observe(&settings, &specs, 2).await;
    assert_eq!(
        (
            green.desired,
            green.total,
            green.ready,
            green.instances.len()
        ),
        (1, 1, 1, 1)
    );
    world.ensure(&settings, &[(1, 4)]).await;
    assert_eq!(
        world.observe(&settings, &specs, 2).await,
        RevisionStatus::default()
    );
}

#[tokio::test]
async fn an_unknown_pool_is_refused_with_the_known_ones() {
    let world = world();
    let settings =
        read(&json!({ "pools": { "blue": ["127.0.0.1:9001"], "green": ["[::1]:9002"] } }));
    let refused = settings
        .resolve(&world.cx, &app(), "red", None)
        .await
        .unwrap_err();
    assert!(
        refused.contains("red") && refused.contains("blue, green"),
        "{refused}"
    );
    assert_eq!(
        settings
            .resolve(&world.cx, &app(), "blue", None)
            .await
            .unwrap()
            .artifact,
        "blue"
    );
}

#[tokio::test]
async fn a_pool_where_nobody_listens_is_not_ready_and_says_so() {
    let world = world();
    // Held for a moment, then free: nobody listens there.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let settings =
        read(&json!({ "pools": { "blue": [address] }, "ready": { "interval": "50ms" } }));
    let specs = [spec(1, "blue", &settings)];
    world.ensure(&settings, &[(1, 1)]).await;
    assert_eq!(
        world.observe(&settings, &specs, 1).await.ready,
        1,
        "a connect is enough without a path"
    );
    drop(listener);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = world.observe(&settings, &specs, 1).await;
        let problem = status.problems.first();
        if problem
            .is_some_and(|it| it.kind == ProblemKind::ProbeFailing && it.detail.contains(&address))
        {
            assert_eq!(status.ready, 0);
            return;
        }
        assert!(Instant::now() < deadline, "{status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn mistakes_in_pools_are_named_at_their_place() {
    let settings =
        json!({ "pools": { "Blue": [], "green": [], "red": ["nowhere", "a:0", "ok:80"] } });
    let problems = document::read(&settings, Static::read).unwrap_err();
    let pointers: Vec<_> = problems.iter().map(|it| it.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/pools/Blue",
            "/pools/green",
            "/pools/red/0",
            "/pools/red/1"
        ],
        "{problems:#?}"
    );
    let twice = json!({ "pools": { "blue": ["a:1"], "green": ["a:1"] } });
    let problems = document::read(&twice, Static::read).unwrap_err();
    assert!(problems[0].detail.contains("a:1"), "{problems:#?}");
}

#[tokio::test]
async fn artifacts_of_processes_are_checked_and_digested() {
    use drivers::workload::process::Process;
    use std::os::unix::fs::PermissionsExt;

    let world = world();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("service");
    let text = file.to_str().unwrap();
    let process = document::read(&json!({}), Process::read).unwrap();
    let missing = process
        .resolve(&world.cx, &app(), text, None)
        .await
        .unwrap_err();
    assert!(
        missing.contains(text) && missing.contains("not there"),
        "{missing}"
    );
    std::fs::write(&file, "abc").unwrap();
    let refused = process
        .resolve(&world.cx, &app(), text, None)
        .await
        .unwrap_err();
    assert!(refused.contains("chmod +x"), "{refused}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let resolved = process
        .resolve(&world.cx, &app(), text, None)
        .await
        .unwrap();
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(resolved.digest.as_deref(), Some(digest));
    let folder = directory.path().to_str().unwrap();
    assert!(
        process
            .resolve(&world.cx, &app(), folder, None)
            .await
            .unwrap_err()
            .contains("directory")
    );

    let settings = json!({ "command": ["python3", "{{artifact}}/main.py"], "directory": folder });
    let process = document::read(&settings, Process::read).unwrap();
    let resolved = process.resolve(&world.cx, &app(), ".", None).await.unwrap();
    assert_eq!(
        resolved.artifact,
        directory.path().canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(resolved.digest, None);
}
