//! The rollouts.

use std::time::Duration;

use anyhow::{Context, ensure};
use api::{OrderWord, RolloutView};
use e2e::apps::{self, canary};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::figure::Figure;

const PAIR: ProcessHaProxy = ProcessHaProxy;
/// Requests a second of each world.
const RATE: u32 = 100;
/// Worlds at a time: more would only wait for the two cores.
const AT_A_TIME: usize = 4;
/// How long any rollout may take.
const WITHIN: Duration = Duration::from_secs(240);
/// The shop's usual errors, one in a thousand.
const USUAL: [&str; 3] = ["--random-errors", "--error-ratio", "0.001"];
/// … ten times as many.
const TEN_TIMES: [&str; 3] = ["--random-errors", "--error-ratio", "0.01"];
/// A noisy shop: one in a hundred.
const NOISY: [&str; 3] = ["--random-errors", "--error-ratio", "0.01"];

/// A world whose stable revision has these flags, with a gate for that long at 25 %.
async fn world(first: &'static [&'static str], hold: &str) -> anyhow::Result<World> {
    let setup = Setup {
        rate: Some(RATE),
        first,
        ..Setup::default()
    };
    let strategy = canary(&json!([
        { "setWeight": 25 }, { "gate": { "for": hold } }, { "setWeight": 100 },
    ]));
    let world = World::installed(setup, &PAIR, &strategy).await?;
    let app = apps::app_with_gate(&world, &PAIR, &strategy, gate(&world));
    world.apply(&app).await?;
    Ok(world)
}

/// The gate as users get it, but for going on when nothing is proven in time.
fn gate(world: &World) -> Value {
    let mut gate = apps::compare_gate(world, &json!({}));
    if let Some(gate) = gate.as_object_mut() {
        gate.insert("interval".to_owned(), json!("1s"));
        gate.insert("onInconclusive".to_owned(), json!("promote"));
    }
    gate
}

async fn deploy(world: &World, name: &'static str, flags: &[&str]) -> anyhow::Result<Uuid> {
    let artifact = PAIR.artifact(world, &Version::with(name, flags)).await?;
    Ok(world.deploy(&artifact).await?.summary.id)
}

/// Waits until a rollout has ended.
async fn end(world: &World, id: Uuid) -> anyhow::Result<RolloutView> {
    let ended = |view: &RolloutView| view.summary.ended_at.is_some();
    world.until(id, WITHIN, "the rollout to end", ended).await
}

/// From the candidate's share to the rollback.
async fn taken_back(world: &World, id: Uuid) -> anyhow::Result<(Duration, String)> {
    let view = end(world, id).await?;
    ensure!(
        view.summary.phase == "rolledBack",
        "it {} ({:?})",
        view.summary.phase,
        view.why
    );
    let history = world.history(id).await?;
    let at = |found: &dyn Fn(&api::TransitionView) -> bool| -> Option<Timestamp> {
        history.iter().find(|it| found(it)).map(|it| it.at)
    };
    let shared = at(&|it| it.event == "stepDone" && it.sentence.contains("25"));
    let back = at(&|it| it.event == "abortStarted");
    let (shared, back) = shared.zip(back).context("the history lacks a transition")?;
    let took = Duration::try_from(back.duration_since(shared)).unwrap_or_default();
    let why = view.why.map(|it| it.sentence).unwrap_or_default();
    Ok((took, why))
}

/// Healthy revisions under noise: none may be taken back.
pub(crate) async fn healthy() -> anyhow::Result<Vec<Figure>> {
    // What has become stable is not rolled out again.
    const EACH: [&str; 5] = ["v2", "v3", "v4", "v5", "v6"];
    let worlds = try_join_all((0..AT_A_TIME).map(|_| world(&NOISY, "20s"))).await?;
    let phases = try_join_all(worlds.iter().map(async |world| {
        let mut phases = Vec::new();
        for name in EACH {
            let id = deploy(world, name, &NOISY).await?;
            let view = end(world, id).await?;
            eprintln!("healthy: {} {:?}", view.summary.phase, view.why);
            phases.push(view.summary.phase);
        }
        anyhow::Ok(phases)
    }))
    .await?;
    let phases: Vec<String> = phases.into_iter().flatten().collect();
    let back = phases.iter().filter(|it| *it != "succeeded").count();
    Ok(vec![Figure::value(
        &format!(
            "healthy rollouts of {} taken back, 1 % errors in both revisions",
            phases.len()
        ),
        back.to_string(),
        "0",
        Some(back == 0),
    )])
}

