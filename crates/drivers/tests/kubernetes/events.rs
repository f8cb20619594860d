//! Events of a Deployment: one for each notice, however often it is delivered.

use std::time::{Duration, Instant};

use drivers::{
    Notice, Workload,
    notify::{Delivery, NotifierConfig},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    rig::{Plane, Replica, shipped_rights},
    shop::Shop,
};

/// Longer than a request may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

fn notice(kind: &str, sentence: &str) -> Notice {
    Notice {
        id: "0199aaaa-0000-7000-8000-000000000001".to_owned(),
        at: "2026-11-25T10:00:00.123456Z".parse::<Timestamp>().unwrap(),
        kind: kind.to_owned(),
        payload: json!({"project": "default", "app": "web", "sentence": sentence}),
    }
}

async fn events(shop: &Shop) -> Vec<Value> {
    let path = format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        shop.namespace
    );
    let list = shop.api.get(&path).await.unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let ours = items.filter(|it| it["reportingController"] == "sluice");
    ours.cloned().collect()
}

fn told_at(shop: &Shop) -> NotifierConfig {
    shop.config.told_at().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_is_one_event_of_the_deployment() {
    let shop = Shop::start(1, json!({})).await;
    let (target, cx) = (told_at(&shop), &shop.replica.cx);
    let deliver = async |notice: &Notice| target.driver().deliver(cx, notice).await.unwrap();
    let started = notice("rollout.started", "rollout of r2 started");
    for _ in 0..2 {
        assert_eq!(deliver(&started).await, Delivery::Accepted);
    }
    let mut back = notice("rollout.rolledBack", &"€".repeat(1000));
    back.id = "another".to_owned();
    assert_eq!(deliver(&back).await, Delivery::Accepted);

    let mut events = events(&shop).await;
    events.sort_by_key(|it| it["reason"].to_string());
    assert_eq!(events.len(), 2, "{events:#?}");
    let (warning, event) = (&events[0], &events[1]);
    assert_eq!(event["reason"], "RolloutStarted");
    assert_eq!(event["note"], "rollout of r2 started");
    assert_eq!(event["type"], "Normal");
    assert_eq!(event["eventTime"], "2026-11-25T10:00:00.123456Z");
    let deployment = shop.deployment().await;
    assert_eq!(event["regarding"]["uid"], deployment["metadata"]["uid"]);
    assert_eq!(warning["type"], "Warning");
    let describe = ["describe", "deployment/web", "-n", &shop.namespace];
    let described = shop.plane.plane.kubectl(&describe, "").await.unwrap();
    assert!(described.contains("rollout of r2 started"), "{described}");

    let path = shop.path("deployments", Some("web"));
    shop.api.delete(&path).await.unwrap();
    local::wait::until(crate::rig::SOON, "nobody to tell", || async {
        match target.driver().deliver(cx, &started).await {
            Ok(Delivery::Gone) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_told_is_an_error_in_time() {
    let shop = Shop::start(1, json!({})).await;
    let mut rules = shipped_rights(&shop.plane.plane).await;
    let is_other = |it: &Value| it["resources"] != json!(["events"]);
    rules.as_array_mut().unwrap().retain(is_other);
    let role = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/sluice",
        shop.namespace
    );
    let change = json!({"rules": rules});
    let merge = local::kubernetes::Patch::Merge;
    shop.api.patch(&role, merge, &change).await.unwrap();
    let started = notice("rollout.started", "rollout of r2 started");
    let target = told_at(&shop);
    local::wait::until(crate::rig::SOON, "the right to be gone", || async {
        let mut again = started.clone();
        again.id = Timestamp::now().as_nanosecond().to_string();
        let delivered = target.driver().deliver(&shop.replica.cx, &again).await;
        match delivered.map_err(|error| error.to_string()) {
            Err(error) if error.contains("cannot create resource \"events\"") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();

    let mut own = Plane::own().await;
    let replica = Replica::new(&own.plane);
    own.plane.freeze_api_server();
    let began = Instant::now();
    let error = target
        .driver()
        .deliver(&replica.cx, &started)
        .await
        .unwrap_err();
    assert!(
        error.transient && began.elapsed() < ANSWERED_WITHIN,
        "{error}"
    );
    own.plane.thaw_api_server();
}
