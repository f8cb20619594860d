//! Traffic of users to pods, through the Gateway, while it is shifted and pods are replaced.

use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::Version;
use e2e::real_cluster::{Namespace, SOON};
use jiff::Timestamp;
use local::load::{self, Load, Log, Record};
use local::node::gateway;
use local::wait;

/// Requests a second.
const RATE: u32 = 200;
/// Requests between two changes.
const REQUESTS: u64 = 600;

fn load(namespace: &Namespace) -> anyhow::Result<Load> {
    let options = load::Options {
        rate_per_second: RATE,
        max_requests: 50_000,
        max_duration: Duration::from_secs(150),
        concurrency: 8,
        host: Some(namespace.host()),
    };
    Load::start(gateway::URL, options)
}

/// Waits until users get answers, and says how long that took from nothing.
async fn open(namespace: &Namespace) -> anyhow::Result<()> {
    namespace.open().await?;
    let cluster = namespace.cluster;
    let (ready, open) = (cluster.started_in, cluster.began.elapsed());
    println!("the cluster was ready after {ready:?}, users got answers after {open:?}");
    Ok(())
}

/// Two versions, each with two pods and a Service, and a route that gives all to the first.
async fn two_versions(namespace: &Namespace) -> anyhow::Result<()> {
    for name in ["v1", "v2"] {
        let began = Instant::now();
        let image = namespace.cluster.image(&patient(name)).await?;
        println!("the image of {name} was there after {:?}", began.elapsed());
        let deployment = namespace.deployment(name, &image, 2);
        namespace
            .apply(&[deployment, namespace.service(name)])
            .await?;
    }
    let route = namespace.route(&[("v1", 100), ("v2", 0)]);
    namespace.apply(&[route]).await?;
    namespace.rolled_out("v1").await?;
    namespace.rolled_out("v2").await?;
    open(namespace).await
}

/// A version that serves on while Envoy learns that it is leaving.
fn patient(name: &'static str) -> Version {
    Version {
        name,
        flags: vec!["--grace".to_owned(), "2s".to_owned()],
    }
}

/// Waits for this many requests more.
async fn served(load: &Load, more: u64) -> anyhow::Result<()> {
    let from = load.snapshot().total;
    wait::until_now(SOON, "more requests", || match load.snapshot().total {
        total if total >= from + more => Ok(()),
        total => Err(total),
    })
    .await?;
    Ok(())
}

/// A time with the same weights.
struct Span {
    /// The share of v2, 0 to 1.
    wanted: f64,
    /// When the weights were written.
    applied: Timestamp,
    /// When they were in use for sure.
    from: Timestamp,
    /// When others were written.
    to: Timestamp,
}

/// The share of a version among the requests of a span.
fn share(log: &Log, version: &str, span: &Span) -> f64 {
    let (mut all, mut its) = (0.0_f64, 0.0_f64);
    for record in log.between(span.from, span.to) {
        all += 1.0;
        its += f64::from(u8::from(record.version.as_deref() == Some(version)));
    }
    its / all
}

fn nobody_was_hurt(log: &Log) -> anyhow::Result<()> {
    ensure!(
        log.totals.errors() == 0 && log.totals.unversioned.requests == 0,
        "{:?} {:?}",
        log.totals,
        log.transport_errors
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_of_a_route_move_the_traffic_and_no_request_fails() -> anyhow::Result<()> {
    let namespace = Namespace::new("weights").await?;
    two_versions(&namespace).await?;
    let load = load(&namespace)?;
    let mut spans = Vec::new();
    for (v1, v2) in [(100, 0), (90, 10), (50, 50), (0, 100)] {
        let applied = Timestamp::now();
        let route = namespace.route(&[("v1", v1), ("v2", v2)]);
        namespace.apply(&[route]).await?;
        // Envoy has the new weights some milliseconds after the API server has them.
        served(&load, u64::from(RATE)).await?;
        let from = Timestamp::now();
        served(&load, REQUESTS).await?;
        spans.push(Span {
            wanted: f64::from(v2) / 100.0,
            applied,
            from,
            to: Timestamp::now(),
        });
    }
    let log = load.stop().await;
    nobody_was_hurt(&log)?;
    for span in &spans {
        let (wanted, got) = (span.wanted, share(&log, "v2", span));
        // Envoy draws by chance: four standard deviations of this many draws.
        let slack = 4.0 * (wanted * (1.0 - wanted) / REQUESTS as f64).sqrt();
        ensure!(
            (got - wanted).abs() <= slack,
            "v2 got {got} of the requests instead of {wanted} ± {slack}"
        );
    }
    report(&log, &spans);
    Ok(())
}

/// Figures for people; they hang on the machine and its load.
fn report(log: &Log, spans: &[Span]) {
    for span in spans {
        let records: Vec<_> = log.between(span.applied, span.to).collect();
        let of = |version: &str| {
            let its = |it: &&&Record| it.version.as_deref() == Some(version);
            let first = records.iter().find(its);
            let last = records.iter().rev().find(its);
            [first, last].map(|it| it.map(|it| it.at.duration_since(span.applied)))
        };
        println!(
            "{}: v2 got {:.3}; first of v2 after {:?}, last of v1 after {:?}",
            span.wanted,
            share(log, "v2", span),
            of("v2")[0],
            of("v1")[1],
        );
    }
    println!("{:?}, p99 {:?}", log.totals, log.latency(0.99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_of_pods_loses_no_request() -> anyhow::Result<()> {
    let namespace = Namespace::new("rolling").await?;
    let image = namespace.cluster.image(&patient("v1")).await?;
    let deployment = namespace.deployment("shop", &image, 2);
    let route = namespace.route(&[("shop", 1)]);
    namespace
        .apply(&[deployment, namespace.service("shop"), route])
        .await?;
    namespace.rolled_out("shop").await?;
    open(&namespace).await?;
    let load = load(&namespace)?;
    served(&load, REQUESTS).await?;
    let image = namespace.cluster.image(&patient("v2")).await?;
    let deployment = namespace.deployment("shop", &image, 2);
    namespace.apply(&[deployment]).await?;
    namespace.rolled_out("shop").await?;
    served(&load, REQUESTS).await?;
    let log = load.stop().await;
    nobody_was_hurt(&log)?;
    let last = log.records.last().and_then(|it| it.version.as_deref());
    ensure!(last == Some("v2"), "{last:?} serves at the end");
    Ok(())
}
