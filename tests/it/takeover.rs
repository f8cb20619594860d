//! Two servers on one database: what one cannot do any more, the other does, and never both.

use std::time::{Duration, Instant};

use anyhow::ensure;
use api::OrderWord;
use e2e::apps::held_canary;
use e2e::invariants::{Allowed, check};
use e2e::pairs::StaticHaProxy;
use e2e::server::Server;
use e2e::{Pair, Setup, Version, World};
use local::part::Signal;
use uuid::Uuid;

const PAIR: StaticHaProxy = StaticHaProxy;
/// A lease's time by the database's clock is 6 s; the rest is for a busy machine.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);

/// A world with `v2` at 20 %, and a second server on its database.
async fn two_servers() -> anyhow::Result<(World, Server, Uuid)> {
    let world = World::installed(Setup::default(), &PAIR, &held_canary()).await?;
    let begun = async {
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.waits_for(id, "promotion").await?;
        let directory = world.directory().join("second");
        std::fs::create_dir_all(&directory)?;
        let second = Server::start(&directory, world.database.url()).await?;
        anyhow::Ok((second, id))
    };
    let begun = begun.await;
    let (second, id) = world.explained(begun).await?;
    Ok((world, second, id))
}

/// Promotes through the second server and waits for the end there.
async fn promote_there(world: &World, second: &Server, id: Uuid) -> anyhow::Result<()> {
    let client = api::Client::new(&second.url(), Some(world.token.clone().into()))?;
    let began = Instant::now();
    let order = api::CommandRequest {
        order: OrderWord::Promote,
        comment: None,
    };
    client.command(id, &order).await?;
    let answer = client.wait(id, None, Duration::from_secs(30)).await?;
    ensure!(
        answer.rollout.summary.phase == "succeeded" && began.elapsed() < TAKEN_OVER_WITHIN,
        "after {:?}: {}\nlog of the second server:\n{}",
        began.elapsed(),
        e2e::world::words(&answer.rollout),
        second.log_tail(30)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_server_goes_on_when_the_first_is_killed() -> anyhow::Result<()> {
    let (mut world, second, id) = two_servers().await?;
    let outcome = async {
        world.server.kill9()?;
        promote_there(&world, &second, id).await
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    world.server.start_again(&[]).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_does_no_harm_when_it_wakes_up() -> anyhow::Result<()> {
    let (mut world, second, id) = two_servers().await?;
    let outcome = async {
        world.server.signal(Signal::STOP);
        promote_there(&world, &second, id).await?;
        // It believes for a moment that the candidate is to have 20 %.
        world.server.signal(Signal::CONT);
        world.server.wait_ready().await?;
        let counts = world.load_counts();
        let wanted = counts.total + 120;
        local::wait::until_now(Duration::from_secs(10), "the load to go on", || {
            let total = world.load_counts().total;
            if total >= wanted { Ok(()) } else { Err(total) }
        })
        .await?;
        let after = world.load_counts();
        let old = |it: &local::load::Snapshot| it.versions.get("v1").map_or(0, |it| it.requests);
        ensure!(
            old(&counts) == old(&after),
            "v1 got {} requests after the end",
            old(&after) - old(&counts)
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    let allowed = Allowed {
        // Whatever it was asking when it was stopped is late when it wakes up.
        log: &["lease", "no answer within"],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}
