//! The check of the invariants itself: it must find what is wrong.

use anyhow::ensure;
use e2e::apps::{canary, held_canary};
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use serde_json::json;

const PAIR: ProcessHaProxy = ProcessHaProxy;

/// What the check says against this world.
async fn found(world: &mut World) -> String {
    match check(world, &PAIR, Allowed::default()).await {
        Ok(()) => "nothing".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_was_changed_is_found() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &held_canary()).await?;
    let change = |set: &str| {
        format!(
            "ALTER TABLE transition DISABLE TRIGGER USER; \
             UPDATE transition SET {set} WHERE seq = 2; \
             ALTER TABLE transition ENABLE ALWAYS TRIGGER transition_append_only"
        )
    };
    // Even the owner cannot change it in passing.
    let refused = world.database.sql("UPDATE transition SET by = 'me'").await;
    ensure!(refused.is_err(), "the history was changed");
    world.database.sql(&change("by = 'somebody else'")).await?;
    let said = found(&mut world).await;
    ensure!(said.contains("the chain of hashes is whole"), "{said}");
    world.database.sql(&change("seq = 20")).await?;
    let said = found(&mut world).await;
    ensure!(said.contains("has no gap"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_strangers_are_found() -> anyhow::Result<()> {
    // Nobody asks a gate here, so the bad version gets through.
    let strategy = canary(&json!([{ "setWeight": 100 }]));
    let mut world = World::installed(Setup::default(), &PAIR, &strategy).await?;
    let outcome = async {
        let mut app = e2e::apps::app(&world, &PAIR, &strategy);
        app.as_object_mut().and_then(|it| it.remove("gates"));
        world.apply(&app).await?;
        let artifact = PAIR.artifact(&world, &Version::bad("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.ended(id, "succeeded").await?;
        let errors = || world.load_counts().errors();
        local::wait::until_now(e2e::world::ENDS_WITHIN, "an error", || match errors() {
            0 => Err("none"),
            _ => Ok(()),
        })
        .await?;
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    let said = found(&mut world).await;
    ensure!(said.contains("v2 answered"), "{said}");
    Ok(())
}
