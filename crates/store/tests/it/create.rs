//! Creating rollouts: supersession, races and idempotency keys.

use std::time::Duration;

use futures::future::join_all;
use rollout::{Event, Phase, Revision, WaitingOn};
use store::{
    CreateFacts, Created, Idempotency, NewRevision, NewRollout, Options, RolloutFilter, StoreError,
};

use crate::support::{World, build, claim_all, new, start, succeed};

#[tokio::test]
async fn a_new_rollout_is_pending_with_its_first_transition_and_notice() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("checkout").await;
    let rollout = world.deploy(app.id, "v1").await;
    assert_eq!(
        store.rollout(rollout.id).await.unwrap().as_ref(),
        Some(&rollout)
    );
    assert_eq!(
        store.current(app.id).await.unwrap().as_ref(),
        Some(&rollout)
    );
    assert_eq!((rollout.phase, rollout.version), (Phase::Pending, 1));
    assert_eq!(rollout.waiting, Some(WaitingOn::FirstPass));
    assert_eq!((rollout.stable, rollout.candidate), (None, Revision(1)));
    assert_eq!(rollout.comment.as_deref(), Some("with love"));
    let history = store.history(rollout.id, 0, 10).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].seq, &history[0].state), (1, &rollout.state));
    assert!(matches!(history[0].event, Event::Created { .. }));
    assert_eq!(history[0].by, "token:ci");
    let notices = store.claim_notices(&[], 10).await.unwrap();
    assert_eq!(notices[0].kind, "rollout.created");
    assert_eq!(store.rollout(uuid::Uuid::now_v7()).await.unwrap(), None);
}

#[tokio::test]
async fn a_newer_rollout_aborts_the_active_one_and_cancels_the_pending_one() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("checkout").await;
    let first = world.deploy(app.id, "v1").await;
    store.commit(&start(&first)).await.unwrap();
    let second = world.deploy(app.id, "v2").await;
    assert_eq!(second.waiting, Some(WaitingOn::Predecessor));
    let first = store.rollout(first.id).await.unwrap().unwrap();
    assert_eq!((first.phase, first.version), (Phase::Aborting, 3));
    let third = world.deploy(app.id, "v3").await;
    let second = store.rollout(second.id).await.unwrap().unwrap();
    assert_eq!(second.phase, Phase::Cancelled);
    assert!(second.ended_at.is_some() && second.waiting.is_none());
    assert_eq!(store.current(app.id).await.unwrap().unwrap().id, first.id);
    for (rollout, rows) in [(first.id, 3), (second.id, 2), (third.id, 1)] {
        assert_eq!(store.verify_history(rollout).await.unwrap(), rows);
    }
    let counts = store.unfinished_counts().await.unwrap();
    assert_eq!(counts, [(Phase::Pending, 1), (Phase::Aborting, 1)]);
    let kinds = claim_all(store).await;
    assert_eq!(kinds.len(), 4, "three created, one aborted");

    let list = async |filter: RolloutFilter, before, limit| -> Vec<uuid::Uuid> {
        let list = store.rollouts(&filter, before, limit).await.unwrap();
        list.into_iter().map(|it| it.id).collect()
    };
    let all = RolloutFilter::default();
    assert_eq!(
        list(all.clone(), None, 10).await,
        [third.id, second.id, first.id]
    );
    assert_eq!(list(all.clone(), Some(third.id), 1).await, [second.id]);
    let none = RolloutFilter {
        projects: Some(vec!["bank".to_owned()]),
        ..all.clone()
    };
    assert!(list(none, None, 10).await.is_empty());
    let pending = RolloutFilter {
        phases: vec![Phase::Pending],
        ..all
    };
    assert_eq!(list(pending, None, 10).await, [third.id]);
}

#[tokio::test]
async fn a_pending_rollout_that_is_not_ended_refuses_the_next() {
    let world = World::new().await;
    let first = world.pending("checkout").await;
    let leave = |facts: &CreateFacts| Created {
        supersede: Vec::new(),
        ..build(facts)
    };
    let request = new(first.app_id, "v2");
    let second = world.store.create_rollout(&request, leave, None);
    assert!(matches!(second.await, Err(StoreError::RolloutActive { id }) if id == first.id));
    // Nothing of it was written, the revision's number included.
    assert_eq!(
        world.store.revisions(first.app_id, 9).await.unwrap().len(),
        1
    );
    assert_eq!(
        world.deploy(first.app_id, "v2").await.candidate,
        Revision(2)
    );
}

