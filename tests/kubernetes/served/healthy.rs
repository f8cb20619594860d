//! What holds at every instant of a rollout that nothing disturbs.

use anyhow::ensure;
use e2e::apps::canary;
use serde_json::{Value, json};

use super::moments::Moment;
use super::shop::{Setup, Shop, V1, V2};

/// Brings out [`V2`] and gives every moment of it.
async fn brought_out(replicas: u32, strategy: Value) -> anyhow::Result<(Shop, Vec<Moment>)> {
    let shop = Shop::start(Setup::new(replicas, strategy)).await?;
    let delivered = shop.delivered(V2, "succeeded").await;
    shop.explained(delivered).await?;
    let moments = shop.moments().await?;
    Ok((shop, moments))
}

async fn every(
    shop: &Shop,
    moments: &[Moment],
    holds: impl Fn(&Moment) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    shop.explained(moments.iter().try_for_each(holds)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_gives_no_more_than_its_step_and_never_less_than_it_can_carry()
-> anyhow::Result<()> {
    const STEPS: [f64; 4] = [0.0, 0.1, 0.5, 1.0];
    let steps = json!([
        {"setWeight": 10}, {"pause": "500ms"}, {"setWeight": 50}, {"pause": "500ms"},
        {"setWeight": 100},
    ]);
    let (shop, moments) = brought_out(4, canary(&steps)).await?;
    every(&shop, &moments, |moment| {
        moment.carries(4)?;
        moment.within(4, 0)
    })
    .await?;
    let mut shares: Vec<f64> = moments.iter().map(|it| it.share(V2)).collect();
    shares.dedup();
    ensure!(shares == STEPS, "{shares:?}");
    // Stable is whole until all traffic has left it.
    let left = |it: &&Moment| it.share(V1) == 0.0;
    let kept = moments.iter().take_while(|it| !left(it));
    let mut sizes: Vec<(u64, u64)> = kept
        .map(|it| (it.wanted_of(V1), it.wanted_of(V2)))
        .collect();
    sizes.dedup();
    ensure!(sizes == [(4, 0), (4, 1), (4, 2), (4, 4)], "{sizes:?}");
    shop.finish(V2, &[]).await
}

async fn rolls(surge: u64, unavailable: u64) -> anyhow::Result<()> {
    let strategy = json!({"rolling": {"maxSurge": surge, "maxUnavailable": unavailable}});
    let (shop, moments) = brought_out(4, strategy).await?;
    every(&shop, &moments, |moment| {
        // Without any surge the paused Deployment's controller would scale stable up again: the first
        // pod of the candidate is there before one of stable goes.
        moment.within(surge.max(1), unavailable)?;
        match unavailable {
            0 => moment.carries(4),
            // Those that may be missing are missed by stable, which keeps its share meanwhile.
            _ => moment.serves(),
        }
    })
    .await?;
    shop.finish(V2, &[]).await
}

macro_rules! rolling {
    ($($name:ident: $surge:literal, $unavailable:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> anyhow::Result<()> {
            rolls($surge, $unavailable).await
        })+
    };
}

rolling! {
    rolling_with_a_surge_is_never_short_of_a_pod: 1, 0;
    rolling_with_both_limits_keeps_both: 2, 1;
    rolling_without_a_surge_has_one_pod_too_many_at_most: 0, 1;
}
