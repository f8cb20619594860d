//! A StatefulSet in place, by the driver, against the real controllers.

use drivers::{Routes, TrafficConfig, Workload};
use local::wait;
use rollout::{Revision, Weight};
use serde_json::{Value, json};

use crate::{
    rig::SOON,
    shop::{R1, R2, R3, Shop},
};

/// The image of each pod, by ordinal.
async fn images(shop: &Shop) -> Vec<String> {
    let mut pods = shop.list("pods").await;
    pods.sort_by_key(|it| it["metadata"]["name"].as_str().unwrap().to_owned());
    let image = |it: &Value| it["spec"]["containers"][0]["image"].clone();
    pods.iter()
        .map(|it| image(it).as_str().unwrap().to_owned())
        .collect()
}

async fn adopted(replicas: u32) -> Shop {
    let mut shop = Shop::stateful(replicas, json!({"serviceName": "web"})).await;
    shop.adopt().await;
    shop
}

/// Nothing of a rollout is left.
async fn settled(shop: &Shop, revision: Revision) {
    shop.reach(&[(revision, shop.whole)], &[revision]).await;
    let scales = [(revision, shop.whole)];
    shop.deployment_becomes_by("given back", &scales, |it| {
        it["metadata"]["annotations"]["sluice.dev/kept"].is_null()
            && it["status"]["observedGeneration"] == it["metadata"]["generation"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_is_brought_out_pod_by_pod_and_given_back() {
    let mut shop = adopted(3).await;
    let (before, pods) = (shop.deployment().await, shop.pods("web:v1").await);
    assert_eq!(pods.len(), 3);
    let cx = &shop.replica.cx;
    assert_eq!(shop.config.replicas(cx, &shop.app).await.unwrap(), 3);
    shop.deploy("web:v2").await;
    // Stable gives up a pod; the one in its place is the candidate's.
    shop.ensure(&[(R1, 2), (R2, 1)], &[R1]).await.unwrap();
    shop.reach(&[(R1, 2), (R2, 1)], &[R1]).await;
    assert_eq!(images(&shop).await, ["web:v1", "web:v1", "web:v2"]);
    assert!(pods.is_superset(&shop.pods("web:v1").await));
    shop.reach(&[(R1, 1), (R2, 2)], &[R1, R2]).await;
    assert_eq!(images(&shop).await, ["web:v1", "web:v2", "web:v2"]);
    shop.reach(&[(R2, 3)], &[R2]).await;
    let of_r2 = shop.pods("web:v2").await;
    settled(&shop, R2).await;
    let after = shop.deployment().await;
    assert_eq!(
        after["spec"]["updateStrategy"],
        before["spec"]["updateStrategy"]
    );
    assert_eq!(
        after["status"]["currentRevision"],
        after["status"]["updateRevision"]
    );
    assert_eq!(
        shop.pods("web:v2").await,
        of_r2,
        "a pod was replaced at the end"
    );

    // Back to what was there, by the content that was kept.
    shop.reach(&[(R2, 1), (R1, 2)], &[R1, R2]).await;
    assert_eq!(images(&shop).await, ["web:v2", "web:v1", "web:v1"]);
    settled(&shop, R1).await;
    let back = shop.deployment().await;
    assert_eq!(back["spec"]["template"], before["spec"]["template"]);
    let done = shop
        .config
        .release(&shop.replica.cx, &shop.app, false)
        .await;
    assert!(!done.unwrap().is_empty());
    let mut left = vec![shop.deployment().await];
    left.extend(shop.list("controllerrevisions").await);
    for object in left {
        let metadata = json!([
            object["metadata"]["labels"],
            object["metadata"]["annotations"]
        ]);
        assert!(!metadata.to_string().contains("sluice"), "{metadata}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_pod_does_not_keep_a_stateful_set_from_going_back() {
    let mut shop = adopted(3).await;
    let (before, pods) = (shop.deployment().await, shop.pods("web:v1").await);
    shop.deploy("web:never").await;
    wait::until(SOON, "the broken pod to be told", || async {
        shop.ensure(&[(R1, 1), (R2, 2)], &[R1]).await?;
        let statuses = shop.look().await.map_err(|error| error.to_string())?;
        let status = statuses.get(&R2).cloned().unwrap_or_default();
        match status.problems.is_empty() {
            true => Err(format!("{statuses:?}")),
            false => Ok(()),
        }
    })
    .await
    .unwrap();
    // Its controller waits for that one, and has not touched the next.
    assert_eq!(images(&shop).await, ["web:v1", "web:v1", "web:never"]);
    shop.reach(&[(R1, 3)], &[R1]).await;
    settled(&shop, R1).await;
    assert_eq!(images(&shop).await, ["web:v1"; 3]);
    assert_eq!(shop.pods("web:v1").await.intersection(&pods).count(), 2);
    assert_eq!(shop.deployment().await["spec"], before["spec"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_pods_go_back_one_by_one_and_another_revision_supersedes() {
    let mut shop = adopted(3).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 1), (R2, 2)], &[R1, R2]).await;
    shop.reach(&[(R1, 2), (R2, 1)], &[R1, R2]).await;
    assert_eq!(images(&shop).await, ["web:v1", "web:v1", "web:v2"]);
    assert_eq!(shop.deploy("web:v3").await, R3);
    shop.reach(&[(R1, 2), (R3, 1)], &[R1, R3]).await;
    assert_eq!(images(&shop).await, ["web:v1", "web:v1", "web:v3"]);
    // An autoscaler makes it twice as large; the plan goes on counting in three.
    shop.edit("hpa", json!({"spec": {"replicas": 6}})).await;
    wait::until(SOON, "it to be followed", || async {
        shop.ensure(&[(R1, 2), (R3, 1)], &[R1, R3]).await?;
        let images = images(&shop).await;
        let of = |image: &str| images.iter().filter(|it| *it == image).count();
        match (of("web:v1"), of("web:v3")) {
            (4, 2) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    settled(&shop, R1).await;
    assert_eq!(images(&shop).await, ["web:v1"; 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_is_stopped_and_started_as_the_new_one() {
    let mut shop = adopted(2).await;
    shop.deploy("web:v2").await;
    shop.reach(&[], &[]).await;
    assert_eq!(images(&shop).await, Vec::<String>::new());
    settled(&shop, R2).await;
    assert_eq!(images(&shop).await, ["web:v2"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubernetes_rolls_out_is_not_adopted() {
    let shop = Shop::stateful(2, json!({"serviceName": "web"})).await;
    let held = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}});
    shop.edit("kubectl", held).await;
    let label = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    shop.edit("kubectl", label).await;
    wait::until(SOON, "it to be refused", || async {
        let offered = shop.config.offered(&shop.replica.cx, &shop.app, &[]).await;
        match offered {
            Err(error) if error.to_string().contains("let that end first") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_of_a_stateful_set_changed_past_sluice_is_told_and_not_fought() {
    let shop = adopted(2).await;
    let label = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    shop.edit("kubectl-edit", label).await;
    shop.told_by(&[(R1, 2)], "changed past Sluice").await;
    let after = shop.deployment().await;
    assert_eq!(after["spec"]["template"]["metadata"]["labels"]["a"], "b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_tells_the_pods_of_a_stateful_set_apart() {
    let mut shop = adopted(3).await;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let path = shop.path("services", None);
    shop.api.create(&path, &service).await.unwrap();
    let place = json!({"namespace": shop.namespace, "service": "web"});
    let router: TrafficConfig = serde_json::from_value(json!({"replicaRatio": place})).unwrap();
    shop.deploy("web:v2").await;

    // Before there is a pod of the candidate, the Service keeps it out.
    let selected = routed(&shop, &router, &[(R1, Weight::ALL)]).await;
    let current = shop.deployment().await["status"]["currentRevision"].clone();
    assert_eq!(selected, current);
    shop.reach(&[(R1, 2), (R2, 1)], &[R1]).await;
    let third = Weight::of(1, 3);
    let shares = [(R1, third.rest()), (R2, third)];
    assert_eq!(routed(&shop, &router, &shares).await, json!(null));
    let cx = &shop.replica.cx;
    wait::until(SOON, "the shares that the pods make", || async {
        let observed = router.driver().observe(cx, &shop.app).await;
        let observed = observed.map_err(|error| error.to_string())?;
        match observed.shares.get(&R2) == Some(&third) && observed.foreign.is_empty() {
            true => Ok(()),
            false => Err(format!("{observed:?}")),
        }
    })
    .await
    .unwrap();
    let selected = routed(&shop, &router, &[(R2, Weight::ALL)]).await;
    assert_eq!(
        selected,
        shop.deployment().await["status"]["updateRevision"]
    );
}

/// Until the router has these shares. The revision that the Service is narrowed to.
async fn routed(shop: &Shop, router: &TrafficConfig, shares: &[(Revision, Weight)]) -> Value {
    wait::until(SOON, "the Service to follow", || async {
        let statuses = shop.look().await.map_err(|error| error.to_string())?;
        let routes = Routes {
            weights: shares.iter().copied().collect(),
            present: [R1, R2].into_iter().collect(),
            instances: statuses
                .into_iter()
                .map(|(revision, it)| (revision, it.instances))
                .collect(),
            epoch: shop.epoch,
            ..Routes::default()
        };
        let ensured = router.driver().ensure(&shop.replica.cx, &shop.app, &routes);
        ensured.await.map_err(|error| error.to_string())?;
        let service = shop.api.get(&shop.path("services", Some("web"))).await;
        let service = service.map_err(|error| error.to_string())?;
        let narrowed = service["spec"]["selector"]["controller-revision-hash"].clone();
        match narrowed.is_null() == (shares.len() > 1) {
            true => Ok(narrowed),
            false => Err(narrowed.to_string()),
        }
    })
    .await
    .unwrap()
}
