//! ConfigMaps and Secrets that count into a revision, against the real controllers.

use std::collections::BTreeSet;

use drivers::{
    Workload,
    workload::kubernetes::{Configs, Trigger},
};
use local::{
    kubernetes::{Patch, SLUICE},
    wait,
};
use serde_json::{Value, json};

use crate::{
    rig::{SOON, rules},
    shop::{R1, R2, Shop},
};

/// Reads ConfigMap `web`, Secret `web` and, if it is there, ConfigMap `more`.
fn spec(more: &Value) -> Value {
    let mut spec = json!({
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [{"name": "web", "image": "web:v1", "ports": [{"containerPort": 8080}], "envFrom": [
                    {"configMapRef": {"name": "web"}},
                    {"configMapRef": {"name": "more", "optional": true}},
                ]}],
                "volumes": [{"name": "secret", "secret": {"secretName": "web"}}],
            },
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

/// A Deployment that reads `one`, adopted.
async fn shop(configs: Configs, trigger: Trigger, more: Value) -> Shop {
    let mut shop = Shop::start(2, spec(&more)).await;
    for (file, user) in [("configmaps.yaml", SLUICE), ("secrets.yaml", SLUICE)] {
        let rules = rules(&shop.plane.plane, file).await;
        let name = file.trim_end_matches(".yaml");
        shop.allow_as(name, user, &rules).await;
    }
    for plural in ["configmaps", "secrets"] {
        let object = json!({"metadata": {"name": "web"}, "data": {"K": held(plural, "one")}});
        let path = shop.path(plural, None);
        shop.api.create(&path, &object).await.unwrap();
    }
    shop.config.configs = configs;
    shop.config.trigger = trigger;
    shop.adopt().await;
    shop
}

/// `value` as an object of that kind holds it.
fn held(plural: &str, value: &str) -> &'static str {
    match (plural, value) {
        ("secrets", "one") => "b25l",
        ("secrets", _) => "dHdv",
        (_, "one") => "one",
        (_, _) => "two",
    }
}

async fn set(shop: &Shop, plural: &str, value: &str) {
    let change = json!({"data": {"K": held(plural, value)}});
    let path = shop.path(plural, Some("web"));
    shop.api.patch(&path, Patch::Merge, &change).await.unwrap();
}

/// What the pods that run read, those that end left out: the values of what they name.
async fn reads(shop: &Shop) -> Vec<String> {
    let mut reads = Vec::new();
    for pod in shop.list("pods").await {
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let spec = &pod["spec"];
        let named = [
            (
                "configmaps",
                &spec["containers"][0]["envFrom"][0]["configMapRef"]["name"],
            ),
            ("secrets", &spec["volumes"][0]["secret"]["secretName"]),
        ];
        let mut values = Vec::new();
        for (plural, name) in named {
            let path = shop.path(plural, name.as_str());
            let object = shop.api.get(&path).await.unwrap();
            let value = object["data"]["K"].as_str().unwrap().to_owned();
            let own = if *name == "web" { " itself" } else { "" };
            values.push(format!("{value}{own}"));
        }
        reads.push(values.join(", "));
    }
    reads.sort();
    reads
}

/// One revision has all pods, and the Deployment is given back.
async fn at_rest(shop: &Shop, revision: rollout::Revision, strategy: &Value) {
    shop.reach(&[(revision, 2)], &[revision]).await;
    shop.deployment_becomes_by("at rest", &[(revision, 2)], |it| {
        it["spec"]["strategy"] == *strategy
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_config_map_is_a_revision_and_going_back_brings_the_old_content() {
    let mut shop = shop(Configs::ConfigMaps, Trigger::Artifact, json!({})).await;
    let (before, pods) = (shop.deployment().await, shop.pods("web:v1").await);
    assert_eq!(before["spec"]["paused"], true);
    assert_eq!(
        reads(&shop).await,
        ["one itself, b25l itself"; 2],
        "a pod was touched"
    );
    set(&shop, "configmaps", "two").await;
    shop.told_by(&[(R1, 2)], "ConfigMap/web changed since r1")
        .await;

    assert_eq!(shop.deploy("web:v1").await, R2);
    assert_ne!(shop.known[0].content, shop.known[1].content);
    shop.reach(&[(R1, 2), (R2, 1)], &[R1, R2]).await;
    let canary = [
        "two itself, b25l itself",
        "two itself, b25l itself",
        "two, b25l itself",
    ];
    assert_eq!(reads(&shop).await, canary);
    assert!(shop.pods("web:v1").await.is_superset(&pods));
    shop.reach(&[(R1, 2), (R2, 2)], &[R1, R2]).await;
    let of_r2: BTreeSet<String> = &shop.pods("web:v1").await - &pods;
    at_rest(&shop, R2, &before["spec"]["strategy"]).await;
    assert_eq!(
        shop.pods("web:v1").await,
        of_r2,
        "a pod was replaced at the end"
    );
    let after = shop.deployment().await;
    assert_eq!(
        after["spec"]["template"]["spec"],
        before["spec"]["template"]["spec"]
    );

    // Whatever the original holds now, stable's pods and those that are made anew read the copy.
    set(&shop, "configmaps", "one").await;
    shop.told_by(&[(R2, 2)], "its pods go on reading what it was made with")
        .await;
    let pod = shop.list("pods").await[0]["metadata"]["name"].clone();
    shop.api
        .delete(&shop.path("pods", pod.as_str()))
        .await
        .unwrap();
    shop.reach(&[(R2, 2)], &[R2]).await;
    assert_eq!(reads(&shop).await, ["two, b25l itself"; 2]);

    set(&shop, "configmaps", "two").await;
    let kept = shop.known[0].content.clone();
    let cx = &shop.replica.cx;
    let resolved = shop.config.resolve(cx, &shop.app, "web:v1", kept.as_ref());
    resolved.await.unwrap();
    shop.reach(&[(R2, 2), (R1, 1)], &[R1, R2]).await;
    let undo = ["one, b25l itself", "two, b25l itself", "two, b25l itself"];
    assert_eq!(reads(&shop).await, undo);
    shop.reach(&[(R2, 2), (R1, 2)], &[R1, R2]).await;
    at_rest(&shop, R1, &before["spec"]["strategy"]).await;
    assert_eq!(reads(&shop).await, ["one, b25l itself"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_trigger_template_a_changed_config_map_is_an_offer_and_changes_nothing() {
    let mut shop = shop(Configs::ConfigMaps, Trigger::Template, json!({})).await;
    let pods = shop.pods("web:v1").await;
    let offered = async |shop: &Shop| {
        let cx = &shop.replica.cx;
        let offered = shop.config.offered(cx, &shop.app, &shop.known);
        offered.await.unwrap()
    };
    assert_eq!(offered(&shop).await, None);
    // A label is no content, and neither is a Secret that does not count.
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let path = shop.path("configmaps", Some("web"));
    shop.api
        .patch(&path, Patch::Merge, &labelled)
        .await
        .unwrap();
    set(&shop, "secrets", "two").await;
    set(&shop, "configmaps", "two").await;
    let offer = wait::until(SOON, "an offer", || async {
        offered(&shop).await.ok_or("none")
    });
    let offer = offer.await.unwrap().artifact;
    assert_eq!(offer.artifact, "web:v1");
    shop.ensure(&[(R1, 2)], &[R1]).await.unwrap();
    assert_eq!(shop.pods("web:v1").await, pods);
    assert_eq!(shop.know(offer.artifact, offer.content), R2);
    assert_eq!(offered(&shop).await, None, "it is known");
    shop.reach(&[(R1, 2), (R2, 1)], &[R1, R2]).await;
    // Taken back, and asked for again by what stands there.
    shop.reach(&[(R1, 2)], &[R1]).await;
    assert_eq!(shop.pods("web:v1").await, pods);
    let candidate = shop.known.pop().unwrap();
    let again = offered(&shop).await.unwrap().artifact;
    assert_eq!(again.content, candidate.content);
    set(&shop, "configmaps", "one").await;
    wait::until(SOON, "no offer", || async {
        match offered(&shop).await {
            None => Ok(()),
            Some(offer) => Err(format!("{offer:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_followed_without_being_told() {
    let limit = json!({"revisionHistoryLimit": 0});
    let mut shop = shop(Configs::ConfigMapsAndSecrets, Trigger::Artifact, limit).await;
    let strategy = shop.deployment().await["spec"]["strategy"].clone();
    set(&shop, "secrets", "two").await;
    shop.told_by(&[(R1, 2)], "Secret/web changed since r1")
        .await;
    shop.deploy("web:v1").await;
    let content = json!([shop.known[0].content, shop.known[1].content]).to_string();
    assert!(
        content.contains("hmac-sha256:") && !content.contains("b25l"),
        "{content}"
    );
    shop.reach(&[(R1, 2), (R2, 2)], &[R1, R2]).await;
    at_rest(&shop, R2, &strategy).await;
    assert_eq!(reads(&shop).await, ["one, dHdv"; 2]);
    // The optional one that was not there stays away from what was made without it.
    let object = json!({"metadata": {"name": "more"}, "data": {"X": "x"}});
    let path = shop.path("configmaps", None);
    shop.api.create(&path, &object).await.unwrap();
    let pod = shop.list("pods").await.remove(0);
    let absent = &pod["spec"]["containers"][0]["envFrom"][1]["configMapRef"]["name"];
    assert_eq!(absent, "more-absent");

    // Nobody can go back to r1 any more: its copies go with its ReplicaSet.
    shop.known.remove(0);
    wait::until(SOON, "only what is read to be left", || async {
        shop.ensure(&[(R2, 2)], &[R2]).await?;
        let secrets = shop.list("secrets").await;
        let mut secrets: Vec<&Value> = secrets.iter().map(|it| &it["data"]["K"]).collect();
        secrets.retain(|it| !it.is_null());
        match secrets.len() {
            2 => Ok(()),
            _ => Err(format!("{secrets:?}")),
        }
    })
    .await
    .unwrap();
    let secrets = shop.list("secrets").await;
    let copies = secrets.iter().filter(|it| it["immutable"] == true);
    for copy in copies {
        let owner = &copy["metadata"]["ownerReferences"][0];
        assert_eq!(owner["kind"], "Deployment", "{copy}");
    }

    // Released, Kubernetes brings the originals back.
    let cx = &shop.replica.cx;
    let done = shop.config.release(cx, &shop.app, false).await.unwrap();
    let told = done
        .iter()
        .any(|it| it.contains("pods that read the originals"));
    assert!(told, "{done:?}");
    shop.deployment_becomes("rolled out", |it| {
        it["status"]["observedGeneration"] == it["metadata"]["generation"]
            && it["status"]["updatedReplicas"] == 2
            && it["status"]["replicas"] == 2
    })
    .await;
    assert_eq!(reads(&shop).await, ["one itself, dHdv itself"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_named() {
    let mut shop = Shop::start(1, spec(&json!({}))).await;
    shop.config.configs = Configs::ConfigMaps;
    let cx = &shop.replica.cx;
    let refused = shop.config.offered(cx, &shop.app, &[]).await.unwrap_err();
    assert!(
        refused.to_string().contains("resource \"configmaps\""),
        "{refused}"
    );
    let rules = rules(&shop.plane.plane, "configmaps.yaml").await;
    shop.allow_as("configmaps", SLUICE, &rules).await;
    wait::until(SOON, "the right to help", || async {
        let offered = shop.config.offered(cx, &shop.app, &[]).await;
        offered.map(drop).map_err(|it| it.to_string())
    })
    .await
    .unwrap();
    let refused = shop.config.resolve(cx, &shop.app, "web:v2", None).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("ConfigMap/web is not there"), "{refused}");
}
