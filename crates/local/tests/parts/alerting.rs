//! Prometheus scrapes, Alertmanager tells a hook.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use local::alertmanager::{self, Alertmanager};
use local::haproxy::{Config, HaProxy};
use local::load::{self, Load};
use local::prometheus::{Options, Prometheus, Targets};
use local::wait;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{SOON, Shop};

/// A hook like Sluice's: hands over the bearer token and the payload.
async fn hook() -> (u16, mpsc::UnboundedReceiver<(String, Value)>) {
    let (notify, notified) = mpsc::unbounded_channel();
    let take = async move |headers: HeaderMap, Json(body): Json<Value>| {
        let token = headers["authorization"].to_str().unwrap().to_owned();
        notify.send((token, body)).unwrap();
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let routes = Router::new().route("/api/v1/hooks/alertmanager", post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (port, notified)
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_reaches_the_hook_with_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let (hook_port, mut notified) = hook().await;
    let options = alertmanager::Options {
        port: None,
        hook_port,
        hook_token: "first".to_owned(),
    };
    let mut alertmanager = Alertmanager::start(dir.path(), options).await.unwrap();
    let alert = labels(&[
        ("alertname", "TooManyErrors"),
        ("app", "shop"),
        ("severity", "critical"),
    ]);
    let began = Instant::now();
    alertmanager
        .fire(&alert, &labels(&[("summary", "too many")]))
        .await
        .unwrap();
    let (token, body) = tokio::time::timeout(SOON, notified.recv())
        .await
        .unwrap()
        .unwrap();
    println!("alert to hook: {:?}", began.elapsed());
    assert_eq!(
        (token.as_str(), body["version"].as_str()),
        ("Bearer first", Some("4"))
    );
    assert_eq!(
        (
            body["alerts"][0]["status"].as_str(),
            body["alerts"][0]["labels"]["app"].as_str()
        ),
        (Some("firing"), Some("shop"))
    );

    alertmanager.set_token("second").unwrap();
    alertmanager.resolve(&alert).await.unwrap();
    let (token, body) = tokio::time::timeout(SOON, notified.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (token.as_str(), body["status"].as_str()),
        ("Bearer second", Some("resolved"))
    );

    let pid = alertmanager.pid();
    alertmanager.restart().await.unwrap();
    assert_ne!(alertmanager.pid(), pid);
    let error = alertmanager
        .fire(&BTreeMap::new(), &BTreeMap::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("400"), "{error:#}");
}

/// One instance to scrape.
fn target(shop: &Shop, revision: &str) -> Targets {
    Targets {
        targets: vec![format!("127.0.0.1:{}", shop.port)],
        labels: labels(&[("revision", revision)]),
    }
}

/// Prometheus that scrapes HAProxy twice a second and sends its alerts on.
async fn watching(dir: &Path, haproxy: &HaProxy, alertmanager: &Alertmanager) -> Prometheus {
    let options = Options {
        port: None,
        scrape_interval: Duration::from_millis(500),
        haproxy_port: haproxy.exporter_port(),
        alertmanager_port: Some(alertmanager.port()),
        targets: vec![],
    };
    let began = Instant::now();
    let prometheus = Prometheus::start(dir, options).await.unwrap();
    println!("start of Prometheus: {:?}", began.elapsed());
    prometheus
}

/// Waits until about half of r2's answers are errors, by its own metrics.
async fn errors_are_seen(prometheus: &Prometheus) {
    let query = r#"sum(rate(http_requests_total{app="shop",revision="r2",code="500"}[10s]))
        / sum(rate(http_requests_total{app="shop",revision="r2"}[10s]))"#;
    wait::until(SOON, "a share of errors", || async {
        let ratio = prometheus
            .number(query)
            .await
            .map_err(|error| format!("{error:#}"))?;
        ratio
            .filter(|ratio| (0.4..0.6).contains(ratio))
            .ok_or_else(|| format!("{ratio:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_behind_haproxy_become_numbers_and_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let (hook_port, mut notified) = hook().await;
    let (good, bad) = (
        Shop::version("v1", 0.0).await,
        Shop::version("v2", 0.5).await,
    );
    let config = Config {
        servers: vec![good.server("r1-1", 100), bad.server("r2-1", 100)],
        ..Config::default()
    };
    let haproxy = HaProxy::start(&dir.path().join("h"), config).await.unwrap();
    let options = alertmanager::Options {
        port: None,
        hook_port,
        hook_token: "t".to_owned(),
    };
    let alertmanager = Alertmanager::start(&dir.path().join("a"), options)
        .await
        .unwrap();
    let began = Instant::now();
    let mut prometheus = watching(&dir.path().join("p"), &haproxy, &alertmanager).await;
    prometheus
        .set_targets("shop", &[target(&good, "r1"), target(&bad, "r2")])
        .unwrap();
    let mut load = Load::start(
        &haproxy.url(),
        load::Options {
            rate_per_second: 50,
            ..load::Options::default()
        },
    )
    .unwrap();
    assert_eq!(prometheus.number("vector(1) > 2").await.unwrap(), None);
    errors_are_seen(&prometheus).await;
    let error = prometheus.query("sum(").await.unwrap_err();
    assert!(error.to_string().contains("bad_data"), "{error:#}");

    // The example's rule: from HAProxy's counters, through Alertmanager, to the hook.
    let (token, body) = tokio::time::timeout(SOON * 2, notified.recv())
        .await
        .unwrap()
        .unwrap();
    println!("first request to alert at the hook: {:?}", began.elapsed());
    let label = |name: &str| {
        body["alerts"][0]["labels"][name]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (
            token.as_str(),
            label("alertname").as_str(),
            label("revision").as_str()
        ),
        ("Bearer t", "RevisionAnswersErrors", "r2")
    );
    prometheus.restart().await.unwrap();
    errors_are_seen(&prometheus).await;
    assert!(!load.is_finished());
    assert_eq!(load.stop().await.totals.transport_errors, 0);
}
