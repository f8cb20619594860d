//! The routers without a route: `service` and `replicaRatio`.

use std::collections::BTreeSet;

use rollout::{Revision, Weight};
use serde_json::{Value, json};

use crate::{
    rig::Plane,
    shop::{Shop, bare},
    states,
};

async fn open(word: &str, settings: &Value, made: &[(&str, Value)]) -> Shop {
    let router = json!({ word: settings });
    Shop::open(&Plane::shared().await, &[], &router, made).await
}

fn none(_: &states::World) -> BTreeSet<String> {
    BTreeSet::new()
}

async fn at_rest(shop: &Shop, before: &Value) {
    shop.rest().await;
    let after = shop.service("checkout").await.unwrap();
    assert_eq!(bare(after), bare(before.clone()));
    let events = shop.recording.so_far().await.unwrap();
    states::check(&events, &shop.allowed, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_switches_by_the_selector_and_shows_the_preview() {
    let preview = json!({ "metadata": { "name": "preview" },
        "spec": { "selector": { "app": "checkout" }, "ports": [{ "port": 80 }] } });
    let made = [("/api/v1/*/services", preview)];
    let settings = json!({ "service": "checkout", "preview": "preview" });
    let mut shop = open("service", &settings, &made).await;
    let before = shop.service("checkout").await.unwrap();
    let preview = shop.service("preview").await.unwrap();
    assert_eq!(shop.settle().await.in_use.len(), 3);
    assert_eq!(
        shop.service("checkout").await.unwrap(),
        before,
        "at rest nothing is written"
    );

    shop.bring(2, 3).await;
    let shown = async |service: &str| {
        let events = shop.recording.so_far().await.unwrap();
        let mut behind = BTreeSet::new();
        states::each(&events, |_, world| behind = states::behind(world, service));
        behind
    };
    shop.until("the preview", async |_| {
        shown("preview").await == BTreeSet::from([2])
    })
    .await;
    assert_eq!(shown("checkout").await, BTreeSet::from([1]));
    shop.roll(&[(2, 100)]).await;
    shop.roll(&[(1, 100)]).await;
    shop.roll(&[(2, 100)]).await;
    shop.end(1).await;
    at_rest(&shop, &before).await;
    assert_eq!(bare(shop.service("preview").await.unwrap()), bare(preview));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_in_between_is_refused_by_a_service() {
    let mut shop = open("service", &json!({ "service": "checkout" }), &[]).await;
    shop.settle().await;
    shop.bring(2, 1).await;
    shop.ask(&[(1, 75), (2, 25)]).await;
    let error = shop.pass_with(None).await.ensured.unwrap_err();
    assert!(error.contains("replicaRatio"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_is_to_serve_the_service_has_no_endpoints() {
    let mut shop = open("service", &json!({ "service": "checkout" }), &[]).await;
    let before = shop.service("checkout").await.unwrap();
    shop.settle().await;
    let seen = shop.roll(&[]).await;
    assert!(seen.in_use.is_empty() && seen.shares.is_empty(), "{seen:?}");
    shop.scale(1, 0).await;
    shop.pods(1, 0).await;
    shop.bring(2, 3).await;
    shop.roll(&[(2, 100)]).await;
    shop.rest().await;
    assert_eq!(bare(shop.service("checkout").await.unwrap()), bare(before));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_by_their_number_and_nothing_and_everything_are_exact() {
    let mut shop = open("replicaRatio", &json!({ "service": "checkout" }), &[]).await;
    let before = shop.service("checkout").await.unwrap();
    shop.settle().await;
    // One of three pods is what 20 % asks for: it gets nothing before it is asked for.
    shop.bring(2, 1).await;
    assert_eq!(shop.settle().await.in_use.len(), 3);
    shop.ask(&[(1, 80), (2, 20)]).await;
    shop.until("the share", async |pass| {
        let quarter = Weight::from_hundredths(2500);
        let seen = pass.observed.as_ref().ok();
        let share = seen.and_then(|it| it.shares.get(&Revision(2)));
        share == Some(&quarter)
            && seen
                .is_some_and(|it| it.tolerance >= quarter.distance(Weight::from_hundredths(2000)))
    })
    .await;
    // An abort takes it away while its pod is still there.
    let seen = shop.roll(&[(1, 100)]).await;
    assert_eq!((seen.in_use.len(), seen.tolerance), (3, Weight::ZERO));
    shop.scale(2, 3).await;
    shop.pods(2, 3).await;
    shop.roll(&[(2, 100)]).await;
    shop.end(1).await;
    at_rest(&shop, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_somebody_else_stay_behind_the_service() {
    let mut shop = open("replicaRatio", &json!({ "service": "checkout" }), &[]).await;
    shop.settle().await;
    let set = json!({
        "metadata": { "name": "legacy" },
        "spec": { "replicas": 1, "selector": { "matchLabels": { "legacy": "yes" } },
            "template": { "metadata": { "labels": { "legacy": "yes", "app": "checkout" } },
                "spec": { "containers": [{ "name": "web", "image": "legacy:1" }] } } },
    });
    let sets = format!("/apis/apps/v1/namespaces/{}/replicasets", shop.namespace);
    shop.api.create(&sets, &set).await.unwrap();
    shop.until("the stranger", async |pass| {
        pass.observed
            .as_ref()
            .is_ok_and(|it| it.foreign.iter().any(|it| it.starts_with("legacy-")))
    })
    .await;
    let before = shop.service("checkout").await;
    let error = shop.pass_with(Some(2)).await.ensured.unwrap_err();
    assert!(error.contains("none of the app's (legacy-"), "{error}");
    assert_eq!(shop.service("checkout").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_a_switched_service_gives_back_its_selector() {
    let mut shop = open("service", &json!({ "service": "checkout" }), &[]).await;
    let before = shop.service("checkout").await.unwrap();
    shop.settle().await;
    shop.bring(2, 2).await;
    shop.roll(&[(2, 100)]).await;
    let driver = shop.router.driver();
    let told = driver
        .release(&shop.replica.cx, &shop.app, true)
        .await
        .unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        driver
            .release(&shop.replica.cx, &shop.app, false)
            .await
            .unwrap(),
        told
    );
    assert_eq!(bare(shop.service("checkout").await.unwrap()), bare(before));
    assert!(
        driver
            .release(&shop.replica.cx, &shop.app, false)
            .await
            .unwrap()
            .is_empty()
    );
}
