//! The clients of webhook gates and of the webhook notifier against a receiver that misbehaves in
//! every way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in test functions, not in what these share"
)]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::any,
};
use drivers::{
    Notice, Notifier,
    metrics::webhook::ask,
    notify::{
        Delivery,
        webhook::{Webhook, verify},
    },
};
use jiff::{SignedDuration, Timestamp};
use rollout::gate::{
    Gate, GatePolicy, GateState, Measurement, NoDataCause, Question, Reading, Verdict, WebhookGate,
};
use secrecy::SecretString;
use serde_json::json;
use support::{Server, cx, serve};

/// What a receiver was sent.
type Received = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

async fn reply(
    Path(case): Path<String>,
    State(received): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    received.lock().unwrap().push((case.clone(), headers, body));
    match case.as_str() {
        "pass" => r#"{"verdict":"pass","detail":"all\nwell","more":1}"#.into_response(),
        "fail" => r#"{"verdict":"fail"}"#.into_response(),
        "inconclusive" => r#"{"verdict":"inconclusive","detail":""}"#.into_response(),
        "long" => json!({ "verdict": "pass", "detail": "ä".repeat(10_000) })
            .to_string()
            .into_response(),
        "text" => "pass".into_response(),
        "json_text" => "\"pass\"".into_response(),
        "ok" => "OK".into_response(),
        "empty" => ().into_response(),
        "no_content" => StatusCode::NO_CONTENT.into_response(),
        "unknown" => r#"{"verdict":"passed"}"#.into_response(),
        "upper" => r#"{"verdict":"PASS"}"#.into_response(),
        "no_data" => r#"{"verdict":"noData"}"#.into_response(),
        "boolean" => r#"{"verdict":true}"#.into_response(),
        "twice" => r#"{"verdict":"fail","verdict":"pass"}"#.into_response(),
        "none" => r#"{"detail":"pass"}"#.into_response(),
        "redirect" => Redirect::temporary("/pass").into_response(),
        "moved" => (
            StatusCode::MOVED_PERMANENTLY,
            [(header::LOCATION, "/pass")],
            r#"{"verdict":"pass"}"#,
        )
            .into_response(),
        "slow" => std::future::pending().await,
        "large" => format!("{{\"verdict\":\"pass\"{}}}", " ".repeat(64 << 10)).into_response(),
        "endless" => Body::from_stream(futures::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(vec![b' '; 1024])
        }))
        .into_response(),
        status => {
            let status = StatusCode::from_u16(status.parse().unwrap()).unwrap();
            (status, r#"{"verdict":"pass"}"#).into_response()
        }
    }
}

async fn receiver() -> (Server, Received) {
    let received = Received::default();
    let router = Router::new()
        .route("/{case}", any(reply))
        .with_state(received.clone());
    (serve(router).await, received)
}

const TIMEOUT: Duration = Duration::from_millis(500);

fn verdict(reading: &Reading) -> Verdict {
    let question = WebhookGate {
        url: "http://gate".to_owned(),
        fail_after: 1,
        pass_after: 1,
    };
    let gate = Gate {
        name: "hook".to_owned(),
        question: Question::Webhook(question),
        interval: SignedDuration::from_secs(1),
        on_fail: GatePolicy::Rollback,
        on_inconclusive: GatePolicy::Pause,
        on_no_data: GatePolicy::Pause,
    };
    let measurement = Measurement {
        at: Timestamp::UNIX_EPOCH,
        reading: reading.clone(),
    };
    gate.fold(&GateState::default(), &measurement).verdict
}

#[tokio::test]
async fn a_gate_is_judged_by_a_verdict_and_by_nothing_else() {
    let (cx, _files) = cx();
    let (server, received) = receiver().await;
    let question = json!({ "app": "checkout", "step": 3 });
    let asked = |case: &str| {
        let (url, cx, question) = (format!("{}/{case}", server.url()), &cx, &question);
        async move { ask(cx, &url, question, TIMEOUT).await }
    };
    for (case, expected, detail) in [
        ("pass", Verdict::Pass, "all well"),
        ("fail", Verdict::Fail, "answered fail"),
        (
            "inconclusive",
            Verdict::Inconclusive,
            "answered inconclusive",
        ),
    ] {
        let reading = asked(case).await;
        assert_eq!(
            reading,
            Reading::Judged {
                verdict: expected,
                detail: detail.to_owned()
            }
        );
        assert_eq!(verdict(&reading), expected);
    }
    assert_eq!(asked("long").await.to_string().chars().count(), 200);
    let (_, headers, body) = received.lock().unwrap()[0].clone();
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        question
    );
}

