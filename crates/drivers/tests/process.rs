//! The `process` workload with real processes: this test binary starts itself as the service.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use drivers::{
    AppKey, Wake, WorkloadConfig,
    workload::{
        RevisionSpec, WorkloadTarget,
        process::{OpenSupervisor, Process, Supervisor},
    },
};
use rollout::{
    Revision, document,
    observation::{InstanceState, ProblemKind, RevisionStatus},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

/// Long enough for a busy machine; nothing waits that long when it works.
const PATIENCE: Duration = Duration::from_secs(20);

static RANGES: AtomicU16 = AtomicU16::new(0);

/// A data directory of its own; every process that carries its path is ended with it.
struct World {
    directory: tempfile::TempDir,
    supervisor: Option<Arc<Supervisor>>,
    wake: Wake,
    wakes: UnboundedReceiver<AppKey>,
    settings: Value,
    in_use: Option<BTreeSet<String>>,
}

impl World {
    fn new(settings: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let first = 24_000 + RANGES.fetch_add(1, Ordering::Relaxed) * 30;
        let mut all = json!({
            "command": ["{{artifact}}", "--exact", "service", "--ignored", "--nocapture"],
            "ports": { "from": first, "to": first + 29 }, "drain": "50ms", "env": {},
        });
        for (key, value) in settings.as_object().unwrap() {
            all[key] = value.clone();
        }
        all["env"]["WORLD"] = json!(directory.path().to_str().unwrap());
        let (wake, wakes) = Wake::channel();
        let in_use = Some(BTreeSet::new());
        let mut world = Self {
            directory,
            supervisor: None,
            wake,
            wakes,
            settings: all,
            in_use,
        };
        world.open().unwrap();
        world
    }

    fn open(&mut self) -> Result<(), OpenSupervisor> {
        self.supervisor = Some(Supervisor::open(self.directory.path(), self.wake.clone())?);
        Ok(())
    }

    /// Forgets the supervisor and opens a new one, as after a crash.
    async fn reopen(&mut self) {
        self.supervisor = None;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.open() {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn process(&self) -> Process {
        document::read(&self.settings, Process::read).unwrap()
    }

    fn specs(&self, artifact: &str) -> Vec<RevisionSpec> {
        let workload = WorkloadConfig::Process(self.process());
        let artifact = artifact.to_owned();
        let spec = |it| RevisionSpec {
            revision: Revision(it),
            artifact: artifact.clone(),
            content: None,
            workload: workload.clone(),
        };
        (1..=3).map(spec).collect()
    }

    fn ensure_artifact(&self, scale: u32, artifact: &str) {
        let scales = BTreeMap::from([(Revision(1), scale)]);
        let revisions = self.specs(artifact);
        let target = WorkloadTarget {
            scales,
            revisions,
            in_use: self.in_use.clone(),
            ..WorkloadTarget::default()
        };
        self.supervisor
            .as_ref()
            .unwrap()
            .ensure(&app(), &target)
            .unwrap();
    }

    fn ensure(&self, scale: u32) {
        self.ensure_artifact(scale, std::env::current_exe().unwrap().to_str().unwrap());
    }

    async fn observe(&self) -> RevisionStatus {
        let mut all = self
            .supervisor
            .as_ref()
            .unwrap()
            .observe(&app())
            .await
            .unwrap();
        all.remove(&Revision(1)).unwrap_or_default()
    }

    async fn until(&self, what: &str, holds: impl Fn(&RevisionStatus) -> bool) -> RevisionStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.observe().await;
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never: {what}; {status:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits, only by wakes, until `holds`.
    async fn woken_until(
        &mut self,
        what: &str,
        holds: impl Fn(&RevisionStatus) -> bool,
    ) -> RevisionStatus {
        loop {
            let status = self.observe().await;
            if holds(&status) {
                return status;
            }
            let woken = tokio::time::timeout(PATIENCE, self.wakes.recv()).await;
            assert!(woken.is_ok(), "never woken for: {what}; {status:#?}");
        }
    }

    async fn problem(&self, kind: ProblemKind) -> String {
        let found = |it: &RevisionStatus| it.problems.iter().any(|it| it.kind == kind);
        let status = self.until(&format!("{kind:?}"), found).await;
        status
            .problems
            .iter()
            .find(|it| it.kind == kind)
            .unwrap()
            .detail
            .clone()
    }

    fn instance_directory(&self, name: &str) -> PathBuf {
        self.directory.path().join("apps/shop/checkout").join(name)
    }

    fn record(&self, name: &str) -> Value {
        let path = self.instance_directory(name).join("instance.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn pid(&self, name: &str) -> u32 {
        u32::try_from(self.record(name)["pid"].as_u64().unwrap()).unwrap()
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.instance_directory(name).join("log")).unwrap_or_default()
    }

    /// The living processes of this world.
    fn pids(&self) -> Vec<u32> {
        let marker = format!("WORLD={}\0", self.directory.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .windows(marker.len())
                .any(|it| it == marker.as_bytes())
        };
        pids.filter(ours).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.supervisor = None;
        let mut quiet = 0;
        while quiet < 3 {
            let pids = self.pids();
            quiet = if pids.is_empty() { quiet + 1 } else { 0 };
            pids.into_iter().for_each(|it| signal(it, Signal::KILL));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn app() -> AppKey {
    AppKey {
        project: "shop".to_owned(),
        app: "checkout".to_owned(),
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).ok();
}

fn alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, it)| !it.trim_start().starts_with('Z'))
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ready(count: u32) -> impl Fn(&RevisionStatus) -> bool {
    move |it| it.ready == count
}

/// The service: not a test, but what the tests start. Environment variables say how it behaves.
#[test]
#[ignore = "is started by the other tests"]
fn service() {
    let Ok(port) = std::env::var("PORT") else {
        return;
    };
    let is_set = |name: &str| std::env::var_os(name).is_some();
    println!(
        "serving on {port} for {}",
        std::env::var("SLUICE_INSTANCE").unwrap()
    );
    if is_set("FAILS") {
        eprintln!("cannot find my database");
        std::process::exit(3);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    if is_set("IGNORES_TERM") {
        runtime.spawn(async {
            let kind = tokio::signal::unix::SignalKind::terminate();
            let mut terminated = tokio::signal::unix::signal(kind).unwrap();
            while terminated.recv().await.is_some() {
                println!("SIGTERM ignored");
            }
        });
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse().unwrap())).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap_or_default();
        let path = String::from_utf8_lossy(&request[..read])
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let sick = Path::new(&format!(".{path}-fails")).exists();
        let sick = sick || path == "/ready" && is_set("NEVER_READY");
        let body = match path.as_str() {
            "/env" => std::env::vars()
                .map(|(key, value)| format!("{key}={value}\n"))
                .collect(),
            _ => String::new(),
        };
        let status = if sick {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}"
        )
        .ok();
    }
}

/// Sluice itself, for the test that kills it: not a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started by another test"]
async fn sluice() {
    let (Ok(directory), Ok(settings)) = (std::env::var("SLUICE_DATA"), std::env::var("SETTINGS"))
    else {
        return;
    };
    let (wake, _wakes) = Wake::channel();
    let supervisor = Supervisor::open(Path::new(&directory), wake).unwrap();
    let process = document::read(&serde_json::from_str(&settings).unwrap(), Process::read).unwrap();
    let artifact = std::env::current_exe()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let workload = WorkloadConfig::Process(process);
    let revisions = vec![RevisionSpec {
        revision: Revision(1),
        artifact,
        content: None,
        workload,
    }];
    let scales = BTreeMap::from([(Revision(1), 3)]);
    let target = WorkloadTarget {
        scales,
        revisions,
        ..WorkloadTarget::default()
    };
    supervisor.ensure(&app(), &target).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_start_serve_and_log() {
    let mut world = World::new(&json!({ "env": { "COLOUR": "blue" } }));
    world.ensure(2);
    world.ensure(2);
    let began = Instant::now();
    let status = world.woken_until("two ready", ready(2)).await;
    println!("two instances ready after {:?}", began.elapsed());
    assert_eq!(
        (status.desired, status.total, status.problems.len()),
        (2, 2, 0)
    );
    let names: Vec<&str> = status.instances.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["r1-1", "r1-2"]);
    for instance in &status.instances {
        let address = instance.address.clone().unwrap();
        let port = address.rsplit_once(':').unwrap().1;
        let environment = get(&address, "/env");
        for expected in [
            format!("PORT={port}\n"),
            format!("SLUICE_INSTANCE={}\n", instance.name),
            "SLUICE_APP=checkout\n".to_owned(),
            "SLUICE_REVISION=r1\n".to_owned(),
            "COLOUR=blue\n".to_owned(),
        ] {
            assert!(
                environment.contains(&expected),
                "{expected} in {environment}"
            );
        }
        assert!(
            !environment.contains("CARGO_"),
            "Sluice's own environment stays with it"
        );
        assert!(
            world
                .log(&instance.name)
                .contains(&format!("serving on {port}"))
        );
    }
    assert_eq!(world.pids().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_is_started_again_on_its_port() {
    let mut world = World::new(&json!({}));
    world.ensure(2);
    let before = world.until("two ready", ready(2)).await;
    while world.wakes.try_recv().is_ok() {}
    let pid = world.pid("r1-2");
    let began = Instant::now();
    signal(pid, Signal::KILL);
    world.woken_until("the end is seen", ready(1)).await;
    let noticed = began.elapsed();
    println!("noticed after {noticed:?}");
    assert!(
        noticed < Duration::from_secs(1),
        "by an event, not by a probe"
    );
    let after = world.woken_until("ready again", ready(2)).await;
    assert_eq!(
        (after.instances[0].restarts, after.instances[1].restarts),
        (0, 1)
    );
    assert_eq!(before.instances[1].address, after.instances[1].address);
    assert_ne!(world.pid("r1-2"), pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_quick_ends_are_a_crash_loop_with_code_and_last_line() {
    let world = World::new(&json!({ "env": { "FAILS": "1" } }));
    world.ensure(1);
    let detail = world.problem(ProblemKind::CrashLoop).await;
    assert!(
        detail.contains("exit code 3") && detail.contains("cannot find my database"),
        "{detail}"
    );
    assert!(detail.contains("3 times"), "{detail}");
    world.ensure(0);
    world
        .until("nothing left", |it| it.instances.is_empty())
        .await;
    assert!(world.pids().is_empty());
    assert!(
        !world
            .instance_directory("r1-1")
            .join("instance.json")
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_says_why_and_starts_once_it_can() {
    let world = World::new(&json!({ "command": ["{{artifact}}"] }));
    let path = world.directory.path().join("service");
    let artifact = path.to_str().unwrap();
    world.ensure_artifact(1, artifact);
    let detail = world.problem(ProblemKind::ArtifactMissing).await;
    assert!(detail.contains(artifact), "{detail}");

    fs::write(&path, "#!/nowhere/sh\n").unwrap();
    let detail = world.problem(ProblemKind::StartFailed).await;
    assert!(detail.contains("not an executable file"), "{detail}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let lacks = |it: &RevisionStatus| it.problems.iter().any(|it| it.detail.contains("sluice: "));
    let status = world.until("an interpreter that is not there", lacks).await;
    assert_eq!(
        status.problems[0].kind,
        ProblemKind::StartFailed,
        "{status:#?}"
    );

    let exe = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nexec {} --exact service --ignored --nocapture\n",
        exe.display()
    );
    let temporary = world.directory.path().join("service.new");
    fs::write(&temporary, script).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&temporary, &path).unwrap();
    world.until("ready", ready(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_in_path_is_named() {
    let world = World::new(&json!({ "command": ["no-such-program", "{{artifact}}"] }));
    world.ensure(1);
    let detail = world.problem(ProblemKind::StartFailed).await;
    assert!(
        detail.contains("no-such-program") && detail.contains("PATH"),
        "{detail}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taken_ports_are_left_out_and_a_full_range_is_reported() {
    let first = 24_000 + RANGES.fetch_add(1, Ordering::Relaxed) * 30;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    let world = World::new(&json!({ "ports": { "from": first, "to": first + 1 } }));
    world.ensure(2);
    let detail = world.problem(ProblemKind::NoFreePort).await;
    assert!(detail.contains(&first.to_string()), "{detail}");
    let status = world.until("one ready", ready(1)).await;
    let addresses: Vec<_> = status
        .instances
        .iter()
        .filter_map(|it| it.address.clone())
        .collect();
    assert_eq!(addresses, [format!("127.0.0.1:{}", first + 1)]);
    drop(taken);
    world.until("the port was freed", ready(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_never_ready_is_reported_with_what_it_answers() {
    let world = World::new(&json!({ "env": { "NEVER_READY": "1" } }));
    world.ensure(1);
    let detail = world.problem(ProblemKind::ProbeFailing).await;
    assert!(
        detail.contains("/ready") && detail.contains("503"),
        "{detail}"
    );
    let status = world.observe().await;
    assert_eq!((status.ready, status.total), (0, 1));
    assert_eq!(status.instances[0].state, InstanceState::Starting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_is_lost_and_found_and_health_restarts() {
    let probe = |path: &str| json!({ "path": path, "interval": "50ms", "failures": 2 });
    let mut world = World::new(
        &json!({ "ready": probe("/ready"), "health": probe("/health"), "startup": probe("/startup") }),
    );
    fs::create_dir_all(world.instance_directory("r1-1")).unwrap();
    let sick = |path: &str| {
        world
            .instance_directory("r1-1")
            .join(format!("{path}-fails"))
    };
    let (not_started, not_ready, not_healthy) = (sick("startup"), sick("ready"), sick("health"));
    fs::write(&not_started, "").unwrap();
    world.ensure(1);
    let port = world
        .until("runs", |it| {
            it.total == 1 && it.instances[0].address.is_some()
        })
        .await;
    let address = port.instances[0].address.clone().unwrap();
    world
        .until("serves", |_| TcpStream::connect(&address).is_ok())
        .await;
    assert!(get(&address, "/ready").contains("200"));
    assert_eq!(
        world.observe().await.ready,
        0,
        "not before it has started up"
    );
    fs::remove_file(not_started).unwrap();
    world.woken_until("ready", ready(1)).await;
    fs::write(&not_ready, "").unwrap();
    let status = world.woken_until("not ready", ready(0)).await;
    assert_eq!(status.instances[0].state, InstanceState::NotReady);
    fs::remove_file(&not_ready).unwrap();
    world.woken_until("ready again", ready(1)).await;
    let pid = world.pid("r1-1");
    fs::write(&not_healthy, "").unwrap();
    world
        .woken_until("restarted", |it| it.instances[0].restarts > 0)
        .await;
    fs::remove_file(not_healthy).unwrap();
    world.woken_until("ready after all", ready(1)).await;
    assert!(!alive(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_supervisor_adopts_what_runs_and_sees_its_end_at_once() {
    let mut world = World::new(&json!({}));
    world.ensure(2);
    let before = world.until("two ready", ready(2)).await;
    let pids = [world.pid("r1-1"), world.pid("r1-2")];
    world.reopen().await;
    // The first observation already knows, so that no pass takes a ready stable for a dead one.
    let after = world.observe().await;
    assert_eq!(after.instances, before.instances);
    assert_eq!(after.ready, 2);
    assert_eq!([world.pid("r1-1"), world.pid("r1-2")], pids);
    world.ensure(2);
    while world.wakes.try_recv().is_ok() {}
    let began = Instant::now();
    signal(pids[0], Signal::KILL);
    world
        .woken_until("the end is seen", |it| it.ready == 1)
        .await;
    println!("end of an adopted one noticed after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1));
    world.woken_until("started again", ready(2)).await;
    assert_eq!(world.pids().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_supervisors_never_share_a_directory() {
    let world = World::new(&json!({}));
    let second = Supervisor::open(world.directory.path(), world.wake.clone());
    assert!(matches!(second, Err(OpenSupervisor::InUse { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surplus_is_stopped_only_when_nothing_routes_to_it() {
    let mut world = World::new(&json!({}));
    world.ensure(3);
    let status = world.until("three ready", ready(3)).await;
    let (pid, address) = (
        world.pid("r1-3"),
        status.instances[2].address.clone().unwrap(),
    );

    world.in_use = None;
    world.ensure(2);
    let draining = |it: &RevisionStatus| {
        it.instances
            .last()
            .is_some_and(|it| it.state == InstanceState::Draining)
    };
    let status = world.woken_until("draining", draining).await;
    assert_eq!((status.ready, status.total, status.desired), (2, 3, 2));
    world.in_use = Some(BTreeSet::from([address]));
    world.ensure(2);
    // Three wakes that ask for a look at the routes: long after the drain time.
    while world.wakes.try_recv().is_ok() {}
    for _ in 0..2 {
        tokio::time::timeout(PATIENCE, world.wakes.recv())
            .await
            .unwrap();
    }
    assert!(alive(pid), "it may still get requests");

    // Wanted again before it was signalled: it simply goes on.
    world.ensure(3);
    world.until("three ready", ready(3)).await;
    assert_eq!(world.pid("r1-3"), pid);

    world.in_use = Some(BTreeSet::new());
    world.ensure(2);
    world
        .woken_until("gone", |it| it.total == 2 && it.instances.len() == 2)
        .await;
    assert!(!alive(pid));
    assert_eq!(world.pids().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_sigterm_is_killed() {
    let world = World::new(&json!({ "env": { "IGNORES_TERM": "1" }, "stopTimeout": "300ms" }));
    world.ensure(1);
    world.until("ready", ready(1)).await;
    let pid = world.pid("r1-1");
    world.ensure(0);
    let told = || world.log("r1-1").contains("SIGTERM ignored");
    world.until("told", |_| told()).await;
    assert_eq!(world.record("r1-1")["stopping"], json!(true));
    // Too late to want it back: a new one takes its place beside it.
    world.ensure(1);
    world
        .until("another", |it| {
            it.instances.iter().any(|it| it.name == "r1-2")
        })
        .await;
    world
        .until("gone", |it| it.instances.iter().all(|it| it.name == "r1-2"))
        .await;
    assert!(!alive(pid));
    world.until("ready", ready(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_goes_on_in_a_new_supervisor() {
    let mut world = World::new(&json!({ "env": { "IGNORES_TERM": "1" }, "stopTimeout": "1s" }));
    world.ensure(1);
    world.until("ready", ready(1)).await;
    let pid = world.pid("r1-1");
    world.ensure(0);
    world
        .until("told", |_| world.log("r1-1").contains("SIGTERM ignored"))
        .await;
    world.reopen().await;
    world.until("gone", |it| it.instances.is_empty()).await;
    assert!(!alive(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pid_that_was_used_again_is_never_signalled() {
    let mut world = World::new(&json!({}));
    world.ensure(1);
    world.until("ready", ready(1)).await;
    world.supervisor = None;
    let pid = world.pid("r1-1");
    signal(pid, Signal::KILL);
    let mut stranger = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    let mut record = world.record("r1-1");
    record["pid"] = json!(stranger.id());
    // What a record of a process that is gone looks like: the pid lives, the start time is older.
    let path = world.instance_directory("r1-1").join("instance.json");
    fs::write(path, record.to_string()).unwrap();
    world.reopen().await;
    world.until("another was started", ready(1)).await;
    world.ensure(0);
    world.until("gone", |it| it.instances.is_empty()).await;
    let untouched = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(untouched);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_written_is_reported_with_its_path() {
    let world = World::new(&json!({}));
    // A file where a directory is needed: refused for every user, root as well.
    let path = world.directory.path().join("apps/shop");
    fs::write(&path, "").unwrap();
    world.ensure(1);
    let detail = world.problem(ProblemKind::NotWritable).await;
    assert!(detail.contains("apps/shop/checkout/r1-1"), "{detail}");
    fs::remove_file(path).unwrap();
    world.until("ready once it can", ready(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_cannot_be_used_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    fs::write(&path, "").unwrap();
    let error = Supervisor::open(&path, Wake::channel().0).unwrap_err();
    assert!(error.to_string().contains("data"), "{error}");
}

/// Killed at any moment of starting three instances, Sluice finds every one of them again: none
/// is lost, none runs twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sluice_killed_at_any_moment_loses_no_instance() {
    let mut world = World::new(&json!({}));
    world.supervisor = None;
    for round in 0..25 {
        let mut sluice = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sluice", "--ignored", "--nocapture"])
            .env("SLUICE_DATA", world.directory.path())
            .env("SETTINGS", world.settings.to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let apps = world.directory.path().join("apps/shop");
        let deadline = Instant::now() + PATIENCE;
        while !apps.exists() && Instant::now() < deadline {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(round * 400));
        sluice.kill().unwrap();
        sluice.wait().unwrap();
        world.reopen().await;
        world.ensure(3);
        world.until("three ready", ready(3)).await;
        let mut recorded = ["r1-1", "r1-2", "r1-3"].map(|it| world.pid(it)).to_vec();
        let mut running = world.pids();
        recorded.sort_unstable();
        running.sort_unstable();
        assert_eq!(recorded, running, "round {round}");
        world.ensure(0);
        world.until("gone", |it| it.instances.is_empty()).await;
        world.supervisor = None;
        fs::remove_dir_all(apps).unwrap();
    }
}
