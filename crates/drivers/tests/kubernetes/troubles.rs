//! What is wrong with pods is told within seconds, and what can heal is told apart.

use std::time::{Duration, Instant};

use local::wait;
use rollout::observation::ProblemKind;
use serde_json::json;

use crate::{
    rig::SOON,
    shop::{R1, R2, Shop},
};

/// The problem of this kind, once it is told of the candidate.
async fn told(shop: &Shop, kind: ProblemKind) -> String {
    wait::until(SOON, &format!("{kind:?}"), || async {
        shop.ensure(&[(R1, 1), (R2, 1)], &[R1]).await?;
        let statuses = shop.observe().await;
        let problems = statuses.get(&R2).map(|it| it.problems.clone());
        let problems = problems.unwrap_or_default();
        let found = problems.iter().find(|it| it.kind == kind);
        found
            .map(|it| it.detail.clone())
            .ok_or_else(|| format!("{statuses:?}"))
    })
    .await
    .unwrap()
}

async fn bringing_out(image: &str) -> Shop {
    let mut shop = Shop::adopted(1, json!({})).await;
    shop.deploy(image).await;
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled() {
    let shop = bringing_out("web:missing-1").await;
    let began = Instant::now();
    let detail = told(&shop, ProblemKind::StartFailed).await;
    assert!(detail.contains("cannot pull web:missing-1"), "{detail}");
    // Two seconds on a machine of its own.
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_ends_again_and_again() {
    let shop = bringing_out("web:crash-1").await;
    let first = told(&shop, ProblemKind::Exited).await;
    assert!(first.contains("ended with exit code 1"), "{first}");
    let detail = told(&shop, ProblemKind::CrashLoop).await;
    assert!(detail.contains("started again"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_does_not_pass() {
    let shop = bringing_out("web:never-1").await;
    let detail = told(&shop, ProblemKind::ProbeFailing).await;
    assert!(
        detail.contains("readiness probe has not passed"),
        "{detail}"
    );
    assert_eq!(shop.observe().await[&R2].ready, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_on_any_node() {
    let resources = json!({"requests": {"cpu": "100k"}});
    let mut shop = Shop::adopted(1, json!({})).await;
    shop.deploy("web:v2").await;
    let content = shop.known[1].content.as_mut().unwrap();
    content["template"]["spec"]["containers"][0]["resources"] = resources;
    let detail = told(&shop, ProblemKind::Unschedulable).await;
    assert!(detail.contains("Insufficient cpu"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_not_admitted() {
    let mut shop = Shop::adopted(1, json!({})).await;
    shop.deploy("web:v2").await;
    let content = shop.known[1].content.as_mut().unwrap();
    content["template"]["spec"]["serviceAccountName"] = json!("nobody");
    let detail = told(&shop, ProblemKind::NotAdmitted).await;
    assert!(detail.contains("\"nobody\" not found"), "{detail}");
}
