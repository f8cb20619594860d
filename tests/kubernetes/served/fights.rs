//! A GitOps tool that writes a field back again and again: it is named, and not fought for ever.

use std::sync::Arc;

use api::OrderWord;
use e2e::Cluster;
use e2e::apps::canary;
use local::kubernetes::{Options, Patch};
use local::wait;
use serde_json::{Value, json};

use super::SOON;
use super::shop::{Setup, Shop, V1, V2};

/// What the tool has in Git; `spec` goes over it.
fn manifest(spec: &Value) -> Value {
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "web", "image": V1}]},
            },
        },
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        manifest["spec"][field] = value.clone();
    }
    manifest
}

/// What stands at `pointer` in the Deployment.
async fn stands(shop: &Shop, pointer: &str) -> anyhow::Result<Value> {
    let deployment = shop.api.get(&shop.deployment()).await?;
    Ok(deployment.pointer(pointer).cloned().unwrap_or_default())
}

/// A rollout that is held, and `manifest` written back until it says who does that.
async fn fought(cluster: &Arc<Cluster>, manifest: &Value, pointer: &str) -> anyhow::Result<()> {
    let held = canary(&json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]));
    let shop = Shop::on(Arc::clone(cluster), Setup::new(2, held)).await?;
    let told = named(&shop, manifest, pointer).await;
    // Not every moment is well: the Deployment's controller obeys the tool until it is undone.
    shop.explained(told).await?;
    shop.finish(V1, &["hold spec.", "works again"]).await
}

async fn named(shop: &Shop, manifest: &Value, pointer: &str) -> anyhow::Result<()> {
    let id = shop.deploy(V2).await?.summary.id;
    shop.waits_for(id, "promotion").await?;
    let ours = stands(shop, pointer).await?;
    let path = format!("{}?fieldManager=gitops&force=true", shop.deployment());
    for _ in 0..3 {
        shop.api.patch(&path, Patch::Apply, manifest).await?;
        wait::until(SOON, "it to be written again", || async {
            let now = stands(shop, pointer).await;
            let now = now.map_err(|error| format!("{error:#}"))?;
            match now == ours {
                true => Ok(()),
                false => Err(now.to_string()),
            }
        })
        .await?;
    }
    shop.api.patch(&path, Patch::Apply, manifest).await?;
    wait::until_now(SOON, "the tool to be named", || {
        let log = shop.server.log();
        match log.contains("let gitops leave that field alone") {
            true => Ok(()),
            false => Err("it is not"),
        }
    })
    .await?;
    // The way back is no part of the fight.
    shop.order(id, OrderWord::Abort).await?;
    shop.ended(id, "rolledBack").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sets_a_field_back_is_named() -> anyhow::Result<()> {
    // On the shared one there may be the policy that refuses two of these.
    let options = Options {
        gateway_api: true,
        ..Options::default()
    };
    let cluster = Arc::new(Cluster::own(options).await?);
    let strategy = manifest(&json!({"strategy": {"type": "RollingUpdate"}}));
    let paused = manifest(&json!({"paused": false}));
    let image = manifest(&json!({}));
    tokio::try_join!(
        fought(&cluster, &strategy, "/spec/strategy"),
        fought(&cluster, &paused, "/spec/paused"),
        fought(&cluster, &image, "/spec/template/spec/containers/0/image"),
    )?;
    Ok(())
}
