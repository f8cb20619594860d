//! The Prometheus metric source against a real Prometheus, and against faults that a real one
//! cannot be made to show.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

#[path = "prometheus/ranges.rs"]
mod ranges;
mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Form, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use drivers::{
    AppKey, Cx, MetricSource, metrics::prometheus::Prometheus, substitution::Substitution,
};
use jiff::{SignedDuration, Timestamp};
use rollout::{
    Revision,
    gate::{
        Gate, GatePolicy, GateState, Measurement, NoDataCause, Question, Reading, Threshold,
        Verdict,
    },
};
use support::{Server, cx, serve};

const WITHIN: Duration = Duration::from_secs(20);

fn source(url: &str) -> Prometheus {
    Prometheus {
        url: url.to_owned(),
        timeout: SignedDuration::from_secs(5),
        bearer_token_file: None,
        stale_after: SignedDuration::from_mins(1),
        ca_file: None,
    }
}

/// Asserts the cause, and that a gate that takes any number, one reading away from a pass, does
/// not pass by it.
fn check(case: &str, reading: &Reading, expected: NoDataCause) {
    let Reading::NoData { cause, detail } = reading else {
        panic!("{case}: {reading:?}")
    };
    assert_eq!(*cause, expected, "{case}: {detail}");
    assert!(
        !detail.is_empty() && detail.chars().count() <= 200,
        "{case}: {detail}"
    );
    let question = Threshold {
        query: "up".to_owned(),
        below: None,
        above: None,
        unit: None,
        fail_after: 1,
        pass_after: 1,
    };
    let gate = Gate {
        name: "any".to_owned(),
        question: Question::Threshold(question),
        interval: SignedDuration::from_secs(1),
        on_fail: GatePolicy::Rollback,
        on_inconclusive: GatePolicy::Pause,
        on_no_data: GatePolicy::Pause,
    };
    let at = Timestamp::UNIX_EPOCH;
    let passed = gate.fold(
        &GateState::default(),
        &Measurement {
            at,
            reading: Reading::Value { value: 1.0 },
        },
    );
    assert_eq!(passed.verdict, Verdict::Pass);
    for before in [GateState::default(), passed] {
        let at = at + SignedDuration::from_secs(1);
        let after = gate.fold(
            &before,
            &Measurement {
                at,
                reading: reading.clone(),
            },
        );
        assert_eq!(after.verdict, Verdict::NoData, "{case}");
    }
}

/// A service to scrape: a counter that grows, two series, and one that is two minutes old.
async fn target(alive: Arc<AtomicBool>) -> Server {
    let requests = Arc::new(AtomicU64::new(0));
    let metrics = move || async move {
        if !alive.load(Ordering::SeqCst) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let requests = requests.fetch_add(10, Ordering::SeqCst);
        let old = Timestamp::now().as_millisecond() - 120_000;
        format!(
            "requests_total {requests}\nreplicas{{pod=\"a\"}} 1\nreplicas{{pod=\"b.c\"}} 2\nold 5 {old}\n"
        )
        .into_response()
    };
    serve(Router::new().route("/metrics", get(metrics))).await
}

async fn real(directory: &std::path::Path, target: &Server) -> local::prometheus::Prometheus {
    let targets = vec![target.address.to_string()];
    let options = local::prometheus::Options {
        port: None,
        scrape_interval: Duration::from_millis(200),
        haproxy_port: local::ports::free_port().unwrap(),
        alertmanager_port: None,
        targets: vec![local::prometheus::Targets {
            targets,
            labels: BTreeMap::new(),
        }],
    };
    local::prometheus::Prometheus::start(directory, options)
        .await
        .unwrap()
}

async fn value(source: &Prometheus, cx: &Cx, query: &str) -> Result<f64, String> {
    match source.measure(cx, query).await {
        Reading::Value { value } => Ok(value),
        other => Err(format!("{other:?}")),
    }
}

const RATE: &str = "sum(rate(requests_total[1m]))";