#[tokio::test]
async fn an_undo_goes_back_to_a_revision_that_is_there() {
    let world = World::new().await;
    let store = &world.store;
    let first = world.pending("checkout").await;
    succeed(store, &first).await;
    succeed(store, &world.deploy(first.app_id, "v2").await).await;
    let undo = |revision| NewRollout {
        revision: NewRevision::Existing(Revision(revision)),
        undo: true,
        ..new(first.app_id, "")
    };
    let back = store.create_rollout(&undo(1), build, None).await.unwrap();
    assert!(back.undo);
    assert_eq!(
        (back.stable, back.candidate),
        (Some(Revision(2)), Revision(1))
    );
    let missing = store.create_rollout(&undo(7), build, None).await;
    assert!(matches!(
        missing,
        Err(StoreError::NotFound { what: "revision" })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_at_once_one_is_pending_and_the_others_are_superseded() {
    let world = World::with(Options {
        max_connections: 20,
        min_connections: 0,
        acquire_timeout: Duration::from_secs(60),
    })
    .await;
    let app = world.app("checkout").await;
    let artifacts: Vec<String> = (0..200).map(|it| format!("v{it}")).collect();
    join_all(artifacts.iter().map(|it| world.deploy(app.id, it))).await;
    let all = world
        .store
        .rollouts(&RolloutFilter::default(), None, 1000)
        .await
        .unwrap();
    let count = |phase| all.iter().filter(|it| it.phase == phase).count();
    assert_eq!((count(Phase::Pending), count(Phase::Cancelled)), (1, 199));
    let mut numbers: Vec<u32> = all.iter().map(|it| it.candidate.0).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=200));
    for rollout in &all {
        world.store.verify_history(rollout.id).await.unwrap();
    }
    world.events(399).await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("checkout").await;
    let key = |key: &str, body: &str| {
        Idempotency::new(key, "token:ci", "POST /rollouts", body.as_bytes())
    };
    let request = new(app.id, "v1");
    let first = store
        .create_rollout(&request, build, Some(&key("k", "v1")))
        .await
        .unwrap();
    store.commit(&start(&first)).await.unwrap();
    let again = store
        .create_rollout(&request, build, Some(&key("k", "v1")))
        .await
        .unwrap();
    assert_eq!(again, first);
    let other = store
        .create_rollout(&new(app.id, "v2"), build, Some(&key("k", "v2")))
        .await;
    assert!(matches!(other, Err(StoreError::KeyReused)));
    let stranger = Idempotency {
        principal: "token:other".to_owned(),
        ..key("k", "v2")
    };
    let second = store
        .create_rollout(&new(app.id, "v2"), build, Some(&stranger))
        .await
        .unwrap();
    assert_ne!(second.id, first.id);

    assert_eq!(store.sweep().await.unwrap(), 0);
    world
        .sql("UPDATE idempotency_key SET created_at = now() - interval '25 hours'")
        .await
        .unwrap();
    assert_eq!(store.sweep().await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_twice_at_once_happens_once() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("checkout").await;
    let key = Idempotency::new("k", "token:ci", "POST /rollouts", b"v1");
    let request = new(app.id, "v1");
    let answers = join_all((0..8).map(|_| store.create_rollout(&request, build, Some(&key)))).await;
    let mut ids: Vec<_> = answers.iter().flatten().map(|it| it.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    for refused in answers.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, StoreError::KeyInFlight), "{refused:?}");
    }
    assert_eq!(
        store
            .rollouts(&RolloutFilter::default(), None, 9)
            .await
            .unwrap()
            .len(),
        1
    );

    // Surely in flight: the first one stands still in its transaction.
    let (entered, in_build) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let slow_key = Idempotency {
        key: "slow".to_owned(),
        ..key
    };
    let (slow_store, slow_request, sent) = (store.clone(), new(app.id, "v2"), slow_key.clone());
    let slow = tokio::spawn(async move {
        let build = |facts: &CreateFacts| {
            entered.send(()).unwrap();
            tokio::task::block_in_place(|| released.lock().unwrap().recv().unwrap());
            build(facts)
        };
        slow_store
            .create_rollout(&slow_request, build, Some(&sent))
            .await
    });
    tokio::task::spawn_blocking(move || in_build.recv().unwrap())
        .await
        .unwrap();
    let meanwhile = store
        .create_rollout(&new(app.id, "v2"), build, Some(&slow_key))
        .await;
    assert!(matches!(meanwhile, Err(StoreError::KeyInFlight)));
    release.send(()).unwrap();
    slow.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_runs_is_adopted_once_and_without_a_rollout() {
    let world = World::new().await;
    let store = &world.store;
    let app = world.app("checkout").await;
    let found = new(app.id, "shop:v1");
    let adopt = async || {
        let adopted = store.adopt(app.id, &found.revision, "kubectl").await;
        adopted.unwrap()
    };
    assert_eq!(adopt().await, Some(Revision(1)));
    assert_eq!(adopt().await, Some(Revision(1)));
    let kept = store.revision(app.id, Revision(1)).await.unwrap().unwrap();
    assert_eq!(
        (kept.artifact.as_str(), kept.created_by.as_str()),
        ("shop:v1", "kubectl")
    );
    assert!(store.current(app.id).await.unwrap().is_none());
    let rollout = world.deploy(app.id, "v2").await;
    assert_eq!(
        (rollout.stable, rollout.candidate),
        (Some(Revision(1)), Revision(2))
    );
    // An app that has a revision is left as it is, also one whose first rollout is under way.
    let other = world.app("cart").await;
    world.deploy(other.id, "v1").await;
    assert_eq!(
        store
            .adopt(other.id, &found.revision, "kubectl")
            .await
            .unwrap(),
        None
    );
}
