//! Freeze windows against the real server: nothing goes forward in one, everything may go back.

use anyhow::{Context, ensure};
use api::OrderWord;
use e2e::apps::{APP, PROJECT, canary, held_canary};
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use serde_json::{Value, json};

const PAIR: ProcessHaProxy = ProcessHaProxy;

/// Makes a window through the command line that is on for an hour.
async fn freeze(world: &World, name: &str, more: &[&str]) -> anyhow::Result<()> {
    let from = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1);
    let until = from + jiff::SignedDuration::from_hours(1);
    let (from, until) = (from.to_string(), until.to_string());
    let mut add = vec!["freeze", "add", name, "--reason", "nobody is on call"];
    add.extend(["--from", &from, "--until", &until]);
    add.extend(more);
    world.cli(&add).await?.expect(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_waits_for_a_window_and_the_glass_can_be_broken() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &held_canary()).await?;
    let outcome = async {
        let app = format!("{PROJECT}/{APP}");
        freeze(&world, "weekend", &["--app", &app, "--running", "finish"]).await?;
        let plan = world.cli(&["plan", APP]).await?.expect(0)?;
        ensure!(
            plan.stdout.contains("freeze window weekend is on"),
            "{}",
            plan.stdout
        );
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.waits_for(id, "frozen").await?;
        let view = world.client.rollout(id).await?;
        let waiting = view.waiting_on.context("waits for nothing")?;
        ensure!(view.summary.phase == "pending", "{}", view.summary.phase);
        ensure!(
            waiting.sentence.contains("nobody is on call"),
            "{}",
            waiting.sentence
        );
        let glass = ["break-glass", APP, "--reason", "the fix for incident 42"];
        world.cli(&glass).await?.expect(0)?;
        world.waits_for(id, "promotion").await?;
        let history = world.history(id).await?;
        let broken = history.iter().find(|it| it.event == "brokeGlass");
        let sentence = &broken.context("not in the history")?.sentence;
        ensure!(sentence.contains("incident 42"), "{sentence}");
        world.order(id, OrderWord::Promote).await?;
        world.ended(id, "succeeded").await?;
        // Going back is never frozen.
        world.cli(&["undo", APP, "--wait"]).await?.expect(0)?;
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_runs_holds_until_the_window_is_gone_and_an_abort_acts() -> anyhow::Result<()> {
    let steps =
        json!([{ "setWeight": 20 }, { "pause": "2s" }, { "setWeight": 60 }, { "pause": {} }]);
    let mut world = World::installed(Setup::default(), &PAIR, &canary(&steps)).await?;
    let outcome = async {
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.waits_for(id, "timer").await?;
        freeze(&world, "now", &["--project", PROJECT]).await?;
        world.waits_for(id, "frozen").await?;
        // Longer than the pause, for which timers would not have stood still.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let view = world.client.rollout(id).await?;
        let share = |view: &api::RolloutView| -> Option<f64> {
            let mut all = view.traffic.iter().filter(|it| it.role == "candidate");
            all.next().and_then(|it| it.observed)
        };
        ensure!(view.summary.phase == "paused", "{}", view.summary.phase);
        ensure!(share(&view) == Some(20.0), "{:?}", view.traffic);
        let refused = world.order(id, OrderWord::PromoteFull).await.err();
        let refused = refused.context("it was promoted in a window")?;
        let refused = format!("{refused:#}");
        ensure!(refused.contains("freeze window now"), "{refused}");
        world.cli(&["freeze", "remove", "now"]).await?.expect(0)?;
        world.waits_for(id, "promotion").await?;
        freeze(&world, "again", &["--all"]).await?;
        world.waits_for(id, "frozen").await?;
        world.order(id, OrderWord::Abort).await?;
        world.ended(id, "rolledBack").await?;
        let list = world
            .cli(&["-o", "json", "freeze", "list"])
            .await?
            .expect(0)?;
        let list: Value = serde_json::from_str(&list.stdout)?;
        ensure!(
            list[0]["active"] == true && list[0]["name"] == "again",
            "{list}"
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}