async fn times(first: &'static [&'static str], flags: &[&str]) -> anyhow::Result<Vec<Duration>> {
    const EACH: usize = 2;
    let worlds = try_join_all((0..AT_A_TIME).map(|_| world(first, "3m"))).await?;
    let times = try_join_all(worlds.iter().map(async |world| {
        let mut times = Vec::new();
        for _ in 0..EACH {
            let id = deploy(world, "v2", flags).await?;
            let (took, why) = taken_back(world, id).await?;
            eprintln!("taken back after {:.1} s: {why}", took.as_secs_f64());
            times.push(took);
        }
        anyhow::Ok(times)
    }))
    .await?;
    Ok(times.into_iter().flatten().collect())
}

/// Ten times the usual errors.
pub(crate) async fn worse() -> anyhow::Result<Vec<Figure>> {
    let times = times(&USUAL, &TEN_TIMES).await?;
    let median = crate::figure::percentile(&times, 0.5);
    Ok(vec![
        Figure::times(
            "errors ×10 (0.1 % → 1 %) at 25 % of 100 requests/s → taken back",
            &times,
            None,
        ),
        Figure::value(
            "… median",
            format!("{:.1} s", median.as_secs_f64()),
            "< 60 s",
            Some(median < Duration::from_secs(60)),
        ),
    ])
}

/// Total failure.
pub(crate) async fn down() -> anyhow::Result<Vec<Figure>> {
    let times = times(&USUAL, &["--error-ratio", "1"]).await?;
    let slowest = crate::figure::percentile(&times, 1.0);
    Ok(vec![
        Figure::times(
            "total failure at 25 % of 100 requests/s → taken back",
            &times,
            None,
        ),
        Figure::value(
            "… slowest",
            format!("{:.1} s", slowest.as_secs_f64()),
            "< 10 s",
            Some(slowest < Duration::from_secs(10)),
        ),
    ])
}

/// Nobody comes: neither passed nor taken back.
pub(crate) async fn silent() -> anyhow::Result<Vec<Figure>> {
    let mut world = world(&USUAL, "10s").await?;
    world.stop_load().await;
    let id = deploy(&world, "v2", &USUAL).await?;
    let view = world.waits_for(id, "decision").await?;
    let waiting = view.waiting_on.map(|it| it.sentence).unwrap_or_default();
    eprintln!("silent: {waiting}");
    world.order(id, OrderWord::Abort).await?;
    let held = waiting.contains("errors");
    Ok(vec![Figure::value(
        "no requests at all: neither passed nor taken back, a person is asked",
        if held { "held" } else { "not held" }.to_owned(),
        "held",
        Some(held),
    )])
}

/// Both revisions fail for twenty seconds.
pub(crate) async fn incident() -> anyhow::Result<Vec<Figure>> {
    const LASTS: Duration = Duration::from_secs(20);
    let directory = tempfile::Builder::new().prefix("sluice-bench-").tempdir()?;
    let sign = directory.path().join("incident");
    // The flags outlive the world; a benchmark has few of them.
    let path: &'static str = Box::leak(sign.display().to_string().into_boxed_str());
    let flags: &'static [&'static str] = Box::leak(
        [&USUAL[..], &["--fail-while", path]]
            .concat()
            .into_boxed_slice(),
    );
    let world = world(flags, "60s").await?;
    let id = deploy(&world, "v2", flags).await?;
    let held = async |verdict: &str| {
        world
            .until(id, WITHIN, &format!("the gate to be {verdict}"), |view| {
                view.gates.iter().any(|it| it.verdict == verdict)
            })
            .await
    };
    held("inconclusive").await?;
    std::fs::write(&sign, "")?;
    let began = std::time::Instant::now();
    let seen = held("hold").await?;
    let was_held = seen.gates.iter().any(|it| it.verdict == "hold");
    tokio::time::sleep(LASTS.saturating_sub(began.elapsed())).await;
    std::fs::remove_file(&sign)?;
    let view = end(&world, id).await?;
    eprintln!(
        "incident: held {was_held}, then {} {:?}",
        view.summary.phase, view.why
    );
    let fine = was_held && view.summary.phase == "succeeded";
    Ok(vec![Figure::value(
        "both revisions fail for 20 s: held, and not taken back",
        format!(
            "{}, then {}",
            if was_held { "held" } else { "not held" },
            view.summary.phase
        ),
        "held, then succeeded",
        Some(fine),
    )])
}