#[tokio::test]
async fn a_real_prometheus_answers_every_kind_of_query() {
    let (cx, _files) = cx();
    let directory = tempfile::tempdir().unwrap();
    let alive = Arc::new(AtomicBool::new(true));
    let target = target(alive.clone()).await;
    let mut prometheus = real(directory.path(), &target).await;
    let source = source(&prometheus.url());
    local::wait::until(WITHIN, "a rate", || value(&source, &cx, RATE))
        .await
        .unwrap();

    for (query, expected) in [
        ("max(replicas)", 2.0),
        ("replicas{pod=\"a\"}", 1.0),
        ("scalar(max(replicas))", 2.0),
        ("1 + 1", 2.0),
        ("vector(3)", 3.0),
        (
            "max(replicas) + (sum(never_seen_total) or vector(0)) # a comment",
            2.0,
        ),
    ] {
        assert_eq!(value(&source, &cx, query).await, Ok(expected), "{query}");
    }
    // A subquery is evaluated at whole seconds, the first of which may be to come.
    let subquery = r"sum by () (max_over_time(replicas{pod=~'a|b[.]c'}[1m:1s] offset 1ms)) + 1";
    let later = local::wait::until(WITHIN, "a subquery", || value(&source, &cx, subquery)).await;
    assert_eq!(later, Ok(4.0));
    what_is_not_one_number_has_its_cause(&source, &cx).await;
    names_are_filled_in_safely(&source, &cx).await;

    // The target dies: its rate over a minute goes on answering, which must not count.
    alive.store(false, Ordering::SeqCst);
    let stale = || async {
        let reading = source.measure(&cx, RATE).await;
        let is_stale = matches!(
            reading,
            Reading::NoData {
                cause: NoDataCause::Stale,
                ..
            }
        );
        if is_stale {
            Ok(reading)
        } else {
            Err(format!("{reading:?}"))
        }
    };
    let reading = local::wait::until(WITHIN, "stale", stale).await.unwrap();
    check("dead target", &reading, NoDataCause::Stale);
    assert!(
        prometheus.number(RATE).await.unwrap().is_some(),
        "Prometheus itself still answers"
    );

    prometheus.stop().await.unwrap();
    check(
        "stopped",
        &source.measure(&cx, "1").await,
        NoDataCause::Unavailable,
    );
}

async fn what_is_not_one_number_has_its_cause(source: &Prometheus, cx: &Cx) {
    for (query, expected) in [
        (
            "(max(replicas) - 2) / (max(replicas) - 2)",
            NoDataCause::NotANumber,
        ),
        ("max(replicas) / 0", NoDataCause::Infinite),
        ("-max(replicas) / 0", NoDataCause::Infinite),
        ("never_seen_total", NoDataCause::Empty),
        ("replicas", NoDataCause::SeveralSeries),
        ("\"a text\"", NoDataCause::WrongType),
        ("replicas[1m]", NoDataCause::WrongType),
        ("rate(", NoDataCause::Refused),
        ("replicas * on() replicas", NoDataCause::Refused),
        ("", NoDataCause::Refused),
        ("old", NoDataCause::Stale),
        ("max(old) + max(replicas)", NoDataCause::Stale),
    ] {
        let reading = source.measure(cx, query).await;
        println!("{query:45} {reading}");
        check(query, &reading, expected);
    }
    let refused = source.measure(cx, "sum(up) + rate(").await.to_string();
    assert!(
        refused.contains("bad_data") && refused.contains("1:16"),
        "{refused}"
    );
    let several = source.measure(cx, "replicas").await.to_string();
    assert!(
        several.contains("2 series") && several.contains("{pod=\"a\"} and {pod=\"b.c\"}"),
        "{several}"
    );
}

