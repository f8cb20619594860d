//! The server is killed with SIGKILL at each boundary of a pass and started again: the rollout ends as
//! it would have, at every instant everybody is served, and nothing is left.

use anyhow::{Context, ensure};
use e2e::apps::canary;
use e2e::deaths::{deployed, die_at};
use serde_json::json;
use uuid::Uuid;

use super::shop::{Setup, Shop, V1, V2, V3, V4};

const REPLICAS: u32 = 2;
const STEPS: [f64; 3] = [0.0, 0.5, 1.0];
const IMAGES: [&str; 3] = [V2, V3, V4];

/// One rollout for each of `times`, the server dying when it comes to `point` for that time.
async fn sweep(point: &str, times: &[u32]) -> anyhow::Result<()> {
    let steps = json!([{"setWeight": 50}, {"pause": "200ms"}, {"setWeight": 100}]);
    let mut shop = Shop::start(Setup::new(REPLICAS, canary(&steps))).await?;
    let (mut died, mut stable) = (0, V1);
    for (image, nth) in IMAGES.into_iter().zip(times) {
        let crash_at = format!("{point}:{nth}");
        let outcome = die_once(&mut shop, image, &crash_at).await;
        let outcome = outcome.with_context(|| format!("killed at {crash_at}"));
        died += usize::from(shop.explained(outcome).await?);
        stable = image;
    }
    // How often a pass comes by depends on the machine, and the last number may be too high.
    ensure!(died + 1 >= times.len(), "it died only {died} times");
    let moments = shop.moments().await?;
    for moment in &moments {
        shop.explained(moment.carries(REPLICAS.into())).await?;
    }
    for image in IMAGES.iter().take(times.len()) {
        let rising = moments.iter().map(|it| it.share(image));
        // Once it has everything, it is what the next one takes from.
        let mut rising: Vec<f64> = rising.take_while(|it| *it < 1.0).collect();
        rising.dedup();
        ensure!(STEPS.starts_with(&rising), "shares of {image}: {rising:?}");
    }
    shop.finish(stable, &[]).await
}

async fn die_once(shop: &mut Shop, image: &str, crash_at: &str) -> anyhow::Result<bool> {
    let key = Uuid::now_v7().to_string();
    let (server, app) = shop.server_and_app();
    let died = die_at(server, app, image, &key, crash_at).await?;
    shop.server.start_again(&[]).await?;
    let id = deployed(shop, image, &key).await?;
    shop.ended(id, "succeeded").await?;
    Ok(died)
}

macro_rules! crash_points {
    ($($name:ident: $point:literal at $times:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> anyhow::Result<()> {
            sweep($point, &$times).await
        })+
    };
}

crash_points! {
    before_load: "before-load" at [4, 15];
    after_observe: "after-observe" at [2, 9, 22];
    before_commit: "before-commit" at [1, 6, 10];
    after_commit: "after-commit" at [2, 5, 9];
    after_routes: "after-routes" at [3, 10, 21];
    after_ensure: "after-ensure" at [5, 16];
}
