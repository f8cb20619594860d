//! Samples of a while: from a real Prometheus, and from servers with faults of their own.

use super::*;
use drivers::metrics::{RangeAnswer, RangeQuery, RawSeries};

const LOOKBACK: Duration = Duration::from_secs(60);

fn query(selector: &str, at: Option<Timestamp>) -> RangeQuery {
    RangeQuery {
        selector: selector.to_owned(),
        lookback: LOOKBACK,
        at,
    }
}

async fn now(source: &Prometheus, cx: &Cx, selector: &str) -> Result<RangeAnswer, Reading> {
    source.range(cx, &query(selector, None)).await
}

/// The only series, once it has `least` samples.
async fn only(source: &Prometheus, cx: &Cx, selector: &str, least: usize) -> RawSeries {
    let sampled = || async {
        let answer = now(source, cx, selector).await;
        match answer.map(|it| it.series) {
            Ok(series) if series.len() == 1 && series[0].samples.len() >= least => {
                Ok(series[0].clone())
            }
            other => Err(format!("{other:?}")),
        }
    };
    local::wait::until(WITHIN, "samples", sampled)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_real_prometheus_gives_every_sample_as_it_was_scraped() {
    let (cx, _files) = cx();
    let directory = tempfile::tempdir().unwrap();
    let alive = Arc::new(AtomicBool::new(true));
    let target = target(alive).await;
    let prometheus = real(directory.path(), &target).await;
    let source = source(&prometheus.url());

    let requests = only(&source, &cx, "requests_total", 4).await;
    assert_eq!(requests.labels["__name__"], "requests_total");
    assert_eq!(requests.labels["instance"], target.address.to_string());
    assert!(requests.histograms.is_empty());
    let pairs = requests.samples.windows(2);
    // The target counts 10 up at each scrape: none is lost, none is made up between two.
    for pair in pairs {
        assert!(pair[0].0 < pair[1].0, "{pair:?}");
        assert_eq!(pair[1].1 - pair[0].1, 10.0, "{pair:?}");
    }

    let several = now(&source, &cx, "replicas").await.unwrap();
    let mut pods: Vec<&str> = several
        .series
        .iter()
        .map(|it| it.labels["pod"].as_str())
        .collect();
    pods.sort_unstable();
    assert_eq!(pods, ["a", "b.c"]);
    let newest = several
        .series
        .iter()
        .flat_map(|it| &it.samples)
        .map(|it| it.0)
        .max();
    let behind = several.evaluated.as_millisecond() - newest.unwrap();
    assert!((0..20_000).contains(&behind), "{behind} ms");
    let nothing = now(&source, &cx, "never_seen").await.unwrap();
    assert!(nothing.series.is_empty(), "{nothing:?}");

    // A moment that is over has one answer, which is cut at it.
    let (at, _) = requests.samples[2];
    let cut = query(
        "requests_total",
        Some(Timestamp::from_millisecond(at).unwrap()),
    );
    let first = source.range(&cx, &cut).await.unwrap();
    assert_eq!(first.evaluated.as_millisecond(), at);
    assert_eq!(first.series[0].samples, requests.samples[..3]);
    assert_eq!(source.range(&cx, &cut).await.unwrap(), first);

    for (selector, expected) in [
        ("requests_total{", NoDataCause::Refused),
        ("requests_total[1m]", NoDataCause::Refused),
        ("rate(requests_total)", NoDataCause::Refused),
        ("", NoDataCause::Refused),
    ] {
        let reading = now(&source, &cx, selector).await.unwrap_err();
        println!("{selector:30} {reading}");
        check(selector, &reading, expected);
    }
}

#[tokio::test]
async fn every_fault_has_its_cause_and_gives_no_samples() {
    let (cx, _files) = cx();
    let (server, landed) = faulty().await;
    let at = |case: &str| source(&format!("{}/{case}/", server.url()));
    let nothing = now(&at("matrix"), &cx, "up").await.unwrap();
    assert!(nothing.series.is_empty(), "{nothing:?}");
    for (case, expected) in [
        ("value", NoDataCause::WrongType),
        ("warnings", NoDataCause::Warnings),
        ("500", NoDataCause::Unavailable),
        ("503_timeout", NoDataCause::Timeout),
        ("401", NoDataCause::Refused),
        ("redirect", NoDataCause::Refused),
        ("no_content", NoDataCause::Malformed),
        ("slow", NoDataCause::Timeout),
        ("slow_body", NoDataCause::Timeout),
        ("cut_off", NoDataCause::Unavailable),
        ("text", NoDataCause::Malformed),
        ("bomb", NoDataCause::Malformed),
    ] {
        let mut source = at(case);
        if case.starts_with("slow") {
            source.timeout = SignedDuration::from_millis(300);
        } else {
            source.timeout = SignedDuration::from_secs(30);
        }
        let reading = now(&source, &cx, "up").await.unwrap_err();
        println!("{case:15} {reading}");
        check(case, &reading, expected);
    }
    assert_eq!(landed.load(Ordering::SeqCst), 0, "a redirect was followed");
}

/// One sample at `at_ms`, after `padding` bytes of nothing.
fn one_sample(at_ms: i64, padding: usize) -> Response {
    let at = at_ms as f64 / 1000.0;
    let result = format!(r#"[{{"metric":{{}},"values":[[{at},"1"]]}}]"#);
    let data = format!(r#"{{"resultType":"matrix","result":{result}}}"#);
    let text = format!(
        r#"{}{{"status":"success","data":{data}}}"#,
        " ".repeat(padding)
    );
    text.into_response()
}

fn dated(mut answer: Response, clock: Timestamp) -> Response {
    let date = jiff::fmt::rfc2822::to_string(&clock.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
    let date = date.replace("+0000", "GMT");
    answer
        .headers_mut()
        .insert(header::DATE, date.parse().unwrap());
    answer
}

/// Answers for the moment that is asked for, with a clock of its own.
async fn skewed(
    Path(case): Path<String>,
    State(asked): State<Arc<AtomicU64>>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(form["query"], "up[60000ms]");
    let time: f64 = form["time"].parse().unwrap();
    let time_ms = (time * 1000.0).round() as i64;
    let number = i64::try_from(asked.fetch_add(1, Ordering::SeqCst)).unwrap();
    let hours = |it| Timestamp::now() + SignedDuration::from_hours(it);
    match case.as_str() {
        "ahead" => dated(one_sample(time_ms, 0), hours(1)),
        "behind" => dated(one_sample(time_ms, 0), hours(-1)),
        "moving" => dated(one_sample(time_ms, 0), hours(1 + number)),
        "ignores_time" => one_sample(time_ms - 3_600_000, 0),
        "large" => one_sample(time_ms, 2 << 20),
        "too_large" => one_sample(time_ms, 16 << 20),
        other => panic!("no such case {other}"),
    }
}

#[tokio::test]
async fn the_moment_of_evaluation_is_the_servers() {
    let (cx, _files) = cx();
    let asked = Arc::new(AtomicU64::new(0));
    let router = Router::new()
        .route("/{case}/api/v1/query", post(skewed))
        .with_state(asked.clone());
    let server = serve(router).await;
    let at = |case: &str| Prometheus {
        timeout: SignedDuration::from_secs(30),
        ..source(&format!("{}/{case}/", server.url()))
    };
    for (case, hours, times) in [("ahead", 1, 2), ("behind", -1, 2), ("large", 0, 1)] {
        asked.store(0, Ordering::SeqCst);
        let answer = now(&at(case), &cx, "up").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), times, "{case}");
        let off = answer.evaluated - SignedDuration::from_hours(hours);
        let off = off.duration_since(Timestamp::now()).abs();
        assert!(off < SignedDuration::from_secs(30), "{case}: {off:#}");
        let newest = answer.series[0].samples[0].0;
        assert_eq!(newest, answer.evaluated.as_millisecond(), "{case}");
    }
    for (case, expected) in [
        ("moving", NoDataCause::Stale),
        ("ignores_time", NoDataCause::Malformed),
        ("too_large", NoDataCause::TooLarge),
    ] {
        let reading = now(&at(case), &cx, "up").await.unwrap_err();
        println!("{case:15} {reading}");
        check(case, &reading, expected);
    }
    // A moment that the caller names needs no clock.
    let past = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    let answer = at("ahead").range(&cx, &query("up", Some(past))).await;
    assert_eq!(answer.unwrap().evaluated, past);
}

/// Counts the questions; the first one fails where the path says so.
async fn counted(
    Path(case): Path<String>,
    State(asked): State<Arc<AtomicU64>>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let time: f64 = form["time"].parse().unwrap();
    match (asked.fetch_add(1, Ordering::SeqCst), case.as_str()) {
        (0, "fails_once") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => one_sample((time * 1000.0).round() as i64, 0),
    }
}

#[tokio::test]
async fn identical_questions_go_out_once() {
    let (cx, _files) = cx();
    let asked = Arc::new(AtomicU64::new(0));
    let router = Router::new()
        .route("/{case}/api/v1/query", post(counted))
        .with_state(asked.clone());
    let server = serve(router).await;
    let at = |case: &str| Prometheus {
        timeout: SignedDuration::from_secs(30),
        ..source(&format!("{}/{case}", server.url()))
    };
    let times = || asked.swap(0, Ordering::SeqCst);
    let all = |source: &Prometheus, query: &RangeQuery| {
        let asking = (0..20).map(|_| {
            let (source, query, cx) = (source.clone(), query.clone(), cx.clone());
            async move { source.range(&cx, &query).await }
        });
        futures::future::join_all(asking.collect::<Vec<_>>())
    };

    let up = query("up", None);
    let answers = all(&at("counted"), &up).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|it| it.as_ref() == Ok(first)));
    assert_eq!(times(), 1);
    // Whatever differs is another question.
    let longer = RangeQuery {
        lookback: LOOKBACK * 2,
        ..up.clone()
    };
    let earlier = query("up", Some(first.evaluated - SignedDuration::from_secs(1)));
    let stranger = Prometheus {
        stale_after: SignedDuration::from_mins(5),
        ..at("counted")
    };
    let (other, longer, earlier, stranger) = tokio::join!(
        all(&at("counted"), &query("down", None)),
        all(&at("counted"), &longer),
        all(&at("counted"), &earlier),
        all(&stranger, &up),
    );
    let ok = [other, longer, earlier, stranger];
    assert!(ok.iter().flatten().all(Result::is_ok), "{ok:?}");
    assert_eq!(times(), 4);
    // An answer is not for ever.
    let again = || async {
        let answer = now(&at("counted"), &cx, "up").await.unwrap();
        match answer.evaluated > first.evaluated {
            true => Ok(()),
            false => Err("the answer of before"),
        }
    };
    local::wait::until(WITHIN, "a new answer", again)
        .await
        .unwrap();
    assert_eq!(times(), 1);

    // A failure is shared by those who wait for it, and by nobody who comes later.
    let failed = all(&at("fails_once"), &up).await;
    assert!(failed.iter().all(Result::is_err), "{failed:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    now(&at("fails_once"), &cx, "up").await.unwrap();
    assert_eq!(times(), 2);
}
