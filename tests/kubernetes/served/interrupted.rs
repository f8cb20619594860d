//! Rollouts that somebody ends: an abort at every step, a new deploy in the middle.

use anyhow::{bail, ensure};
use api::OrderWord;
use e2e::app_client::ENDS_WITHIN;
use e2e::apps::canary;
use serde_json::{Value, json};

use super::SOON;
use super::shop::{Setup, Shop, V1, V2, V3};

fn steps() -> Value {
    canary(&json!([
        {"setWeight": 25}, {"pause": "200ms"}, {"setWeight": 100}, {"pause": "200ms"},
    ]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_at_any_step_leaves_what_was() -> anyhow::Result<()> {
    let shop = Shop::start(Setup::new(2, steps())).await?;
    let told = aborted_everywhere(&shop).await;
    let stable = shop.explained(told).await?;
    for moment in shop.moments().await? {
        shop.explained(moment.carries(2)).await?;
    }
    shop.finish(&stable, &[]).await
}

/// Aborts a rollout at each of its steps. What is stable after that: a rollout may be done before it
/// is aborted at one of its last steps.
async fn aborted_everywhere(shop: &Shop) -> anyhow::Result<String> {
    let mut stable = V1.to_owned();
    let (mut step, mut aborted) = (0, 0);
    loop {
        let image = format!("shop:v{}", step + 2);
        let rollout = shop.deploy(&image).await?;
        let (id, count) = (rollout.summary.id, rollout.steps.len());
        let what = format!("step {step}");
        let there = shop.until(id, SOON, &what, |it| {
            it.summary.phase != "pending" && it.step_index >= step
        });
        let ordered = match there.await {
            Ok(_) => shop.order(id, OrderWord::Abort).await,
            Err(error) => Err(error),
        };
        let ended = shop.until(id, ENDS_WITHIN, "the end", |it| {
            it.summary.ended_at.is_some()
        });
        match (ended.await?.summary.phase.as_str(), ordered) {
            ("rolledBack", Ok(_)) => aborted += 1,
            ("succeeded", _) => stable = image,
            (phase, ordered) => bail!("{image} is {phase} after an abort at {step}: {ordered:?}"),
        }
        step += 1;
        if step == count {
            ensure!(
                aborted + 2 >= count,
                "only {aborted} of {count} were aborted"
            );
            return Ok(stable);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_deploy_in_the_middle_goes_back_first() -> anyhow::Result<()> {
    let held = canary(&json!([{"setWeight": 50}, {"pause": {}}, {"setWeight": 100}]));
    let shop = Shop::start(Setup::new(4, held)).await?;
    let told = async {
        let first = shop.deploy(V2).await?.summary.id;
        shop.waits_for(first, "promotion").await?;
        let second = shop.deploy(V3).await?.summary.id;
        shop.ended(first, "rolledBack").await?;
        shop.waits_for(second, "promotion").await?;
        shop.order(second, OrderWord::Promote).await?;
        shop.ended(second, "succeeded").await
    };
    let told = told.await;
    shop.explained(told).await?;
    let moments = shop.moments().await?;
    for moment in &moments {
        shop.explained(moment.carries(4)).await?;
    }
    let both = moments
        .iter()
        .find(|it| it.share(V2) > 0.0 && it.share(V3) > 0.0);
    ensure!(both.is_none(), "two candidates at once: {both:?}");
    ensure!(moments.iter().any(|it| it.share(V2) == 0.5));
    shop.finish(V3, &[]).await
}
