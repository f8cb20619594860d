//! Alerts over HTTP: storms, groups that Alertmanager cut off, alerts that only tell, hostile texts.

use api::RoleWord;
use rollout::{Event, Phase, steps::approve::Approve};
use serde_json::{Value, json};
use uuid::Uuid;

use super::rig::{self, Answer, Rig};

const HOOK: &str = "/api/v1/hooks/alertmanager";

/// A server with a started rollout of shop/checkout whose file has these alerts, and a token.
async fn started(alerts: Value) -> (Rig, Uuid, String) {
    let rig = Rig::start().await;
    let mut file = rig::document("shop", "checkout");
    file["alerts"] = alerts;
    file["notify"] = json!([{ "webhook": { "url": "http://127.0.0.1:1" } }]);
    let approve = Approve {
        group: None,
        count: 1,
        expires: None,
        not_by_requester: false,
        machines_may: false,
    };
    let id = rig.rollout_of("shop", "checkout", &file, approve).await.id;
    let token = rig.token("am", RoleWord::Deployer, None, &[], false).await;
    (rig, id, token)
}

fn alert(labels: &Value, fingerprint: &str, summary: &str) -> Value {
    json!({
        "status": "firing", "labels": labels, "annotations": { "summary": summary },
        "startsAt": jiff::Timestamp::now(), "fingerprint": fingerprint,
        "generatorURL": "http://prometheus.example/graph?g0.expr=errors",
    })
}

async fn send(rig: &Rig, token: &str, alerts: &[Value]) -> Answer {
    let payload = json!({
        "version": "4", "receiver": "sluice", "status": "firing", "alerts": alerts,
    });
    let answer = rig.post(HOOK, token, &payload).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn sentences<'a>(answer: &'a Answer, which: &str) -> Vec<&'a str> {
    let all = answer.body[which].as_array().unwrap().iter();
    all.map(|it| it.as_str().unwrap()).collect()
}

async fn phase(rig: &Rig, token: &str, id: Uuid) -> String {
    let rollout = rig.client(token).rollout(id).await.unwrap();
    rollout.summary.phase
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_ten_thousand_the_one_that_matters_acts() {
    let rules = json!([
        { "match": { "app": "checkout", "severity": "page" } },
        { "match": { "app": "checkout" }, "do": "pause" },
        { "match": { "team": "shop" }, "do": "notify" },
    ]);
    let (rig, id, token) = started(rules).await;
    let storm = |number: usize| {
        let pod = number.to_string();
        let labels = match number {
            9_990 => json!({ "alertname": "Errors", "app": "checkout", "severity": "page" }),
            it if it % 10 == 0 => json!({ "alertname": "Slow", "app": "checkout", "pod": pod }),
            it if it % 10 == 1 => json!({ "alertname": "Busy", "team": "shop", "pod": pod }),
            it => json!({ "alertname": "Noise", "app": format!("app-{it}"), "cluster": "eu-1" }),
        };
        let fingerprint = format!("{number:016x}");
        alert(&labels, &fingerprint, "something is wrong with it")
    };
    let storm: Vec<Value> = (0..10_000).map(storm).collect();
    let answer = send(&rig, &token, &storm).await;
    // The rollback first, whatever stood before it; then nothing holds what goes back anyway.
    assert_eq!(
        sentences(&answer, "acted"),
        ["shop/checkout r1 is being rolled back because of Errors"]
    );
    let ignored = sentences(&answer, "ignored");
    assert_eq!(ignored.len(), 51, "{ignored:?}");
    assert_eq!(ignored[50], "9949 more alerts changed nothing");
    assert_eq!(phase(&rig, &token, id).await, "aborting");
    let history = rig.client(&token).history(id, None).await.unwrap().items;
    let words: Vec<&str> = history.iter().map(|it| it.event.as_str()).collect();
    assert_eq!(words, ["created", "started", "abortStarted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_that_only_tell_change_nothing_and_are_told_once() {
    let (rig, id, token) = started(json!([{ "match": { "team": "shop" }, "do": "notify" }])).await;
    let slow = |pod: usize| {
        let labels = json!({ "alertname": "Slow", "team": "shop", "pod": pod.to_string() });
        alert(&labels, &pod.to_string(), "p99 is above 2 s")
    };
    let alerts: Vec<Value> = (0..5).map(slow).collect();
    let answer = send(&rig, &token, &alerts).await;
    let fires = "Slow fires: p99 is above 2 s";
    let sentence = format!("{fires}; {fires}; {fires}; and 2 more");
    assert_eq!(
        sentences(&answer, "acted"),
        [format!("shop/checkout r1: told that {sentence}")]
    );
    let again = send(&rig, &token, &alerts).await;
    assert!(sentences(&again, "acted").is_empty(), "{again:?}");
    assert_eq!(phase(&rig, &token, id).await, "progressing");
    let notices = rig.store.claim_notices(&[], 10).await.unwrap();
    let [notice] = &*notices else {
        panic!("{notices:?}");
    };
    assert_eq!(notice.kind, "rollout.alerted");
    assert_eq!(notice.payload["sentence"], sentence);
    rig.store.delivered(notice.id).await.unwrap();
    assert!(rig.store.claim_notices(&[], 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_a_database_does_not_take_do_not_stop_a_rollback() {
    let (rig, id, token) = started(json!([{ "match": { "app": "checkout" } }])).await;
    let name = format!("Errors\0{}", "ä".repeat(5_000));
    let mut hostile = alert(
        &json!({ "alertname": name, "app": "checkout", "nul": "\0" }),
        &"f\0".repeat(4_000),
        &"\0 ä".repeat(100_000),
    );
    hostile["annotations"]["description"] = json!("\0");
    let answer = send(&rig, &token, &[hostile]).await;
    assert_eq!(sentences(&answer, "acted").len(), 1, "{answer:?}");
    assert_eq!(phase(&rig, &token, id).await, "aborting");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_matching_alert_of_a_truncated_group_acts() {
    let rig = Rig::start().await;
    let rollout = rig.rollout("shop", "checkout").await;
    let started = rig.change(&rollout, Phase::Progressing, Event::Started, None);
    let id = started.await.id;
    let token = rig.token("am", RoleWord::Deployer, None, &[], false).await;
    let alert = |app: &str, fingerprint: &str| {
        json!({
            "status": "firing", "labels": { "alertname": "Errors", "app": app },
            "annotations": {}, "startsAt": jiff::Timestamp::now(), "fingerprint": fingerprint,
        })
    };
    let payload = json!({
        "version": "4", "receiver": "sluice", "status": "firing", "truncatedAlerts": 900,
        "alerts": [alert("another", "a"), alert("checkout", "b"), alert("checkout", "b")],
    });
    let answer = rig.post(HOOK, &token, &payload).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let acted = answer.body["acted"].as_array().unwrap();
    assert_eq!(acted.len(), 1, "{answer:?}");
    let ignored = answer.body["ignored"].to_string();
    for told in ["900 alerts were left out", "no active rollout has a rule"] {
        assert!(ignored.contains(told), "{ignored}");
    }
    let client = rig.client(&token);
    assert_eq!(client.rollout(id).await.unwrap().summary.phase, "aborting");
    let history = client.history(id, None).await.unwrap().items;
    let begun = history.iter().filter(|it| it.event == "abortStarted");
    assert_eq!(begun.count(), 1);
}
