//! HAProxy, the load and the shop together: three accounts of the same requests.

use std::time::{Duration, Instant};

use local::haproxy::{Config, HaProxy, NO_SERVER, Request, RequestLog, Server, tally};
use local::load::{Load, Options};
use local::wait;

use crate::{SOON, Shop};

async fn up(haproxy: &HaProxy, servers: usize) {
    wait::until(SOON, "the servers to be up", || async {
        let totals = haproxy
            .server_totals()
            .await
            .map_err(|error| format!("{error:#}"))?;
        let up = totals.iter().filter(|server| server.status == "UP").count();
        if up == servers {
            Ok(())
        } else {
            Err(format!("{totals:?}"))
        }
    })
    .await
    .unwrap();
}

/// HAProxy logs a request after its answer is out, so the last lines may be a
/// moment behind the load.
async fn logged(log: &mut RequestLog, requests: &mut Vec<Request>, count: usize) {
    wait::until_now(SOON, "the request log", || {
        log.read(|request| requests.push(request))
            .map_err(|error| format!("{error:#}"))?;
        if requests.len() >= count {
            Ok(())
        } else {
            Err(format!("{} requests", requests.len()))
        }
    })
    .await
    .unwrap();
}

fn load(rate_per_second: u32, max_requests: u64) -> Options {
    Options {
        rate_per_second,
        max_requests,
        max_duration: SOON,
        concurrency: 8,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_the_log_and_the_load_count_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (
        Shop::version("v1", 0.0).await,
        Shop::version("v2", 0.2).await,
    );
    let config = Config {
        servers: vec![good.server("r1-1", 75), bad.server("r2-1", 25)],
        ..Config::default()
    };
    let began = Instant::now();
    let haproxy = HaProxy::start(dir.path(), config).await.unwrap();
    println!("start of HAProxy: {:?}", began.elapsed());
    up(&haproxy, 2).await;
    let log = Load::start(&haproxy.url(), load(400, 400))
        .unwrap()
        .finish()
        .await;
    assert_eq!(log.transport_errors, Vec::<String>::new());
    let totals = log.totals;
    assert_eq!(
        (totals.total, totals.late, totals.unversioned.requests),
        (400, 0, 0)
    );
    // A thread of HAProxy keeps its place in the round; hence not exactly 100.
    let bad_requests = totals.versions["v2"].requests;
    assert!(bad_requests.abs_diff(100) <= 4, "{totals:?}");
    assert_eq!(totals.versions["v2"].errors, bad_requests / 5);
    assert_eq!(totals.versions["v1"].errors, 0);

    let mut requests = Vec::new();
    logged(&mut haproxy.request_log(), &mut requests, 400).await;
    let tallies = tally(&requests);
    let rows = haproxy.server_totals().await.unwrap();
    for (server, version) in [("r1-1", "v1"), ("r2-1", "v2")] {
        let row = rows.iter().find(|row| row.name == server).unwrap();
        let counts = totals.versions[version];
        assert_eq!((row.requests, row.errors), (counts.requests, counts.errors));
        let tally = tallies[server];
        assert_eq!(
            (tally.requests, tally.errors, tally.own_errors),
            (counts.requests, counts.errors, 0)
        );
    }
    let errors = haproxy.frontend_errors().await.unwrap();
    assert_eq!(
        (errors.own_5xx, errors.own_4xx, errors.connection_errors),
        (0, 0, 0)
    );
    assert!(
        requests
            .iter()
            .all(|request| request.took < SOON && request.began() <= request.at)
    );
    let first = log.records.iter().map(|record| record.at).min().unwrap();
    let logged = requests
        .iter()
        .map(local::haproxy::Request::began)
        .min()
        .unwrap();
    assert!(
        logged.duration_since(first).abs() < jiff::SignedDuration::from_secs(2),
        "{logged} {first}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_haproxy_itself_are_told_from_the_servers() {
    let dir = tempfile::tempdir().unwrap();
    let mut haproxy = HaProxy::start(dir.path(), Config::default()).await.unwrap();
    let log = Load::start(&haproxy.url(), load(200, 20))
        .unwrap()
        .finish()
        .await;
    assert_eq!(
        (log.totals.unversioned.errors, log.totals.errors()),
        (20, 20)
    );
    assert_eq!(haproxy.frontend_errors().await.unwrap().own_5xx, 20);
    let mut follow = haproxy.request_log();
    let mut seen = Vec::new();
    logged(&mut follow, &mut seen, 20).await;
    assert_eq!(
        (
            tally(&seen)[NO_SERVER].own_errors,
            tally(&seen)[NO_SERVER].errors
        ),
        (20, 0)
    );

    // A restart forgets the counters; the log goes on.
    haproxy.restart().await.unwrap();
    assert_eq!(haproxy.frontend_errors().await.unwrap().own_5xx, 0);
    Load::start(&haproxy.url(), load(200, 5))
        .unwrap()
        .finish()
        .await;
    seen.clear();
    logged(&mut follow, &mut seen, 5).await;
    assert_eq!((seen.len(), haproxy.requests().unwrap().len()), (5, 25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_forgets_what_was_set_at_run_time() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        Shop::version("v1", 0.0).await,
        Shop::version("v2", 0.0).await,
    );
    let config = Config {
        servers: vec![one.server("r1-1", 100)],
        ..Config::default()
    };
    let mut haproxy = HaProxy::start(dir.path(), config).await.unwrap();
    let port = two.port;
    assert_eq!(
        haproxy
            .command("set weight shop/r1-1 10")
            .await
            .unwrap()
            .trim(),
        ""
    );
    let added = haproxy
        .command(&format!(
            "add server shop/r2-1 127.0.0.1:{port} weight 90 check"
        ))
        .await
        .unwrap();
    assert!(added.contains("New server registered."), "{added}");
    haproxy
        .command("enable health shop/r2-1; enable server shop/r2-1")
        .await
        .unwrap();
    up(&haproxy, 2).await;
    assert_eq!(haproxy.server_totals().await.unwrap()[0].weight, 10);
    let killed = haproxy.pid().unwrap();
    haproxy.restart().await.unwrap();
    assert_ne!(haproxy.pid().unwrap(), killed);
    let totals = haproxy.server_totals().await.unwrap();
    assert_eq!(
        totals
            .iter()
            .map(|row| (row.name.as_str(), row.weight))
            .collect::<Vec<_>>(),
        [("r1-1", 100)]
    );
}

/// What the example's `option redispatch 1` promises: an instance that dies
/// without notice costs no answer where another one is up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_instance_costs_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let alive = Shop::version("v1", 0.0).await;
    let nobody = Server {
        name: "r2-1".to_owned(),
        address: ([127, 0, 0, 1], local::ports::free_port().unwrap()).into(),
        weight: 100,
    };
    let config = Config {
        servers: vec![alive.server("r1-1", 100), nobody],
        ..Config::default()
    };
    let haproxy = HaProxy::start(dir.path(), config).await.unwrap();
    // At once: servers begin as up, before the checks find out.
    let log = Load::start(&haproxy.url(), load(100, 50))
        .unwrap()
        .finish()
        .await;
    assert_eq!(
        (log.totals.errors(), log.totals.versions["v1"].requests),
        (0, 50),
        "{:?}",
        log.totals
    );
    assert!(
        haproxy
            .requests()
            .unwrap()
            .iter()
            .any(|request| request.retries.starts_with('+'))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_keeps_its_limits() {
    let shop = Shop::version("v1", 0.0).await;
    let began = Instant::now();
    let load_until = |max_requests, max_duration| {
        let options = Options {
            rate_per_second: 100,
            max_requests,
            max_duration,
            concurrency: 4,
            ..Options::default()
        };
        Load::start(&shop.url("/checkout"), options).unwrap()
    };
    let log = load_until(30, SOON).finish().await;
    assert_eq!(
        (log.records.len(), log.totals.total, log.totals.errors()),
        (30, 30, 0)
    );
    // The 30th of 100 a second is due after 290 ms.
    assert!(
        began.elapsed() >= Duration::from_millis(290) && began.elapsed() < SOON / 2,
        "{:?}",
        began.elapsed()
    );
    let log = load_until(10_000, Duration::from_millis(100))
        .finish()
        .await;
    assert!((1..=10).contains(&log.totals.total), "{:?}", log.totals);

    let mut running = load_until(10_000, SOON);
    wait::until_now(SOON, "five answers", || {
        let seen = running.snapshot();
        if seen.total >= 5 {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
    .unwrap();
    assert!(!running.is_finished());
    let log = running.stop().await;
    assert!(
        log.last_of("v1").is_some()
            && log.latency(0.99).unwrap() < SOON
            && log.totals.total < 1_000
    );

    let nobody = format!("http://127.0.0.1:{}", local::ports::free_port().unwrap());
    let log = Load::start(&nobody, load(100, 30)).unwrap().finish().await;
    assert_eq!(
        (log.totals.transport_errors, log.transport_errors.len()),
        (30, 20)
    );
    for (rate, concurrency) in [(0, 1), (100_000, 1), (1, 0), (1, 100_000)] {
        let options = Options {
            rate_per_second: rate,
            concurrency,
            ..Options::default()
        };
        assert!(Load::start(&nobody, options).is_err());
    }
}
