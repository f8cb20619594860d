//! What one look at a large service costs: an answer of 10,000 series with 8 samples each, from the
//! question until the samples are there, over HTTP on this machine. Prints figures.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark measures time and may panic"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use axum::{Router, routing::post};
use drivers::{
    MetricSource,
    metrics::{RangeQuery, prometheus::Prometheus},
};
use jiff::{SignedDuration, Timestamp};

/// Pods times statuses, methods and paths of a large service.
const SERIES: usize = 10_000;
/// Two minutes, scraped every 15 s.
const SAMPLES: i64 = 8;
/// Looks; the fastest fifth counts, because the machine does other things too.
const ROUNDS: usize = 50;

/// Labels as Kubernetes' service discovery makes them.
fn body(until: i64) -> String {
    let mut body = r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned();
    for number in 0..SERIES {
        let comma = if number == 0 { "" } else { "," };
        let (pod, code) = (number / 20, 200 + number % 20);
        write!(
            body,
            r#"{comma}{{"metric":{{"__name__":"http_requests_total","code":"{code}","instance":"10.0.{pod}.7:8080","job":"checkout","method":"GET","namespace":"shop","pod":"checkout-7c9d8b6f5-{pod:05}","service":"checkout"}},"values":["#
        )
        .unwrap();
        for sample in 0..SAMPLES {
            let comma = if sample == 0 { "" } else { "," };
            let at = until - 15 * (SAMPLES - 1 - sample);
            let value = number as i64 * 977 + sample * 13;
            write!(body, r#"{comma}[{at}.{:03},"{value}"]"#, number % 900).unwrap();
        }
        body.push_str("]}");
    }
    body.push_str("]}}");
    body
}

#[tokio::main]
async fn main() {
    let (cx, _files) = support::cx();
    let until = Timestamp::now().as_second();
    let body = body(until);
    println!("{:.1} MiB of JSON", body.len() as f64 / f64::from(1 << 20));
    let answer = post(move || async move { body.clone() });
    let server = support::serve(Router::new().route("/api/v1/query", answer)).await;
    let source = Prometheus {
        url: server.url(),
        timeout: SignedDuration::from_secs(60),
        bearer_token_file: None,
        stale_after: SignedDuration::from_mins(2),
        ca_file: None,
    };
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        // Another question each time: what was asked already is not asked again.
        let at = Timestamp::from_millisecond((until + 1) * 1000 + round as i64);
        let query = RangeQuery {
            selector: "http_requests_total".to_owned(),
            lookback: Duration::from_secs(120),
            at: Some(at.unwrap()),
        };
        let started = Instant::now();
        let answer = source.range(&cx, &query).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(answer.series.len(), SERIES);
        let samples = answer.series.iter().map(|it| it.samples.len());
        assert_eq!(samples.sum::<usize>(), SERIES * SAMPLES as usize);
    }
    times.sort_unstable();
    let (fast, median, slow) = (times[ROUNDS / 5], times[ROUNDS / 2], times[ROUNDS - 1]);
    println!(
        "{SERIES} series of {SAMPLES} samples: {fast:.1?}, median {median:.1?}, slowest {slow:.1?}"
    );
}