async fn names_are_filled_in_safely(source: &Prometheus, cx: &Cx) {
    let filled = |instances: &[&str], query: &str| {
        let substitution = Substitution {
            app: AppKey {
                project: "p".to_owned(),
                app: "\"} or vector(1) #".to_owned(),
            },
            candidate: (
                Revision(2),
                instances.iter().map(|it| (*it).to_owned()).collect(),
            ),
            stable: None,
        };
        substitution.apply(query).unwrap()
    };
    let query = r#"sum(replicas{pod=~"{{candidate.instances}}"})"#;
    assert_eq!(
        value(source, cx, &filled(&["a", "b.c"], query)).await,
        Ok(3.0)
    );
    assert_eq!(value(source, cx, &filled(&["b.c"], query)).await, Ok(2.0));
    for instances in [&[][..], &["bxc"], &["\"} or vector(1) #", "'`\\"], &[".*"]] {
        let reading = source.measure(cx, &filled(instances, query)).await;
        check(&format!("{instances:?}"), &reading, NoDataCause::Empty);
    }
    // A label that is absent is the empty text, which no instance is.
    let absent = r#"sum(replicas{absent=~"{{candidate.instances}}"})"#;
    check(
        "absent",
        &source.measure(cx, &filled(&[], absent)).await,
        NoDataCause::Empty,
    );
    let app = source
        .measure(cx, &filled(&[], r#"sum(replicas{app="{{app}}"})"#))
        .await;
    check("hostile app", &app, NoDataCause::Empty);
}

const TOKEN: &str = "a-token-that-nobody-may-see";

fn answer(result_type: &str, result: &str, more: &str) -> Response {
    let text = format!(
        r#"{{"status":"success"{more},"data":{{"resultType":"{result_type}","result":{result}}}}}"#
    );
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn number(value: &str, at: Timestamp, more: &str) -> Response {
    let at = at.as_second();
    answer(
        "vector",
        &format!(r#"[{{"metric":{{}},"value":[{at},"{value}"]}}]"#),
        more,
    )
}

/// 50 MB of zeros, compressed to 50 kB.
fn bomb() -> Vec<u8> {
    let script = "head -c 50000000 /dev/zero | gzip -c";
    std::process::Command::new("sh")
        .args(["-c", script])
        .output()
        .unwrap()
        .stdout
}

fn endless(gap: Duration) -> Body {
    Body::from_stream(futures::stream::unfold((), move |()| async move {
        tokio::time::sleep(gap).await;
        Some((Ok::<_, std::io::Error>(vec![b' '; 1024]), ()))
    }))
}

fn cut_off() -> Response {
    let parts = [Ok("{\"status\":"), Err(std::io::Error::other("cut"))];
    Body::from_stream(futures::stream::iter(parts)).into_response()
}

async fn fault(
    Path(case): Path<String>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let now = Timestamp::now();
    let is_age = form["query"].starts_with("time() - ");
    assert!(!form["timeout"].is_empty());
    match case.as_str() {
        "value" => number("0.5", now, ""),
        "infos" => number("0.5", now, r#","infos":["PromQL info: …"],"warnings":[]"#),
        "warnings" => number("0.5", now, r#","warnings":["one store did not answer"]"#),
        "old_evaluation" => number("0.5", now - SignedDuration::from_secs(300), ""),
        "age_unknown" if is_age => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "age_great" if is_age => number("61", now, ""),
        "age_unknown" | "age_great" => number("0.5", now, ""),
        "500" => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "<html>secret stack</html>",
        )
            .into_response(),
        "503" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "503_timeout" => {
            let said = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
            (StatusCode::SERVICE_UNAVAILABLE, said).into_response()
        }
        "401" => (StatusCode::UNAUTHORIZED, "no").into_response(),
        "429" => StatusCode::TOO_MANY_REQUESTS.into_response(),
        "redirect" => Redirect::temporary("/landed").into_response(),
        "no_content" => StatusCode::NO_CONTENT.into_response(),
        "slow" => std::future::pending().await,
        "slow_body" => endless(Duration::from_millis(50)).into_response(),
        "announced" => vec![b' '; (1 << 20) + 1].into_response(),
        "endless" => endless(Duration::ZERO).into_response(),
        "cut_off" => cut_off(),
        "text" => "1".into_response(),
        "json" => r#"{"value":1}"#.into_response(),
        "not_a_number" => number("0,5", now, ""),
        "bomb" => ([(header::CONTENT_ENCODING, "gzip")], bomb()).into_response(),
        "hidden_bomb" => bomb().into_response(),
        "matrix" => answer("matrix", "[]", ""),
        "repeats_token" => {
            let token = headers
                .get(header::AUTHORIZATION)
                .and_then(|it| it.to_str().ok());
            let said = format!(
                r#"{{"status":"error","error":"who is {}?"}}"#,
                token.unwrap_or_default()
            );
            (StatusCode::FORBIDDEN, said).into_response()
        }
        "needs_token" if headers[header::AUTHORIZATION] == format!("Bearer {TOKEN}") => {
            number("0.5", now, "")
        }
        other => panic!("no such case {other}"),
    }
}

async fn faulty() -> (Server, Arc<AtomicU64>) {
    let landed = Arc::new(AtomicU64::new(0));
    let router = Router::new()
        .route("/{case}/api/v1/query", post(fault))
        .route(
            "/landed",
            any(|State(it): State<Arc<AtomicU64>>| async move {
                it.fetch_add(1, Ordering::SeqCst);
                number("0.5", Timestamp::now(), "")
            }),
        )
        .with_state(landed.clone());
    (serve(router).await, landed)
}

#[tokio::test]
async fn every_fault_has_its_cause_and_none_passes() {
    let (cx, _files) = cx();
    let (server, landed) = faulty().await;
    let at = |case: &str| source(&format!("{}/{case}/", server.url()));
    for case in ["value", "infos"] {
        assert_eq!(value(&at(case), &cx, "up").await, Ok(0.5), "{case}");
    }
    for (case, expected) in [
        ("warnings", NoDataCause::Warnings),
        ("old_evaluation", NoDataCause::Stale),
        ("age_unknown", NoDataCause::Unavailable),
        ("age_great", NoDataCause::Stale),
        ("500", NoDataCause::Unavailable),
        ("503", NoDataCause::Unavailable),
        ("503_timeout", NoDataCause::Timeout),
        ("401", NoDataCause::Refused),
        ("429", NoDataCause::Refused),
        ("redirect", NoDataCause::Refused),
        ("no_content", NoDataCause::Malformed),
        ("slow", NoDataCause::Timeout),
        ("slow_body", NoDataCause::Timeout),
        ("announced", NoDataCause::TooLarge),
        ("endless", NoDataCause::TooLarge),
        ("cut_off", NoDataCause::Unavailable),
        ("text", NoDataCause::Malformed),
        ("json", NoDataCause::Malformed),
        ("not_a_number", NoDataCause::Malformed),
        ("bomb", NoDataCause::Malformed),
        ("hidden_bomb", NoDataCause::Malformed),
        ("matrix", NoDataCause::WrongType),
    ] {
        let mut source = at(case);
        if case.starts_with("slow") {
            source.timeout = SignedDuration::from_millis(300);
        }
        let reading = source.measure(&cx, "up").await;
        println!("{case:15} {reading}");
        check(case, &reading, expected);
        assert!(
            !reading.to_string().contains("secret stack"),
            "{case}: {reading}"
        );
    }
    assert_eq!(landed.load(Ordering::SeqCst), 0, "a redirect was followed");
    let nobody = source(&format!(
        "http://127.0.0.1:{}",
        local::ports::free_port().unwrap()
    ));
    let reading = nobody.measure(&cx, "up").await;
    check("nobody", &reading, NoDataCause::Unavailable);
    assert!(reading.to_string().contains("refused"), "{reading}");
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    let (cx, _files) = cx();
    let (server, _) = faulty().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let with_token = |case: &str| Prometheus {
        bearer_token_file: Some(path.display().to_string()),
        ..source(&format!("{}/{case}", server.url()))
    };
    check(
        "missing",
        &with_token("needs_token").measure(&cx, "up").await,
        NoDataCause::Unavailable,
    );
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    assert_eq!(value(&with_token("needs_token"), &cx, "up").await, Ok(0.5));
    let reading = with_token("repeats_token").measure(&cx, "up").await;
    check("repeated", &reading, NoDataCause::Malformed);
    assert!(!reading.to_string().contains(TOKEN), "{reading}");
    for content in [
        "",
        "two words",
        "root:x:0:0\nbin:x:1:1\n",
        &"a".repeat(20_000),
    ] {
        std::fs::write(&path, content).unwrap();
        let reading = with_token("repeats_token").measure(&cx, "up").await;
        check("no token", &reading, NoDataCause::Unavailable);
        assert!(!reading.to_string().contains("root:x"), "{reading}");
    }
    let no_file = Prometheus {
        ca_file: Some(path.display().to_string()),
        ..source(&server.url())
    };
    check(
        "no CA",
        &no_file.measure(&cx, "up").await,
        NoDataCause::Unavailable,
    );
}
