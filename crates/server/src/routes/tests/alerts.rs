//! Alerts over HTTP: what a group that Alertmanager cut off still does.

use api::RoleWord;
use rollout::{Event, Phase};
use serde_json::json;

use super::rig::Rig;

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
    let path = "/api/v1/hooks/alertmanager";
    let answer = rig.post(path, &token, &payload).await;
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
