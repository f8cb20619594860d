//! The scenarios of the acceptance suite: each is a story about one app, told the same for every
//! pair of workload and router, and ends with the check of the invariants.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, ensure};
use api::{Approve, Decision, OrderWord};
use e2e::apps::{self, canary, held_canary, short_canary};
use e2e::fronts::Request;
use e2e::invariants::{Allowed, check};
use e2e::pairs::REPLICAS;
use e2e::{Pair, Setup, Version, World};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// How long a step may take.
const SOON: Duration = Duration::from_secs(40);

/// A world with `v1` installed and the candidate's rollout begun.
struct Begun {
    world: World,
    id: Uuid,
}

async fn begin(
    pair: &dyn Pair,
    setup: Setup,
    strategy: &Value,
    version: &Version,
) -> anyhow::Result<Begun> {
    let world = World::installed(setup, pair, strategy).await?;
    let begun = async {
        let artifact = pair.artifact(&world, version).await?;
        world.deploy(&artifact).await
    };
    let begun = begun.await;
    let view = world.explained(begun).await?;
    Ok(Begun {
        id: view.summary.id,
        world,
    })
}

/// Runs a part of a scenario; a failure is explained by the state of the world.
macro_rules! told {
    ($world:expr, $body:expr) => {{
        let outcome: anyhow::Result<_> = async { $body }.await;
        $world.explained(outcome).await?
    }};
}

