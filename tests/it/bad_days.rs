//! A part of the world fails in the middle of a rollout. Each time the reason stands in the status,
//! and stable keeps its traffic.

use std::time::Duration;

use anyhow::ensure;
use api::OrderWord;
use e2e::apps::{self, canary, held_canary};
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use local::wait;
use serde_json::{Value, json};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(15);
const PAIR: ProcessHaProxy = ProcessHaProxy;

/// A world where `v2` waits at 20 % for a promotion.
async fn held(setup: Setup) -> anyhow::Result<(World, Uuid)> {
    let world = World::installed(setup, &PAIR, &held_canary()).await?;
    let begun = async {
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.waits_for(id, "promotion").await?;
        Ok(id)
    };
    let begun: anyhow::Result<Uuid> = begun.await;
    let id = world.explained(begun).await?;
    Ok((world, id))
}

/// Gives an order, again while the server cannot take it.
async fn insist(world: &World, id: Uuid, order: OrderWord) -> anyhow::Result<()> {
    wait::until(SOON, "the order to be taken", || async {
        let taken = world.order(id, order).await;
        taken.map(drop).map_err(|error| format!("{error:#}"))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_crashes_in_the_middle() -> anyhow::Result<()> {
    let setup = Setup {
        own_postgres: true,
        ..Setup::default()
    };
    let (mut world, id) = held(setup).await?;
    let outcome = async {
        world.database.crash_restart().await?;
        insist(&world, id, OrderWord::Promote).await?;
        world.ended(id, "succeeded").await
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    let allowed = Allowed {
        log: &[
            "database",
            "leases",
            "connection",
            "does not work",
            "works again",
            "listen",
            "notice",
        ],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_is_killed_and_comes_back() -> anyhow::Result<()> {
    let (mut world, id) = held(Setup::default()).await?;
    let outcome = async {
        world.haproxy.kill9()?;
        world.haproxy.restart().await?;
        // It starts with what the file says; then Sluice asserts the share anew.
        world
            .until(id, SOON, "the share to be seen again", |it| {
                let candidate = it.traffic.iter().find(|it| it.role == "candidate");
                candidate
                    .and_then(|it| it.observed)
                    .is_some_and(|it| (it - 20.0).abs() < 1.0)
            })
            .await?;
        world.order(id, OrderWord::Promote).await?;
        world.ended(id, "succeeded").await
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    let allowed = Allowed {
        cut: true,
        log: &["part=\"router\""],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_is_away_for_a_while() -> anyhow::Result<()> {
    let (mut world, id) = held(Setup::default()).await?;
    let outcome = async {
        world.haproxy.stop().await?;
        world.order(id, OrderWord::Promote).await?;
        let view = world.waits_for(id, "routerUnknown").await?;
        let sentence = view.waiting_on.map(|it| it.sentence).unwrap_or_default();
        ensure!(
            sentence.contains("cannot read the router") && sentence.contains("haproxy.sock"),
            "{sentence}"
        );
        let explained = world.client.explain(id).await?;
        let told = format!("{} {:?}", explained.headline, explained.facts);
        ensure!(told.contains("router"), "{told}");
        world.haproxy.restart().await?;
        world.ended(id, "succeeded").await
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    let allowed = Allowed {
        cut: true,
        log: &["part=\"router\""],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}

/// A rollout whose gate asks `query` and gets no data: rolled back, with `words` in the reason.
async fn without_data(query: &str, prometheus: bool, words: &[&str]) -> anyhow::Result<()> {
    let strategy = canary(&json!([{ "setWeight": 20 }, { "gate": { "for": "900ms" } }]));
    let setup = Setup {
        own_prometheus: !prometheus,
        ..Setup::default()
    };
    let mut world = World::installed(setup, &PAIR, &strategy).await?;
    let mut app = apps::app(&world, &PAIR, &strategy);
    set(&mut app, "/gates/0/threshold/query", json!(query))?;
    let outcome = async {
        world.apply(&app).await?;
        if !prometheus {
            world.prometheus.stop().await?;
        }
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        let view = world.waits_for(id, "gates").await?;
        let sentence = view.waiting_on.map(|it| it.sentence).unwrap_or_default();
        ensure!(sentence.contains("errors without data"), "{sentence}");
        let view = world.ended(id, "rolledBack").await?;
        let why = view.why.map(|it| (it.kind, it.sentence));
        let (kind, sentence) = why.unwrap_or_default();
        ensure!(
            kind == "gateUndecided" && words.iter().all(|it| sentence.contains(it)),
            "the reason is {kind}: {sentence}"
        );
        Ok(())
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

fn set(document: &mut Value, pointer: &str, value: Value) -> anyhow::Result<()> {
    let place = document.pointer_mut(pointer);
    *place.ok_or_else(|| anyhow::anyhow!("the app file has no {pointer}"))? = value;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_is_down() -> anyhow::Result<()> {
    without_data("sum(up)", false, &["errors", "without data", "refused"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_answers_nothing() -> anyhow::Result<()> {
    without_data("no_such_metric_total", true, &["errors", "no data"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_answers_nan() -> anyhow::Result<()> {
    without_data("sum(up) * 0 / 0", true, &["errors", "NaN"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_data_a_person_can_be_asked() -> anyhow::Result<()> {
    let strategy = canary(&json!([{ "setWeight": 20 }, { "gate": { "for": "600ms" } }]));
    let setup = Setup {
        own_prometheus: true,
        ..Setup::default()
    };
    let mut world = World::installed(setup, &PAIR, &strategy).await?;
    let mut app = apps::app(&world, &PAIR, &strategy);
    set(
        &mut app,
        "/gates/0",
        apps::errors_gate(&world, &PAIR, "pause"),
    )?;
    let outcome = async {
        world.apply(&app).await?;
        world.prometheus.stop().await?;
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        let view = world.waits_for(id, "decision").await?;
        let sentence = view.waiting_on.map(|it| it.sentence).unwrap_or_default();
        ensure!(sentence.contains("promote, retry or abort"), "{sentence}");
        world.order(id, OrderWord::Promote).await?;
        world.ended(id, "succeeded").await
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

/// A candidate that cannot make it: rolled back because of `kind`, with `words` in the reason.
async fn broken(
    version: &Version,
    steps: &Value,
    (kind, words): (&str, &[&str]),
    allowed: Allowed<'_>,
) -> anyhow::Result<()> {
    let strategy = canary(steps);
    let mut world = World::installed(Setup::default(), &PAIR, &strategy).await?;
    let mut app = apps::app(&world, &PAIR, &strategy);
    let outcome = async {
        if kind == "progressDeadline" {
            set(&mut app, "/progressDeadline", json!("2s"))?;
            world.apply(&app).await?;
        }
        let artifact = PAIR.artifact(&world, version).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        let view = world.ended(id, "rolledBack").await?;
        let why = view.why.map(|it| (it.kind, it.sentence));
        let (seen, sentence) = why.unwrap_or_default();
        ensure!(
            seen == kind && words.iter().all(|it| sentence.contains(it)),
            "the reason is {seen}: {sentence}"
        );
        let ran = world.cli(&["status", "shop"]).await?.expect(0)?;
        ensure!(
            ran.stdout.contains("rolled back") || ran.stdout.contains("rolledBack"),
            "{}",
            ran.stdout
        );
        Ok(())
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, allowed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_candidate_never_becomes_ready() -> anyhow::Result<()> {
    let version = Version::with("v2", &["--never-ready"]);
    let words = ["no progress within 2s", "0 of 1 ready"];
    let steps = json!([{ "setWeight": 20 }]);
    broken(
        &version,
        &steps,
        ("progressDeadline", &words),
        Allowed::default(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_candidate_dies_at_once() -> anyhow::Result<()> {
    let version = Version::with("v2", &["--die-after", "0s"]);
    let words = ["cannot run", "r2-1"];
    let steps = json!([{ "setWeight": 20 }]);
    broken(
        &version,
        &steps,
        ("candidateBroken", &words),
        Allowed::default(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_candidate_dies_at_half() -> anyhow::Result<()> {
    let version = Version::with("v2", &["--die-after", "2s"]);
    let steps = json!([{ "setWeight": 50 }, { "pause": {} }]);
    // A request that the dying process had already taken cannot be answered by anybody else.
    let allowed = Allowed {
        cut: true,
        ..Allowed::default()
    };
    broken(
        &version,
        &steps,
        ("candidateBroken", &["cannot run"]),
        allowed,
    )
    .await
}
