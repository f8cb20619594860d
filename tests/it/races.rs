//! Several people and pipelines at once.

use std::collections::BTreeSet;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use anyhow::ensure;
use api::{Approve, ClientError, CreateToken, Decision, OrderWord, RoleWord, TransitionView};
use e2e::apps::{APP, PROJECT, canary, held_canary, short_canary};
use e2e::invariants::{Allowed, check};
use e2e::pairs::ProcessHaProxy;
use e2e::{Pair, Setup, Version, World};
use futures::future::join_all;
use local::wait;
use serde_json::json;
use uuid::Uuid;

const PAIR: ProcessHaProxy = ProcessHaProxy;
/// How many ask at once, of each kind.
const CROWD: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_wins_over_promotions_at_the_same_time() -> anyhow::Result<()> {
    // A promotion must not be through before a slow machine has taken all the orders in: what has
    // succeeded cannot be aborted any more.
    let setup = Setup {
        drain: Some("8s"),
        ..Setup::default()
    };
    let mut world = World::installed(setup, &PAIR, &held_canary()).await?;
    let outcome = async {
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        world.waits_for(id, "promotion").await?;
        let orders = (0..2 * CROWD).map(|index| match index % 2 {
            0 => OrderWord::PromoteFull,
            _ => OrderWord::Abort,
        });
        let world = &world;
        let answers = join_all(orders.map(|order| async move {
            let answer = world.order(id, order).await;
            (order, answer)
        }))
        .await;
        for (order, answer) in answers {
            let refused = answer.err().and_then(|it| it.downcast().ok());
            let refused: Option<api::ClientError> = refused;
            let status = refused.and_then(|it| it.problem().map(|it| it.status));
            // A promotion that comes too late is told so; nobody is told that an abort is.
            let fair = match order {
                OrderWord::PromoteFull => matches!(status, None | Some(409 | 503)),
                _ => matches!(status, None | Some(503)),
            };
            ensure!(fair, "{order:?} was answered {status:?}");
        }
        world.ended(id, "rolledBack").await?;
        let history = world.history(id).await?;
        let begun = history.iter().filter(|it| it.event == "abortStarted");
        ensure!(begun.count() == 1, "more than one rollback was begun");
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    // A crowd may find the database busy, and is told to come again.
    let allowed = Allowed {
        log: &["changes faster than"],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_deploys_at_the_same_time_one_wins() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &short_canary()).await?;
    let outcome = async {
        let mut artifacts = Vec::new();
        for name in ["v2", "v3", "v4", "v5"] {
            artifacts.push(PAIR.artifact(&world, &Version::good(name)).await?);
        }
        let begun = join_all(artifacts.iter().map(|it| world.deploy(it))).await;
        let begun: Vec<_> = begun.into_iter().collect::<anyhow::Result<_>>()?;
        let newest = begun
            .iter()
            .max_by_key(|it| candidate(&it.summary.candidate));
        let newest = newest
            .map(|it| it.summary.clone())
            .expect("four were begun");
        world.ended(newest.id, "succeeded").await?;
        for view in &begun {
            let view = world.client.rollout(view.summary.id).await?;
            let expected = match view.summary.id == newest.id {
                true => view.summary.phase == "succeeded",
                false => matches!(view.summary.phase.as_str(), "rolledBack" | "cancelled"),
            };
            ensure!(expected, "{}", e2e::world::words(&view));
        }
        let app = world.client.app(PROJECT, APP).await?;
        let stable = app.stable.map(|it| it.revision);
        ensure!(
            stable.as_ref() == Some(&newest.candidate),
            "stable is {stable:?}"
        );
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

fn candidate(revision: &str) -> u32 {
    let number = revision.strip_prefix('r').and_then(|it| it.parse().ok());
    number.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_gives_the_same_rollout() -> anyhow::Result<()> {
    let mut world = World::installed(Setup::default(), &PAIR, &short_canary()).await?;
    let outcome = async {
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let key = Uuid::now_v7().to_string();
        let all = join_all((0..CROWD).map(|_| world.deploy_as(&artifact, &key))).await;
        // Who comes while the first is still being worked on may be told to ask again.
        let all: Vec<Uuid> = all.into_iter().flatten().map(|it| it.summary.id).collect();
        let first = world.deploy_as(&artifact, &key).await?.summary.id;
        ensure!(!all.is_empty(), "nobody was answered");
        ensure!(
            all.iter().all(|it| *it == first),
            "several rollouts: {all:?}"
        );
        world.ended(first, "succeeded").await?;
        // Even after its end: the pipeline's job was started again.
        let again = world.deploy_as(&artifact, &key).await?.summary.id;
        ensure!(again == first, "a second rollout after the end");
        let other = PAIR.artifact(&world, &Version::good("v3")).await?;
        let refused = world.deploy_as(&other, &key).await.err();
        let refused = refused.and_then(|it| it.downcast::<api::ClientError>().ok());
        let problem = refused.as_ref().and_then(api::ClientError::problem);
        ensure!(
            problem.is_some_and(|it| it.status == 422),
            "another body was answered {problem:?}"
        );
        let rollouts = world.client.rollouts(None, None, None).await?.items;
        ensure!(rollouts.len() == 2, "{} rollouts", rollouts.len());
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    check(&mut world, &PAIR, Allowed::default()).await
}

/// Approvers, how many of them the step wants, and after how many answers the server dies.
const APPROVERS: usize = 100;
const WANTED: usize = 20;
const BEFORE: usize = 4;
/// How long an approver goes on asking a server that is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Approves one step, whatever becomes of the server meanwhile. False: it was decided without them.
async fn approve(
    client: api::Client,
    (id, step, attempt): (Uuid, usize, u32),
    taken: Arc<AtomicUsize>,
) -> anyhow::Result<bool> {
    let decision = Approve {
        decision: Decision::Approve,
        step: Some(step),
        attempt: Some(attempt),
        comment: None,
    };
    let answered = wait::until(PATIENCE, "an answer", || async {
        match client.approve(id, &decision).await {
            Ok(_) => {
                taken.fetch_add(1, Ordering::Relaxed);
                Ok(Ok(true))
            }
            Err(ClientError::Problem(it)) if it.status == 409 => Ok(Ok(false)),
            Err(ClientError::Problem(it)) if it.status == 503 || it.status == 429 => {
                Err(it.to_string())
            }
            Err(error @ ClientError::Unreachable { .. }) => Err(error.to_string()),
            Err(error) => Ok(Err(error)),
        }
    });
    Ok(answered.await??)
}

/// A hundred people of one group.
async fn approvers(world: &World) -> anyhow::Result<Vec<(String, api::Client)>> {
    let mut approvers = Vec::new();
    for number in 0..APPROVERS {
        let token = CreateToken {
            name: format!("manager-{number}"),
            role: RoleWord::Approver,
            project: Some(PROJECT.to_owned()),
            person: true,
            groups: vec!["release-managers".to_owned()],
            expires_in: None,
        };
        let secret = world.client.create_token(&token).await?.secret;
        let client = api::Client::new(&world.server.url(), Some(secret.into()))?;
        approvers.push((format!("token:{}", token.name), client));
    }
    Ok(approvers)
}

/// Holds the history against what each approver was told.
fn counted_once(history: &[TransitionView], answers: &[(String, bool)]) -> anyhow::Result<()> {
    let approved = history.iter().filter(|it| it.event == "approved");
    let approved: Vec<String> = approved.map(|it| it.by.clone()).collect();
    let people: BTreeSet<&String> = approved.iter().collect();
    // More may have approved before the step was seen to be done; nobody twice.
    ensure!(
        approved.len() >= WANTED && people.len() == approved.len(),
        "{} approvals by {} people",
        approved.len(),
        people.len()
    );
    let told: BTreeSet<&String> = answers.iter().filter(|it| it.1).map(|it| &it.0).collect();
    ensure!(
        told.is_subset(&people),
        "told that they approved, and did not: {:?}",
        told.difference(&people)
    );
    let passed = history
        .iter()
        .filter(|it| it.sentence == "done: setWeight 60");
    ensure!(passed.count() == 1, "the step after it was done again");
    let late = history
        .iter()
        .skip_while(|it| !it.sentence.starts_with("done: approve"));
    let late = late.filter(|it| it.event == "approved");
    ensure!(late.count() == 0, "approved after the step was over");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_approvals_count_once_each_though_the_server_dies() -> anyhow::Result<()> {
    let steps = json!([
        { "setWeight": 20 },
        { "approve": { "group": "release-managers", "count": WANTED } },
        { "setWeight": 60 },
        { "pause": {} },
    ]);
    let mut world = World::installed(Setup::default(), &PAIR, &canary(&steps)).await?;
    let outcome = async {
        let approvers = approvers(&world).await?;
        let artifact = PAIR.artifact(&world, &Version::good("v2")).await?;
        let id = world.deploy(&artifact).await?.summary.id;
        let at = world.waits_for(id, "approval").await?;
        let at = (id, at.step_index, at.attempt);
        let taken = Arc::new(AtomicUsize::new(0));
        let asked = approvers.into_iter().map(|(name, client)| {
            let decided = tokio::spawn(approve(client, at, Arc::clone(&taken)));
            async move { anyhow::Ok((name, decided.await??)) }
        });
        let asked: Vec<_> = asked.collect();
        wait::until_now(PATIENCE, "the first approvals", || {
            match taken.load(Ordering::Relaxed) {
                count if count >= BEFORE => Ok(()),
                count => Err(count),
            }
        })
        .await?;
        world.server.kill9()?;
        let before = taken.load(Ordering::Relaxed);
        ensure!(before < WANTED, "it died after the decision: {before}");
        world.server.start_again(&[]).await?;
        let answers = join_all(asked).await;
        let answers: Vec<(String, bool)> = answers.into_iter().collect::<anyhow::Result<_>>()?;
        world.waits_for(id, "promotion").await?;
        counted_once(&world.history(id).await?, &answers)?;
        world.order(id, OrderWord::Abort).await?;
        world.ended(id, "rolledBack").await?;
        Ok(())
    };
    let outcome: anyhow::Result<()> = outcome.await;
    world.explained(outcome).await?;
    // A crowd may find the database busy, and is told to come again.
    let allowed = Allowed {
        log: &["changes faster than", "too many orders for this rollout"],
        ..Allowed::default()
    };
    check(&mut world, &PAIR, allowed).await
}
