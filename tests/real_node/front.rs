//! The Gateway as the front of a world: what the check of the invariants and the gates read there.

use std::time::Duration;

use anyhow::ensure;
use e2e::fronts::GatewayFront;
use e2e::real_cluster::{Namespace, SOON};
use e2e::{Front, Setup, Version, World};
use local::wait;
use serde_json::Value;

/// A window of the query and some.
const MEASURED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_sees_through_the_gateway_who_serves_and_who_fails() -> anyhow::Result<()> {
    let mut world = World::start_with(Setup::default(), &GatewayFront).await?;
    let namespace = Namespace::named(&GatewayFront::namespace(&world)).await?;
    let versions = [
        ("shop", Version::good("v1")),
        ("shop-candidate", Version::bad("v2")),
    ];
    for (name, version) in &versions {
        let image = namespace.cluster.image(version).await?;
        let deployment = namespace.deployment(name, &image, 2);
        namespace
            .apply(&[deployment, namespace.service(name)])
            .await?;
    }
    let route = |weight| namespace.route(&[("shop", 100 - weight), ("shop-candidate", weight)]);
    namespace.apply(&[route(0)]).await?;
    for (name, _) in &versions {
        namespace.rolled_out(name).await?;
    }
    namespace.open().await?;
    ensure!(GatewayFront.serving(&world).await? == ["v1", "v1"]);

    world.start_load(&GatewayFront)?;
    namespace.apply(&[route(20)]).await?;
    ensure!(GatewayFront.serving(&world).await? == ["v1", "v1", "v2", "v2"]);
    let query = GatewayFront.errors_query(&world);
    let url = format!("{}/api/v1/query", world.prometheus.url());
    let client = e2e::world::http()?;
    wait::until(
        MEASURED_WITHIN,
        "half of the answers to be errors",
        || async {
            let asked = client.get(&url).query(&[("query", &query)]).send().await;
            let asked = asked.map_err(|error| error.to_string())?;
            let answer: Value = asked.json().await.map_err(|error| error.to_string())?;
            let share = answer["data"]["result"][0]["value"][1].as_str();
            let share = share.and_then(|it| it.parse::<f64>().ok());
            match share {
                Some(share) if (share - 0.5).abs() < 0.1 => Ok(()),
                _ => Err(answer.to_string()),
            }
        },
    )
    .await?;

    let total = world.load_counts().total;
    wait::until_now(SOON, "more requests", || match world.load_counts().total {
        now if now >= total + 200 => Ok(()),
        now => Err(now),
    })
    .await?;
    world.stop_load().await;
    let record = GatewayFront.record(&world).await?;
    let of = |name: &str| {
        let its = |it: &&e2e::fronts::Request| it.by.as_deref() == Some(name);
        record.requests.iter().filter(its).count()
    };
    let (stable, candidate) = (of("v1"), of("v2"));
    ensure!(
        stable + candidate == record.requests.len() && candidate > 0 && stable > 2 * candidate,
        "v1 served {stable} and v2 {candidate} of {} requests",
        record.requests.len()
    );
    ensure!(!record.requests.iter().any(|it| it.own_error));
    Ok(())
}