#[tokio::test]
async fn anything_but_a_verdict_is_no_data() {
    let (cx, _files) = cx();
    let (server, _) = receiver().await;
    let question = json!({});
    for (case, expected) in [
        ("text", NoDataCause::Malformed),
        ("json_text", NoDataCause::Malformed),
        ("ok", NoDataCause::Malformed),
        ("empty", NoDataCause::Malformed),
        ("no_content", NoDataCause::Malformed),
        ("unknown", NoDataCause::Malformed),
        ("upper", NoDataCause::Malformed),
        ("no_data", NoDataCause::Malformed),
        ("boolean", NoDataCause::Malformed),
        ("twice", NoDataCause::Malformed),
        ("none", NoDataCause::Malformed),
        ("redirect", NoDataCause::Refused),
        ("moved", NoDataCause::Refused),
        ("400", NoDataCause::Refused),
        ("404", NoDataCause::Refused),
        ("500", NoDataCause::Unavailable),
        ("503", NoDataCause::Unavailable),
        ("slow", NoDataCause::Timeout),
        ("large", NoDataCause::TooLarge),
        ("endless", NoDataCause::TooLarge),
    ] {
        let url = format!("{}/{case}", server.url());
        let reading = ask(&cx, &url, &question, TIMEOUT).await;
        println!("{case:12} {reading}");
        let Reading::NoData { cause, .. } = &reading else {
            panic!("{case}: {reading:?}")
        };
        assert_eq!(*cause, expected, "{case}: {reading}");
        assert_eq!(verdict(&reading), Verdict::NoData, "{case}");
    }
    let nobody = format!(
        "http://127.0.0.1:{}/s3cret",
        local::ports::free_port().unwrap()
    );
    let reading = ask(&cx, &nobody, &question, TIMEOUT).await;
    assert!(
        matches!(
            reading,
            Reading::NoData {
                cause: NoDataCause::Unavailable,
                ..
            }
        ),
        "{reading:?}"
    );
    assert!(!reading.to_string().contains("s3cret"), "{reading}");
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn webhook(url: String) -> Webhook {
    Webhook {
        url,
        secret_file: None,
        secret_env: None,
        on: None,
        timeout: SignedDuration::from_millis(500),
    }
}

fn notice() -> Notice {
    Notice {
        id: "msg_018f".to_owned(),
        at: Timestamp::now(),
        kind: "rollout.rolledBack".to_owned(),
        payload: json!({ "type": "rollout.rolledBack", "data": { "app": "checkout ä", "weight": 0 } }),
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .map(|it| it.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_notice_arrives_as_it_was_signed() {
    let (cx, _files) = cx();
    let (server, received) = receiver().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n{OLD_SECRET}\n")).unwrap();
    let signed = Webhook {
        secret_file: Some(path.display().to_string()),
        ..webhook(format!("{}/200", server.url()))
    };
    let unsigned = webhook(format!("{}/200", server.url()));
    for webhook in [&signed, &signed, &unsigned] {
        assert_eq!(
            webhook.deliver(&cx, &notice()).await.unwrap(),
            Delivery::Accepted
        );
    }
    let received = received.lock().unwrap().clone();
    assert_eq!(received.len(), 3);
    for (_, headers, body) in &received {
        assert_eq!(text(headers, "webhook-id"), "msg_018f");
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(body).unwrap(),
            notice().payload
        );
    }
    let (_, headers, body) = &received[0];
    let (timestamp, signature) = (
        text(headers, "webhook-timestamp"),
        text(headers, "webhook-signature"),
    );
    assert_eq!(signature.split(' ').count(), 2, "{signature}");
    for secret in [SECRET, OLD_SECRET] {
        let secret = SecretString::from(secret.to_owned());
        let verified = |body: &[u8]| {
            verify(
                &secret,
                "msg_018f",
                &timestamp,
                body,
                &signature,
                Timestamp::now(),
            )
        };
        assert!(verified(body));
        assert!(!verified(&[body, &b" "[..]].concat()));
    }
    assert!(!received[2].1.contains_key("webhook-signature"));
}

#[tokio::test]
async fn every_other_answer_is_an_error_of_its_kind() {
    let (cx, _files) = cx();
    let (server, received) = receiver().await;
    for (case, expected) in [
        ("200", Delivery::Accepted),
        ("204", Delivery::Accepted),
        ("410", Delivery::Gone),
        ("endless", Delivery::Accepted),
    ] {
        let webhook = webhook(format!("{}/{case}", server.url()));
        assert_eq!(
            webhook.deliver(&cx, &notice()).await.unwrap(),
            expected,
            "{case}"
        );
    }
    for (case, transient) in [
        ("500", true),
        ("503", true),
        ("408", true),
        ("425", true),
        ("429", true),
        ("slow", true),
        ("400", false),
        ("401", false),
        ("404", false),
        ("422", false),
        ("redirect", false),
        ("moved", false),
    ] {
        let error = webhook(format!("{}/{case}", server.url()))
            .deliver(&cx, &notice())
            .await
            .unwrap_err();
        println!("{case:10} {error}");
        assert_eq!(error.transient, transient, "{case}: {error}");
    }
    assert!(
        received
            .lock()
            .unwrap()
            .iter()
            .all(|(case, ..)| case != "pass"),
        "a redirect was followed"
    );
    let port = local::ports::free_port().unwrap();
    let error = webhook(format!("http://127.0.0.1:{port}/s3cret"))
        .deliver(&cx, &notice())
        .await
        .unwrap_err();
    assert!(error.transient, "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn without_its_secret_nothing_is_sent() {
    let (cx, _files) = cx();
    let (server, received) = receiver().await;
    let url = format!("{}/200", server.url());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "hunter2").unwrap();
    for webhook in [
        Webhook {
            secret_env: Some("SLUICE_TEST_NO_SUCH_SECRET".to_owned()),
            ..webhook(url.clone())
        },
        Webhook {
            secret_env: Some("PATH".to_owned()),
            ..webhook(url.clone())
        },
        Webhook {
            secret_file: Some(path.display().to_string()),
            ..webhook(url.clone())
        },
        Webhook {
            secret_file: Some("/dev/zero".to_owned()),
            ..webhook(url.clone())
        },
    ] {
        let error = webhook.deliver(&cx, &notice()).await.unwrap_err();
        println!("{error}");
        assert!(
            error.transient && !error.to_string().contains("hunter2"),
            "{error}"
        );
    }
    assert!(received.lock().unwrap().is_empty());
}
