//! The template for HAProxy against a real HAProxy that a real Prometheus scrapes: what it counts is
//! what users were answered.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests; clippy.toml lets only the test functions themselves do this"
)]

#[expect(dead_code, reason = "HAProxy asks the servers, not this test")]
mod support;

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use drivers::{
    Cx, MetricSource,
    metrics::{
        RangeQuery, Selector,
        prometheus::Prometheus,
        template::{Arm, Template},
    },
};
use jiff::SignedDuration;
use local::{haproxy, prometheus, wait};
use rollout::{Revision, Role};
use support::{Server, cx, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::task::AbortOnDropHandle;

const WITHIN: Duration = Duration::from_secs(60);
/// Requests of a user; every third goes to each server.
const REQUESTS: usize = 60;

/// An instance that is ready and answers every request with `status`.
async fn answering(status: StatusCode) -> Server {
    let router = Router::new()
        .route("/health", get(|| async { "ok" }))
        .fallback(move || async move { status });
    serve(router).await
}

/// An instance that is ready and breaks every request off.
async fn breaking() -> (std::net::SocketAddr, AbortOnDropHandle<()>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or_default();
            if request[..read].starts_with(b"GET /health ") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                drop(stream.write_all(answer).await);
            }
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(serve)))
}

/// What the counters of one revision say at last, by metric and server.
struct Counted {
    values: BTreeMap<(String, String), f64>,
}

impl Counted {
    async fn read(source: &Prometheus, cx: &Cx, selector: Selector) -> Self {
        let query = RangeQuery {
            selector: selector.to_string(),
            lookback: WITHIN,
            at: None,
        };
        let mut values = BTreeMap::new();
        for series in source.range(cx, &query).await.unwrap().series.iter() {
            assert_eq!(series.labels["proxy"], haproxy::PROXY);
            let key = (
                series.labels["__name__"].clone(),
                series.labels["server"].clone(),
            );
            *values.entry(key).or_default() += series.samples.last().unwrap().1;
        }
        Self { values }
    }

    fn sum(&self, is: impl Fn(&str, &str) -> bool) -> f64 {
        let kept = self
            .values
            .iter()
            .filter(|((metric, server), _)| is(metric, server));
        kept.map(|(_, value)| value).sum()
    }
}

fn arm(role: Role, revision: u32) -> Arm<'static> {
    Arm {
        role,
        revision: Revision(revision),
        instances: &[],
    }
}

/// How often users were answered with which status. Each comes on a connection of its own: HAProxy
/// closes one that has served before without an answer, for the client to try again.
async fn ask(haproxy: &haproxy::HaProxy) -> BTreeMap<u16, usize> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0);
    let client = client.build().unwrap();
    let mut answers = BTreeMap::new();
    for _ in 0..REQUESTS {
        let answer = client.get(haproxy.url()).send().await.unwrap();
        *answers.entry(answer.status().as_u16()).or_default() += 1;
    }
    answers
}

/// HAProxy with one good instance of r1, and of r12 one that fails and one that breaks off; and the
/// Prometheus that scrapes it.
struct Parts {
    haproxy: haproxy::HaProxy,
    prometheus: prometheus::Prometheus,
    _instances: [Server; 2],
    _breaking: AbortOnDropHandle<()>,
    _directory: tempfile::TempDir,
}

async fn parts() -> Parts {
    let directory = tempfile::tempdir().unwrap();
    let good = answering(StatusCode::OK).await;
    let failing = answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let (broken, breaking) = breaking().await;
    let servers = [
        ("r1-1", good.address),
        ("r12-1", failing.address),
        ("r12-2", broken),
    ];
    let servers = servers.map(|(name, address)| haproxy::Server {
        name: name.to_owned(),
        address,
        weight: 100,
    });
    let config = haproxy::Config {
        servers: servers.to_vec(),
        ..haproxy::Config::default()
    };
    let haproxy = directory.path().join("haproxy");
    let haproxy = haproxy::HaProxy::start(&haproxy, config).await.unwrap();
    let options = prometheus::Options {
        port: None,
        scrape_interval: Duration::from_millis(200),
        haproxy_port: haproxy.exporter_port(),
        alertmanager_port: None,
        targets: Vec::new(),
    };
    let prometheus = directory.path().join("prometheus");
    let prometheus = prometheus::Prometheus::start(&prometheus, options)
        .await
        .unwrap();
    Parts {
        haproxy,
        prometheus,
        _instances: [good, failing],
        _breaking: breaking,
        _directory: directory,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxys_counters_are_what_users_were_answered() {
    let (cx, _files) = cx();
    let parts = parts().await;
    let source = Prometheus {
        url: parts.prometheus.url(),
        timeout: SignedDuration::from_secs(20),
        bearer_token_file: None,
        stale_after: SignedDuration::from_mins(1),
        ca_file: None,
    };
    let answers = ask(&parts.haproxy).await;
    let count = |status: u16| answers.get(&status).map_or(0.0, |it| *it as f64);
    assert!(
        count(200) > 0.0 && count(500) > 0.0 && count(502) > 0.0,
        "{answers:?}"
    );

    let backend = BTreeMap::from([("backend".to_owned(), haproxy::PROXY.to_owned())]);
    let counters = Template::Haproxy.counters(&backend).unwrap();
    let read = |which: &Selector, arm: Arm<'static>| {
        let selector = counters.of(which, &arm);
        Counted::read(&source, &cx, selector)
    };
    let (stable, candidate) = (arm(Role::Stable, 1), arm(Role::Candidate, 12));
    let scraped = || async {
        let of_stable = read(&counters.requests, stable).await.sum(|_, _| true);
        let of_candidate = read(&counters.requests, candidate).await.sum(|_, _| true);
        let least = count(500) + count(502);
        match of_stable == count(200) && of_candidate >= least {
            true => Ok(()),
            false => Err(format!("{of_stable} and {of_candidate} of {answers:?}")),
        }
    };
    wait::until(WITHIN, "all requests to be scraped", scraped)
        .await
        .unwrap();
    let of_stable = read(&counters.errors, stable).await;
    assert_eq!(of_stable.sum(|_, _| true), 0.0);

    let errors = read(&counters.errors, candidate).await;
    assert_eq!(errors.sum(|_, server| server == "r12-1"), count(500));
    // The 502 are HAProxy's own answers: no server's responses, yet this server's failures.
    let is_response = |metric: &str| metric == "haproxy_server_http_responses_total";
    let responses = errors.sum(|it, server| server == "r12-2" && is_response(it));
    assert_eq!(responses, 0.0);
    let broken = errors.sum(|_, server| server == "r12-2");
    assert!(
        (count(502)..=2.0 * count(502)).contains(&broken),
        "{broken} of {answers:?}"
    );
    let requests = read(&counters.requests, candidate).await;
    assert_eq!(requests.sum(|_, _| true), count(500) + broken);
}
