//! Statistical gates with real parts: HAProxy's counters, scraped by Prometheus, judged while requests
//! flow.

use std::time::Duration;

use anyhow::{Context, ensure};
use api::{Backtest, Calibrations};
use e2e::apps::{self, canary};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use local::wait;
use serde_json::{Value, json};
use uuid::Uuid;

const PAIR: ProcessHaProxy = ProcessHaProxy;

/// Half a minute without a rollout must have passed, on a machine with more to do.
const CALIBRATED_WITHIN: Duration = Duration::from_secs(180);

/// A world in which `version` goes out by these steps, judged by a gate on HAProxy's servers.
async fn begin(steps: &Value, version: &Version, more: &Value) -> anyhow::Result<(World, Uuid)> {
    let gate = |world: &World| apps::compare_gate(world, more);
    begin_with(Setup::default(), steps, version, gate).await
}

async fn begin_with(
    setup: Setup,
    steps: &Value,
    version: &Version,
    gate: impl Fn(&World) -> Value,
) -> anyhow::Result<(World, Uuid)> {
    let strategy = canary(steps);
    let world = World::installed(setup, &PAIR, &strategy).await?;
    let begun = async {
        let app = apps::app_with_gate(&world, &PAIR, &strategy, gate(&world));
        world.apply(&app).await?;
        let artifact = PAIR.artifact(&world, version).await?;
        Ok(world.deploy(&artifact).await?.summary.id)
    };
    let begun = begun.await;
    let id = world.explained(begun).await?;
    Ok((world, id))
}

async fn explanation(world: &World, id: Uuid) -> anyhow::Result<String> {
    let explained = world.client.explain(id).await?;
    Ok(format!(
        "{}\n{}",
        explained.headline,
        explained.facts.join("\n")
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_candidate_is_taken_back_with_its_evidence() -> anyhow::Result<()> {
    let steps = json!([{ "setWeight": 25 }, { "gate": { "for": "2m" } }]);
    // No PromQL: the backend's name is known from the router.
    let gate = json!({ "name": "errors", "compare": { "metric": "haproxy" }, "interval": "300ms" });
    let setup = Setup {
        own_prometheus: true,
        ..Setup::default()
    };
    let bad = Version::bad("v2");
    let (world, id) = begin_with(setup, &steps, &bad, |_| gate.clone()).await?;
    let outcome = async {
        let view = world.ended(id, "rolledBack").await?;
        let why = view.why.context("no reason")?;
        ensure!(why.kind == "gateFailed", "{why:?}");
        ensure!(
            why.sentence.contains("errors: candidate ")
                && why.sentence.contains("false alarm chance ≤ 5 %"),
            "{}",
            why.sentence
        );
        let said = explanation(&world, id).await?;
        ensure!(said.contains("requests, stable 0 of "), "{said}");
        Ok(())
    };
    let outcome = outcome.await;
    world.explained(outcome).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_candidate_passes_once_it_is_proven() -> anyhow::Result<()> {
    // A floor that some hundred requests without an error can prove.
    let steps = json!([{ "setWeight": 50 }, { "gate": { "for": "1s" } }, { "setWeight": 100 }]);
    let more = json!({ "floor": 0.02 });
    let (world, id) = begin(&steps, &Version::good("v2"), &more).await?;
    let outcome = async {
        let view = world.ended(id, "succeeded").await;
        if view.is_err() {
            // Its time was over before enough was counted: somebody waits for it.
            world.order(id, api::OrderWord::Retry).await?;
            world.ended(id, "succeeded").await?;
        }
        let measured = world.client.measurements(id, None).await?.items;
        let passed = measured.iter().any(|it| it.verdict == "pass");
        ensure!(passed, "{measured:?}");
        Ok(())
    };
    let outcome = outcome.await;
    world.explained(outcome).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traffic_it_neither_passes_nor_fails() -> anyhow::Result<()> {
    let steps = json!([{ "setWeight": 25 }, { "gate": { "for": "1s" } }, { "setWeight": 100 }]);
    let (mut world, id) = begin(&steps, &Version::bad("v2"), &json!({ "patience": "2s" })).await?;
    let outcome = async {
        world.stop_load().await;
        world.waits_for(id, "decision").await?;
        let said = explanation(&world, id).await?;
        ensure!(said.contains("errors"), "{said}");
        Ok(())
    };
    let outcome = outcome.await;
    world.explained(outcome).await
}

/// What gates would have said is found before they judge: of the app's own past.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_are_tried_on_the_past() -> anyhow::Result<()> {
    let steps = json!([{ "setWeight": 25 }, { "gate": { "for": "2m" } }]);
    let (world, id) = begin(&steps, &Version::bad("v2"), &json!({})).await?;
    let outcome = async {
        world.ended(id, "rolledBack").await?;
        let would_say = async |gate: Value| {
            let app = apps::app_with_gate(&world, &PAIR, &canary(&steps), gate);
            world.apply(&app).await?;
            let tried = world.cli(&["gate", "backtest", "shop", "--from", "1h", "-o", "json"]);
            let tried: Backtest = serde_json::from_str(&tried.await?.expect(0)?.stdout)?;
            let of = tried.rollouts.iter().find(|it| it.rollout == id);
            let gates = of.map(|it| it.gates.clone()).unwrap_or_default();
            gates.first().cloned().context(format!("{tried:?}"))
        };
        let as_it_was = would_say(apps::compare_gate(&world, &json!({}))).await?;
        ensure!(
            as_it_was.verdict == "fail" && as_it_was.evidence.contains("stable 0 of "),
            "{as_it_was:?}"
        );
        let lenient = json!({ "floor": 0.5, "ceiling": 0.99 });
        let lenient = would_say(apps::compare_gate(&world, &lenient)).await?;
        ensure!(lenient.verdict != "fail", "{lenient:?}");

        let gate = apps::compare_gate(&world, &json!({}));
        world
            .apply(&apps::app_with_gate(&world, &PAIR, &canary(&steps), gate))
            .await?;
        let calibrated = wait::until(
            CALIBRATED_WITHIN,
            "half a minute of stable alone",
            async || {
                let ran = world.cli(&["gate", "calibrate", "shop", "--over", "40s", "-o", "json"]);
                let ran = ran.await.map_err(|error| format!("{error:#}"))?;
                let found: Calibrations = serde_json::from_str(&ran.stdout)
                    .map_err(|error| format!("{error}: {ran:?}"))?;
                let gate = found.gates.first().cloned().ok_or("no gate")?;
                match gate.rollouts {
                    0 => Err(format!("{gate:?}")),
                    _ => Ok(gate),
                }
            },
        );
        let calibrated = calibrated.await?;
        ensure!(
            calibrated.taken_back == 0 && calibrated.requests_per_second > 1.0,
            "{calibrated:?}"
        );
        let share = calibrated.notices.first().context("no share")?;
        ensure!(
            share.share == 25.0 && share.within_seconds == 120.0,
            "{share:?}"
        );
        let kept = world.client.calibrations("default", "shop").await?;
        ensure!(kept.gates.len() == 1, "{kept:?}");
        Ok(())
    };
    let outcome = outcome.await;
    world.explained(outcome).await
}
