//! Header and mirror routes of a rollout, at a real Gateway: who asks with the header meets the
//! candidate, and nobody else does.

use std::time::Duration;

use anyhow::{Context, ensure};
use api::OrderWord;
use e2e::apps::canary;
use e2e::invariants::{Allowed, check};
use e2e::pairs::DeploymentGateway;
use e2e::real_cluster::SOON;
use e2e::{Front, Pair, Setup, Version, World};
use local::shop::VERSION_HEADER;
use local::wait;
use serde_json::json;

/// How long Envoy may take to have what its controller has.
const HAS_IT: Duration = Duration::from_secs(10);
/// Requests that see a state of the route.
const REQUESTS: usize = 40;

/// Which version answers one request, with the testers' header or without.
async fn answers(world: &World, front: &dyn Front, tester: bool) -> anyhow::Result<String> {
    let host = front.host(world).context("users name a host")?;
    let client = e2e::world::http()?;
    let request = client.get(front.url(world)).header("host", host);
    let request = match tester {
        true => request.header("x-tester", "yes"),
        false => request,
    };
    let answer = request.send().await?.error_for_status()?;
    let version = answer.headers().get(VERSION_HEADER);
    let version = version.context("an answer of nobody's")?;
    Ok(version.to_str()?.to_owned())
}

/// Waits until testers meet `version`, and then sees that they do at every request.
async fn testers_meet(world: &World, front: &dyn Front, version: &str) -> anyhow::Result<()> {
    wait::until(HAS_IT, "the testers' route", || async {
        match answers(world, front, true).await {
            Ok(it) if it == version => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    for _ in 0..REQUESTS {
        let met = answers(world, front, true).await?;
        ensure!(met == version, "a tester met {met}, not {version}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn testers_meet_the_candidate_before_anybody_else_does() -> anyhow::Result<()> {
    let pair = DeploymentGateway::default();
    let header = json!({ "headerName": "X-Tester", "headerValue": { "exact": "yes" } });
    let strategy = canary(&json!([
        { "setHeaderRoute": { "name": "testers", "match": [header] } },
        { "pause": {} },
        { "setMirrorRoute": { "name": "copies", "percentage": 100 } },
        { "setWeight": 50 },
        { "pause": {} },
    ]));
    let mut world = World::installed(Setup::default(), &pair, &strategy).await?;
    let told = async {
        let front = pair.front();
        let artifact = pair.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.waits_for(id, "promotion").await?;
        testers_meet(&world, front, "v2").await?;
        world.served(100).await?;
        for _ in 0..REQUESTS {
            let met = answers(&world, front, false).await?;
            ensure!(met == "v1", "somebody met {met} without asking for it");
        }
        world.order(id, OrderWord::Promote).await?;
        // With copies of everything, and half of the traffic; the testers' route still stands.
        world
            .until(id, SOON, "the second pause", |view| {
                view.step_index > 3
                    && view
                        .waiting_on
                        .as_ref()
                        .is_some_and(|it| it.kind == "promotion")
            })
            .await?;
        testers_meet(&world, front, "v2").await?;
        world.order(id, OrderWord::Abort).await?;
        world.ended(id, "rolledBack").await?;
        testers_meet(&world, front, "v1").await
    };
    let told = told.await;
    world.explained(told).await?;
    check(&mut world, &pair, Allowed::default()).await
}
