//! An autoscaler in the middle of a canary: both revisions follow what it wants.

use anyhow::ensure;
use api::OrderWord;
use e2e::apps::canary;
use local::kubernetes::Patch;
use serde_json::{Value, json};

use super::shop::{Setup, Shop, V1, V2};

/// Between `least` and `most` pods. Nothing measures, so it only holds the bounds.
fn autoscaler(least: u32, most: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
            "minReplicas": least, "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60},
            }}],
        },
    })
}

/// Moves its bounds and waits until both revisions have followed, with `share` of the traffic on the
/// candidate.
async fn bounded(
    shop: &Shop,
    (least, most): (u32, u32),
    wanted: (u64, u64),
    share: f64,
) -> anyhow::Result<()> {
    let path = format!(
        "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers/shop",
        shop.namespace
    );
    let bounds = json!({"spec": {"minReplicas": least, "maxReplicas": most}});
    shop.api.patch(&path, Patch::Merge, &bounds).await?;
    shop.recorded(&format!("{wanted:?} pods"), |it| {
        let ready = (it.ready_of(V1), it.ready_of(V2));
        (it.wanted_of(V1), it.wanted_of(V2)) == wanted && ready == wanted && it.share(V2) == share
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_is_followed_up_and_down() -> anyhow::Result<()> {
    let held = canary(&json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]));
    let mut setup = Setup::new(4, held);
    setup.objects.push(autoscaler(4, 10));
    let shop = Shop::start(setup).await?;
    let told = async {
        let id = shop.deploy(V2).await?.summary.id;
        shop.waits_for(id, "promotion").await?;
        bounded(&shop, (8, 10), (8, 4), 0.5).await?;
        bounded(&shop, (2, 6), (6, 3), 0.5).await?;
        let held = shop.moments().await?.len();
        shop.order(id, OrderWord::Promote).await?;
        shop.ended(id, "succeeded").await?;
        bounded(&shop, (2, 4), (0, 4), 1.0).await?;
        anyhow::Ok(held)
    };
    let told = told.await;
    let held = shop.explained(told).await?;
    let moments = shop.moments().await?;
    for (index, moment) in moments.iter().enumerate() {
        // The least that it ever wanted.
        shop.explained(moment.carries(4)).await?;
        // A share is what ready pods are of all that are wanted: it may be less than its step's
        // while new ones are not ready, and never more.
        ensure!(index >= held || moment.share(V2) <= 0.5, "{moment:?}");
    }
    shop.finish(V2, &[]).await
}