pub(crate) async fn install(pair: &dyn Pair) -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), pair, &short_canary()).await?;
    told!(world, {
        world.served(60).await?;
        let app = world.client.app(apps::PROJECT, apps::APP).await?;
        ensure!(
            app.stable.as_ref().is_some_and(|it| it.revision == "r1"),
            "stable is {:?}",
            app.stable
        );
        // To adopt is to leave alone.
        if let Some(found) = &world.found {
            let running = pair.running(&world).await?;
            ensure!(*found == running, "found {found:?}, now {running:?}");
        }
        Ok(())
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn healthy_canary(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &short_canary(), &v2).await?;
    told!(world, {
        world.ended(id, "succeeded").await?;
        world.served(60).await?;
        let measured = world.client.measurements(id, None).await?.items;
        ensure!(
            measured.iter().filter(|it| it.verdict == "pass").count() > 0,
            "no gate passed: {measured:?}"
        );
        Ok(())
    });
    check(&mut world, pair, Allowed::default()).await?;
    ensure!(
        last_version(&world).as_deref() == Some("v2"),
        "v2 does not serve"
    );
    Ok(())
}

/// Which version answered the last request.
fn last_version(world: &World) -> Option<String> {
    let log = world.load_log.as_ref()?;
    let last = log.records.iter().max_by_key(|it| it.at)?;
    last.version.as_deref().map(str::to_owned)
}

pub(crate) async fn bad_canary(pair: &dyn Pair) -> anyhow::Result<()> {
    let strategy = canary(&json!([{ "setWeight": 20 }, { "gate": { "for": "5s" } }]));
    let v2 = Version::bad("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &strategy, &v2).await?;
    told!(world, {
        let view = world.ended(id, "rolledBack").await?;
        let why = view.why.map(|it| (it.kind, it.sentence));
        ensure!(
            why.as_ref()
                .is_some_and(|(kind, sentence)| kind == "gateFailed"
                    && sentence.contains("errors")
                    && sentence.contains("below 0.1")),
            "the reason is {why:?}"
        );
        world.served(60).await
    });
    let allowed = Allowed {
        errors_of: &["v2"],
        ..Allowed::default()
    };
    check(&mut world, pair, allowed).await?;
    ensure!(
        last_version(&world).as_deref() == Some("v1"),
        "v1 does not serve"
    );
    Ok(())
}

pub(crate) async fn alert(pair: &dyn Pair) -> anyhow::Result<()> {
    let setup = Setup {
        alertmanager: true,
        ..Setup::default()
    };
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, setup, &held_canary(), &v2).await?;
    told!(world, {
        world.waits_for(id, "promotion").await?;
        world.served(30).await?;
        let labels = [
            ("alertname", "TillJammed"),
            ("app", apps::APP),
            ("severity", "critical"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let summary = [("summary".to_owned(), "the till is jammed".to_owned())];
        let alertmanager = world.alertmanager.as_ref().expect("asked for above");
        alertmanager.fire(&labels.into(), &summary.into()).await?;
        let view = world.ended(id, "rolledBack").await?;
        let why = view.why.map(|it| (it.kind, it.sentence));
        ensure!(
            why.as_ref().is_some_and(|(kind, sentence)| kind == "alert"
                && sentence.contains("TillJammed")
                && sentence.contains("the till is jammed")),
            "the reason is {why:?}"
        );
        world.served(30).await
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn blue_green(pair: &dyn Pair) -> anyhow::Result<()> {
    let strategy = json!({ "blueGreen": {
        "autoPromote": false, "gate": { "for": "1s" }, "bake": "500ms",
    }});
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &strategy, &v2).await?;
    told!(world, {
        // Both sets are ready, and the users still get the old one only.
        let view = world.waits_for(id, "promotion").await?;
        let ready = view.traffic.iter().find(|it| it.role == "candidate");
        ensure!(
            ready.is_some_and(|it| it.ready == u32::try_from(REPLICAS).ok() && it.asked == 0.0),
            "the candidate stands at {ready:?}"
        );
        world.served(60).await?;
        let early = world.load_counts().versions.contains_key("v2");
        ensure!(!early, "v2 served before the switch");
        world.order(id, OrderWord::Promote).await?;
        world.ended(id, "succeeded").await?;
        world.served(30).await
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn rolling(pair: &dyn Pair) -> anyhow::Result<()> {
    let strategy = json!({ "rolling": { "maxSurge": 1, "maxUnavailable": 0 } });
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &strategy, &v2).await?;
    told!(world, {
        world.ended(id, "succeeded").await?;
        world.served(60).await
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn recreate(pair: &dyn Pair) -> anyhow::Result<()> {
    let strategy = json!({ "recreate": { "gate": { "for": "1s" } } });
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &strategy, &v2).await?;
    told!(world, {
        world.ended(id, "succeeded").await?;
        world.served(60).await
    });
    // The plan says so: between the old and the new there is nobody.
    let allowed = Allowed {
        own_errors: true,
        ..Allowed::default()
    };
    check(&mut world, pair, allowed).await
}

/// An approval strategy whose people are in the group `release-managers`.
fn approved_canary() -> Value {
    canary(&json!([
        { "setWeight": 20 },
        { "approve": { "group": "release-managers", "count": 2 } },
        { "setWeight": 100 },
    ]))
}

/// A client with the token of a new approver.
async fn approver(
    world: &World,
    name: &str,
    groups: &[&str],
    person: bool,
) -> anyhow::Result<api::Client> {
    let token = api::CreateToken {
        name: name.to_owned(),
        role: api::RoleWord::Approver,
        project: None,
        person,
        groups: groups.iter().map(|it| (*it).to_owned()).collect(),
        expires_in: Some("1h".to_owned()),
    };
    let created = world.client.create_token(&token).await?;
    Ok(api::Client::new(
        &world.server.url(),
        Some(created.secret.into()),
    )?)
}

fn decision(decision: Decision) -> Approve {
    Approve {
        decision,
        step: None,
        attempt: None,
        comment: Some("looked at the dashboards".to_owned()),
    }
}

pub(crate) async fn approve(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &approved_canary(), &v2).await?;
    told!(world, {
        let view = world.waits_for(id, "approval").await?;
        let group = ["release-managers"];
        let ann = approver(&world, "ann", &group, true).await?;
        let bob = approver(&world, "bob", &group, true).await?;
        let outsider = approver(&world, "outsider", &[], true).await?;
        let machine = approver(&world, "machine", &[], false).await?;
        for (who, client) in [("an outsider", &outsider), ("a machine", &machine)] {
            let refused = client.approve(id, &decision(Decision::Approve)).await;
            let status = refused
                .err()
                .and_then(|it| it.problem().map(|it| it.status));
            ensure!(status == Some(403), "{who} was answered {status:?}");
        }
        let stale = Approve {
            step: Some(view.step_index + 1),
            ..decision(Decision::Approve)
        };
        let refused = ann.approve(id, &stale).await;
        let status = refused
            .err()
            .and_then(|it| it.problem().map(|it| it.status));
        ensure!(
            status == Some(409),
            "a stale approval was answered {status:?}"
        );
        ann.approve(id, &decision(Decision::Approve)).await?;
        // The same person twice is one person.
        drop(ann.approve(id, &decision(Decision::Approve)).await);
        let view = world.waits_for(id, "approval").await?;
        let sentence = view.waiting_on.map(|it| it.sentence).unwrap_or_default();
        ensure!(sentence.contains("1 of 2"), "{sentence}");
        bob.approve(id, &decision(Decision::Approve)).await?;
        world.ended(id, "succeeded").await?;
        let approved = world.history(id).await?;
        let approved = approved.iter().filter(|it| it.event == "approved");
        let by: Vec<&str> = approved.map(|it| it.by.as_str()).collect();
        ensure!(by == ["token:ann", "token:bob"], "approved by {by:?}");
        Ok(())
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn reject(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &approved_canary(), &v2).await?;
    told!(world, {
        world.waits_for(id, "approval").await?;
        let ann = approver(&world, "ann", &["release-managers"], true).await?;
        ann.approve(id, &decision(Decision::Reject)).await?;
        let view = world.ended(id, "rolledBack").await?;
        let why = view.why.map(|it| (it.kind, it.sentence));
        ensure!(
            why.as_ref().is_some_and(
                |(kind, sentence)| kind == "rejected" && sentence.contains("token:ann")
            ),
            "the reason is {why:?}"
        );
        Ok(())
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn pause_and_resume(pair: &dyn Pair) -> anyhow::Result<()> {
    let strategy =
        canary(&json!([{ "setWeight": 20 }, { "pause": "800ms" }, { "setWeight": 100 }]));
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &strategy, &v2).await?;
    let (span, candidate) = told!(world, {
        world.waits_for(id, "timer").await?;
        world.order(id, OrderWord::Pause).await?;
        let held = world.waits_for(id, "held").await?;
        let from = Timestamp::now();
        // Longer than the step's own time: it must not go on while it is held.
        world.served(240).await?;
        let span = from..Timestamp::now();
        let still = world.client.rollout(id).await?;
        ensure!(
            still.summary.phase == "paused" && still.step_index == held.step_index,
            "it went on while it was held: {}",
            e2e::world::words(&still)
        );
        world.order(id, OrderWord::Resume).await?;
        world.ended(id, "succeeded").await?;
        Ok((span, pair.front().known_as("r2", &still.artifact)))
    });
    check(&mut world, pair, Allowed::default()).await?;
    got_its_share(&world, pair, &candidate, 0.2, &span).await
}

/// The candidate got what it was to have, not only no more than that.
async fn got_its_share(
    world: &World,
    pair: &dyn Pair,
    candidate: &str,
    share: f64,
    span: &Range<Timestamp>,
) -> anyhow::Result<()> {
    let record = pair.front().record(world).await?;
    let from = span.start.checked_add(record.lag)?;
    let during = |it: &&Request| it.began >= from && it.began < span.end;
    let its = |it: &&Request| it.by.as_deref() == Some(candidate);
    let (mut total, mut got) = (0.0, 0.0);
    for request in record.requests.iter().filter(during) {
        total += 1.0;
        got += f64::from(u8::from(its(&request)));
    }
    let slack = record.choice.slack(total, share);
    ensure!(
        total > 0.0 && (got - total * share).abs() <= slack,
        "{candidate} got {got} of {total} requests, its share was {share} ± {slack} requests"
    );
    Ok(())
}

pub(crate) async fn promote_full(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &held_canary(), &v2).await?;
    told!(world, {
        world.waits_for(id, "promotion").await?;
        world.order(id, OrderWord::PromoteFull).await?;
        world.ended(id, "succeeded").await?;
        world.served(30).await
    });
    check(&mut world, pair, Allowed::default()).await
}

/// Aborts the same candidate again and again, each time one step further. One that was through
/// before the order came, as on a busy machine, is followed by another candidate.
pub(crate) async fn abort_at_every_step(pair: &dyn Pair) -> anyhow::Result<()> {
    let strategy = json!({ "canary": { "bake": "600ms", "steps": [
        { "setWeight": 20 },
        { "pause": "600ms" },
        { "gate": { "for": "600ms" } },
        { "setWeight": 100 },
    ]}});
    let mut world = World::installed(Setup::default(), pair, &strategy).await?;
    told!(world, {
        let mut others = ["v3", "v4", "v5"].into_iter();
        let mut artifact = pair.artifact(&world, &Version::good("v2")).await?;
        let mut step = 0;
        let mut last = usize::MAX;
        let mut titles = Vec::new();
        while step < last {
            let id = world.deploy(&artifact).await?.summary.id;
            let reached = world
                .until(id, SOON, "the next step", |it| {
                    it.summary.phase == "progressing" && it.step_index >= step
                })
                .await?;
            if let Err(refused) = world.order(id, OrderWord::Abort).await {
                let other = others.next().with_context(|| format!("{refused:#}"))?;
                world.ended(id, "succeeded").await?;
                artifact = pair.artifact(&world, &Version::good(other)).await?;
                continue;
            }
            let view = world.ended(id, "rolledBack").await?;
            let why = view.why.map(|it| it.kind);
            ensure!(why.as_deref() == Some("person"), "the reason is {why:?}");
            titles.push(reached.summary.step);
            step = reached.step_index + 1;
            // The last step only stops what is left of stable; too short to be met for sure.
            last = reached.steps.len() - 1;
        }
        ensure!(
            titles.len() >= 5,
            "only these steps were aborted: {titles:?}"
        );
        Ok(())
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn supersede(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &held_canary(), &v2).await?;
    told!(world, {
        world.waits_for(id, "promotion").await?;
        world.served(20).await?;
        let v3 = pair.artifact(&world, &Version::good("v3")).await?;
        let newer = world.deploy(&v3).await?.summary.id;
        let older = world.ended(id, "rolledBack").await?;
        let why = older.why.map(|it| it.sentence);
        ensure!(
            why.as_deref() == Some("superseded by r3"),
            "the reason is {why:?}"
        );
        let view = world.waits_for(newer, "promotion").await?;
        ensure!(
            view.summary.stable.as_deref() == Some("r1"),
            "it began from {:?}",
            view.summary.stable
        );
        world.order(newer, OrderWord::Promote).await?;
        world.ended(newer, "succeeded").await?;
        world.served(30).await
    });
    check(&mut world, pair, Allowed::default()).await?;
    ensure!(
        last_version(&world).as_deref() == Some("v3"),
        "v3 does not serve"
    );
    Ok(())
}

pub(crate) async fn retry(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &held_canary(), &v2).await?;
    told!(world, {
        world.waits_for(id, "promotion").await?;
        world.order(id, OrderWord::Abort).await?;
        world.ended(id, "rolledBack").await?;
        let view = world.order(id, OrderWord::Retry).await?;
        ensure!(view.attempt == 2, "attempt {}", view.attempt);
        world.waits_for(id, "promotion").await?;
        world.order(id, OrderWord::Promote).await?;
        world.ended(id, "succeeded").await?;
        world.served(30).await
    });
    check(&mut world, pair, Allowed::default()).await
}

pub(crate) async fn undo(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let strategy = canary(&json!([{ "setWeight": 100 }]));
    let Begun { mut world, id } = begin(pair, Setup::default(), &strategy, &v2).await?;
    told!(world, {
        world.ended(id, "succeeded").await?;
        world.served(30).await?;
        let undo = world.undo().await?.summary.id;
        let view = world.ended(undo, "succeeded").await?;
        ensure!(
            view.summary.strategy == "undo" && view.summary.candidate == "r1",
            "{} of {}",
            view.summary.strategy,
            view.summary.candidate
        );
        world.served(30).await
    });
    check(&mut world, pair, Allowed::default()).await?;
    ensure!(
        last_version(&world).as_deref() == Some("v1"),
        "v1 does not serve"
    );
    Ok(())
}

/// The server is killed in the middle and started again: nobody notices.
pub(crate) async fn crash(pair: &dyn Pair) -> anyhow::Result<()> {
    let v2 = Version::good("v2");
    let Begun { mut world, id } = begin(pair, Setup::default(), &short_canary(), &v2).await?;
    let outcome = async {
        world
            .until(id, SOON, "some traffic on the candidate", |it| {
                it.step_index >= 2
            })
            .await?;
        let before = pair.running(&world).await?;
        world.server.kill9()?;
        world.served(30).await?;
        let after = pair.running(&world).await?;
        ensure!(
            before == after,
            "instances before {before:?}, after {after:?}"
        );
        world.server.start_again(&[]).await?;
        world.ended(id, "succeeded").await?;
        world.served(30).await
    };
    let outcome = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, pair, Allowed::default()).await
}
