//! The `haproxy` router against a real HAProxy: what requests really do, not what was written.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests; clippy.toml lets only the test functions themselves do this"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::{Router, routing::get};
use drivers::{
    AppKey, Cx, Routes, TrafficRouter as _, Wake,
    traffic::haproxy::{self, HaProxy, Sockets, given},
    workload::{probe::Probes, process::Supervisor},
};
use local::{haproxy as real, wait};
use rollout::{
    Revision, Weight,
    observation::{Instance, InstanceState, ObservedRoutes},
};
use tokio::sync::{Semaphore, mpsc::UnboundedReceiver};

const WITHIN: Duration = Duration::from_secs(10);

/// One instance: answers its own name; `/slow` waits for a permit of `slow`.
struct Shop {
    instance: Instance,
    slow: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn shop(name: &'static str) -> Shop {
    shop_at(name, 0).await
}

async fn shop_at(name: &'static str, port: u16) -> Shop {
    let slow = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&slow);
    let wait = move || async move {
        drop(held.acquire().await.unwrap());
        name
    };
    let router = Router::new()
        .route("/", get(move || async move { name }))
        .route("/slow", get(wait))
        .route("/health", get(|| async { "ok" }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let address = Some(address.to_string());
    let instance = Instance {
        name: name.to_owned(),
        address,
        state: InstanceState::Ready,
        restarts: 0,
    };
    Shop {
        instance,
        slow,
        task,
    }
}

/// HAProxy, a router for it, and what drives the router.
struct World {
    haproxy: real::HaProxy,
    router: HaProxy,
    cx: Cx,
    woken: UnboundedReceiver<AppKey>,
    app: AppKey,
    _dir: tempfile::TempDir,
}

async fn world(servers: &[real::Server]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let config = real::Config {
        servers: servers.to_vec(),
        ..real::Config::default()
    };
    let haproxy = real::HaProxy::start(&dir.path().join("haproxy"), config)
        .await
        .unwrap();
    let router = HaProxy {
        socket: haproxy.socket().to_owned(),
        backend: real::PROXY.to_owned(),
        config_file: None,
        check: true,
    };
    let (cx, woken) = cx(dir.path());
    let app = AppKey {
        project: "default".to_owned(),
        app: "shop".to_owned(),
    };
    World {
        haproxy,
        router,
        cx,
        woken,
        app,
        _dir: dir,
    }
}

fn cx(data_dir: &Path) -> (Cx, UnboundedReceiver<AppKey>) {
    // An error only says that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (wake, woken) = Wake::channel();
    let cx = Cx {
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
        processes: Supervisor::open(data_dir, wake.clone()).unwrap(),
        probes: Probes::new(wake.clone()),
        haproxy: Arc::new(Sockets::new()),
        single_flight: Arc::default(),
        kubernetes: drivers::kubernetes::Clusters::new(wake.clone(), None),
        wake,
        data_dir: data_dir.to_owned(),
    };
    (cx, woken)
}

fn percent(percent: f64) -> Weight {
    Weight::from_percent(percent).unwrap()
}

fn routes(weights: &[(u32, f64)], shops: &[&Shop]) -> Routes {
    let mut instances: BTreeMap<Revision, Vec<Instance>> = BTreeMap::new();
    for shop in shops {
        let number = shop.instance.name[1..].split('-').next().unwrap();
        let revision = Revision(number.parse().unwrap());
        instances
            .entry(revision)
            .or_default()
            .push(shop.instance.clone());
    }
    let weights = weights
        .iter()
        .map(|(it, share)| (Revision(*it), percent(*share)))
        .collect();
    Routes {
        weights,
        instances,
        ..Routes::default()
    }
}

fn shares(shares: &[(u32, f64)]) -> BTreeMap<Revision, Weight> {
    shares
        .iter()
        .map(|(it, share)| (Revision(*it), percent(*share)))
        .collect()
}

impl World {
    async fn observe(&self) -> ObservedRoutes {
        self.router.observe(&self.cx, &self.app).await.unwrap()
    }

    async fn ensure(&self, routes: &Routes) {
        self.router
            .ensure(&self.cx, &self.app, routes)
            .await
            .unwrap();
    }

    /// Runs passes, as the loop does after each wake, until the shares are what is asked.
    async fn converge(&self, routes: &Routes, expect: &[(u32, f64)]) {
        let expect = shares(expect);
        let reached = wait::until(WITHIN, "the shares", || async {
            self.ensure(routes).await;
            let seen = self.observe().await.shares;
            if seen == expect {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        });
        reached.await.unwrap();
    }

    /// Sends `count` requests; how many each instance answered. Every one must be answered.
    async fn count(&self, count: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..count {
            let response = self.cx.http.get(self.haproxy.url()).send().await.unwrap();
            assert_eq!(response.status(), 200);
            *counts.entry(response.text().await.unwrap()).or_default() += 1;
        }
        counts
    }

    async fn servers(&self) -> BTreeSet<String> {
        let stat = self.haproxy.command("show stat -1 4 -1").await.unwrap();
        let rows = stat
            .lines()
            .filter(|it| !it.starts_with('#') && !it.is_empty());
        rows.map(|it| it.split(',').nth(1).unwrap().to_owned())
            .collect()
    }

    async fn woken(&mut self) {
        let woken = tokio::time::timeout(WITHIN, self.woken.recv()).await;
        assert_eq!(woken.expect("woken in time"), Some(self.app.clone()));
    }

    fn forget_wakes(&mut self) {
        while self.woken.try_recv().is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_requests_are_shared_as_asked_and_the_second_ensure_sends_nothing() {
    let world = world(&[]).await;
    let (a, b, c) = (shop("r1-1").await, shop("r1-2").await, shop("r2-1").await);
    world
        .converge(&routes(&[(1, 100.0)], &[&a, &b]), &[(1, 100.0)])
        .await;
    for candidate in [5.0, 25.0, 50.0, 100.0, 0.0] {
        let asked = routes(&[(1, 100.0 - candidate), (2, candidate)], &[&a, &b, &c]);
        let expect = [(1, 100.0 - candidate), (2, candidate)];
        let expect: Vec<_> = expect.into_iter().filter(|it| it.1 > 0.0).collect();
        world.converge(&asked, &expect).await;
        assert_eq!(given(&asked), shares(&expect));
        let sent = world.cx.haproxy.commands_sent();
        world.ensure(&asked).await;
        assert_eq!(
            world.cx.haproxy.commands_sent(),
            sent,
            "nothing is sent a second time"
        );
        let counts = world.count(200).await;
        let got = counts.get("r2-1").copied().unwrap_or(0);
        // Round robin is exact up to one request a server.
        assert!(
            got.abs_diff((candidate * 2.0) as usize) <= 3,
            "{candidate} %: {counts:?}"
        );
        if candidate == 0.0 {
            assert_eq!(got, 0, "an abort is exact");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_server_finishes_its_request_and_is_then_deleted() {
    let mut world = world(&[]).await;
    let (a, mut b) = (shop("r1-1").await, shop("r1-2").await);
    // Only b serves, so that the slow request is its.
    world
        .converge(&routes(&[(1, 100.0)], &[&b]), &[(1, 100.0)])
        .await;
    let url = format!("{}/slow", world.haproxy.url());
    let request = tokio::spawn(world.cx.http.get(url).send());
    let address = b.instance.address.clone().unwrap();
    wait::until(WITHIN, "the open request", || async {
        let stat = world.haproxy.command("show stat -1 4 -1").await.unwrap();
        let row = stat
            .lines()
            .find(|it| it.starts_with("shop,r1-2,"))
            .unwrap()
            .to_owned();
        if row.split(',').nth(4) == Some("1") {
            Ok(())
        } else {
            Err(row)
        }
    })
    .await
    .unwrap();
    b.instance.state = InstanceState::Draining;
    let asked = routes(&[(1, 100.0)], &[&a, &b]);
    wait::until(WITHIN, "the drain", || async {
        world.ensure(&asked).await;
        let state = world.haproxy.command("show stat -1 4 -1").await.unwrap();
        if state.contains("DRAIN") {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await
    .unwrap();
    assert_eq!(
        world.count(10).await,
        BTreeMap::from([("r1-1".to_owned(), 10)])
    );
    world.ensure(&asked).await;
    assert!(
        world.observe().await.in_use.contains(&address),
        "an open request is use"
    );
    world.forget_wakes();
    b.slow.add_permits(1);
    assert_eq!(
        request.await.unwrap().unwrap().text().await.unwrap(),
        "r1-2"
    );
    world.woken().await;
    wait::until(WITHIN, "the deletion", || async {
        world.ensure(&asked).await;
        let servers = world.servers().await;
        if servers.contains("r1-2") {
            Err(format!("{servers:?}"))
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    assert!(!world.observe().await.in_use.contains(&address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_follows_its_instance_to_another_address() {
    let world = world(&[]).await;
    let (a, b) = (shop("r1-1").await, shop("r1-2").await);
    world
        .converge(&routes(&[(1, 100.0)], &[&a, &b]), &[(1, 100.0)])
        .await;
    let moved = shop("r1-2").await;
    let asked = routes(&[(1, 100.0)], &[&a, &moved]);
    drop(b);
    wait::until(WITHIN, "both to serve", || async {
        world.ensure(&asked).await;
        let counts = world.count(10).await;
        if counts.len() == 2 {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await
    .unwrap();
    let seen = world.observe().await;
    assert!(
        seen.in_use
            .contains(&moved.instance.address.clone().unwrap()),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_server_is_reported_and_never_touched() {
    let (web, a) = (shop("web").await, shop("r1-1").await);
    let address = web.instance.address.clone().unwrap().parse().unwrap();
    let foreign = real::Server {
        name: "web".to_owned(),
        address,
        weight: 7,
    };
    let world = world(&[foreign]).await;
    world
        .converge(&routes(&[(1, 100.0)], &[&a]), &[(1, 100.0)])
        .await;
    assert_eq!(world.observe().await.foreign, ["web"]);
    let nothing = Routes::default();
    world.ensure(&nothing).await;
    assert_eq!(world.servers().await, BTreeSet::from(["web".to_owned()]));
    let weight = world.haproxy.command("get weight shop/web").await.unwrap();
    assert!(weight.starts_with("7 "), "{weight}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_the_servers_wakes_the_app_and_ensure_brings_them_back() {
    let mut world = world(&[]).await;
    let (a, b) = (shop("r1-1").await, shop("r2-1").await);
    let asked = routes(&[(1, 75.0), (2, 25.0)], &[&a, &b]);
    world.converge(&asked, &[(1, 75.0), (2, 25.0)]).await;
    // The watcher's own connection must be up before the crash that it shall see.
    wait::until(WITHIN, "the watcher", || async {
        let info = world.haproxy.command("show sess").await.unwrap();
        // One of the two is this question's own.
        if info.matches("fe=GLOBAL").count() >= 2 {
            Ok(())
        } else {
            Err(info)
        }
    })
    .await
    .unwrap();
    world.forget_wakes();
    world.haproxy.kill9().unwrap();
    world.woken().await;
    let gone = world
        .router
        .observe(&world.cx, &world.app)
        .await
        .unwrap_err();
    assert!(
        gone.transient && gone.to_string().contains("is HAProxy running"),
        "{gone}"
    );
    world.forget_wakes();
    world.haproxy.restart().await.unwrap();
    world.woken().await;
    assert_eq!(
        world.observe().await.shares,
        BTreeMap::new(),
        "what is seen, not what was written"
    );
    world.ensure(&asked).await;
    assert_eq!(
        world.observe().await.shares,
        shares(&[(1, 75.0), (2, 25.0)]),
        "in one pass"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_wakes_the_app_and_the_old_process_can_end() {
    let mut world = world(&[]).await;
    let a = shop("r1-1").await;
    let asked = routes(&[(1, 100.0)], &[&a]);
    world.converge(&asked, &[(1, 100.0)]).await;
    wait::until(WITHIN, "the watcher", || async {
        let info = world.haproxy.command("show sess").await.unwrap();
        if info.matches("fe=GLOBAL").count() >= 2 {
            Ok(())
        } else {
            Err(info)
        }
    })
    .await
    .unwrap();
    world.forget_wakes();
    let old = world.haproxy.pid().unwrap().to_string();
    let mut reload = tokio::process::Command::new("haproxy");
    reload
        .args(["-db", "-f"])
        .arg(world.haproxy.config_path())
        .args(["-sf", &old]);
    let mut new = reload.kill_on_drop(true).spawn().unwrap();
    world.woken().await;
    assert_eq!(world.observe().await.shares, BTreeMap::new());
    world.ensure(&asked).await;
    assert_eq!(world.observe().await.shares, shares(&[(1, 100.0)]));
    // Nobody has waited for it yet, so it stays as a zombie.
    wait::until_now(WITHIN, "the old process to end", || {
        let stat = std::fs::read_to_string(format!("/proc/{old}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            Ok(())
        } else {
            Err(stat)
        }
    })
    .await
    .unwrap();
    new.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_config_file_a_restarted_haproxy_comes_back_by_itself() {
    let mut world = world(&[]).await;
    world.router.config_file = Some(world.haproxy.config_path().to_owned());
    let (a, b) = (shop("r1-1").await, shop("r2-1").await);
    let asked = routes(&[(1, 75.0), (2, 25.0)], &[&a, &b]);
    world.converge(&asked, &[(1, 75.0), (2, 25.0)]).await;
    world.haproxy.restart().await.unwrap();
    assert_eq!(
        world.observe().await.shares,
        shares(&[(1, 75.0), (2, 25.0)])
    );
    assert_eq!(world.count(20).await["r2-1"], 5);
    // Servers that come from the file can be removed as well.
    wait::until(WITHIN, "only the candidate", || async {
        world.ensure(&routes(&[(2, 100.0)], &[&b])).await;
        let servers = world.servers().await;
        if servers.len() == 1 {
            Ok(())
        } else {
            Err(format!("{servers:?}"))
        }
    })
    .await
    .unwrap();
    let text = std::fs::read_to_string(world.haproxy.config_path()).unwrap();
    assert!(
        !text.contains("server r1-1") && text.contains("server r2-1"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_loses_its_share_and_the_app_is_woken() {
    let mut world = world(&[]).await;
    let (a, b) = (shop("r1-1").await, shop("r2-1").await);
    let asked = routes(&[(1, 50.0), (2, 50.0)], &[&a, &b]);
    world.converge(&asked, &[(1, 50.0), (2, 50.0)]).await;
    world.forget_wakes();
    let port = b
        .instance
        .address
        .clone()
        .unwrap()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    drop(b);
    world.woken().await;
    wait::until(WITHIN, "the share to go", || async {
        let seen = world.observe().await.shares;
        if seen == shares(&[(1, 100.0)]) {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
    .unwrap();
    // Everything to the dead one: refused until it is back, and stable keeps its traffic.
    let mut dead = asked.clone();
    dead.weights = shares(&[(2, 100.0)]);
    world.ensure(&dead).await;
    assert_eq!(world.observe().await.shares, shares(&[(1, 100.0)]));
    assert_eq!(world.count(5).await["r1-1"], 5);
    let back = shop_at("r2-1", port).await;
    world.converge(&dead, &[(2, 100.0)]).await;
    assert_eq!(world.count(5).await["r2-1"], 5);
    drop(back);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_said_with_the_way_out() {
    let world = world(&[]).await;
    let a = shop("r1-1").await;
    let asked = routes(&[(1, 100.0)], &[&a]);
    let refused = |router: HaProxy, asked: Routes| {
        let (cx, app) = (world.cx.clone(), world.app.clone());
        async move { router.ensure(&cx, &app, &asked).await.unwrap_err() }
    };
    let other = HaProxy {
        backend: "shoop".to_owned(),
        ..world.router.clone()
    };
    let error = refused(other, asked.clone()).await;
    assert!(
        !error.transient && error.to_string().contains("it has shop"),
        "{error}"
    );

    let away = HaProxy {
        socket: "/nowhere/haproxy.sock".into(),
        ..world.router.clone()
    };
    let error = refused(away, asked.clone()).await;
    assert!(
        error.transient && error.to_string().contains("level admin"),
        "{error}"
    );

    let mut evil = asked.clone();
    evil.instances.get_mut(&Revision(1)).unwrap()[0].name =
        "r1-1;shutdown frontend shop".to_owned();
    let error = refused(world.router.clone(), evil).await;
    assert!(
        !error.transient && error.to_string().contains("its name must be"),
        "{error}"
    );

    let config = world.haproxy.config_path().with_file_name("empty.cfg");
    std::fs::write(&config, "backend shop\n").unwrap();
    let unmarked = HaProxy {
        config_file: Some(config),
        ..world.router.clone()
    };
    let error = refused(unmarked, asked.clone()).await;
    assert!(
        !error.transient && error.to_string().contains("# sluice servers begin"),
        "{error}"
    );
    assert_eq!(
        world.observe().await.shares,
        shares(&[(1, 100.0)]),
        "the traffic moved all the same"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_balance_algorithm_is_refused_by_name() {
    let mut world = world(&[]).await;
    let text = std::fs::read_to_string(world.haproxy.config_path()).unwrap();
    let text = text.replace("balance roundrobin", "balance static-rr");
    std::fs::write(world.haproxy.config_path(), text).unwrap();
    world.haproxy.restart().await.unwrap();
    let a = shop("r1-1").await;
    let asked = routes(&[(1, 100.0)], &[&a]);
    let error = world
        .router
        .ensure(&world.cx, &world.app, &asked)
        .await
        .unwrap_err();
    assert!(
        !error.transient && error.to_string().contains("roundrobin"),
        "{error}"
    );
}

#[test]
fn settings_are_read_with_every_problem() {
    let good = serde_json::json!({ "socket": "/run/haproxy/sluice.sock", "backend": "shop" });
    let read = rollout::document::read(&good, HaProxy::read).unwrap();
    assert!(read.check && read.config_file.is_none());
    let json = serde_json::to_value(&read).unwrap();
    assert_eq!(serde_json::from_value::<HaProxy>(json).unwrap(), read);
    let bad = serde_json::json!({
        "socket": "haproxy.sock", "backend": "a;b", "check": "yes", "configfile": "/x", "configFile": "x"
    });
    let problems = rollout::document::read(&bad, HaProxy::read).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert_eq!(haproxy::tolerance(), percent(0.5));
}
