//! The one write: all or nothing, by version and by lease.

use futures::future::join_all;
use rollout::{
    Event, Phase, Revision, State, WaitingOn,
    gate::{GateState, Gates, Measurement, Reading, Verdict},
};
use store::{AlertKey, Commit, Fence, Lost, MeasurementRow, Rollout, StoreError};

use crate::support::{World, aborting, keep, moment, next, notice, plan, start, succeed};

fn is_lost(result: &Result<i64, StoreError>, by: Lost) -> bool {
    matches!(result, Err(StoreError::Lost { what }) if *what == by)
}

fn measured(rollout: &Rollout, gate: &str, value: f64) -> MeasurementRow {
    MeasurementRow {
        gate: gate.to_owned(),
        cursor: rollout.state.cursor,
        measurement: Measurement {
            at: moment(1),
            reading: Reading::Value { value },
        },
        verdict: Verdict::Pass,
    }
}

#[tokio::test]
async fn everything_of_a_commit_is_there_afterwards() {
    let world = World::new().await;
    let store = &world.store;
    let pending = world.pending("checkout").await;
    let owner = world.owner().await;
    let gates = Gates {
        cursor: Some(pending.state.cursor),
        states: [("errors".to_owned(), GateState::default())].into(),
        ..Gates::default()
    };
    let commit = Commit {
        fence: Some(world.fence(pending.app_id, owner).await),
        gates: gates.clone(),
        wake_at: Some(moment(60)),
        plan: Some(plan(Some(Revision(9)), Revision(1))),
        measurements: vec![
            measured(&pending, "errors", 0.5),
            measured(&pending, "p99", 2.0),
        ],
        notices: vec![notice("rollout.started")],
        ..start(&pending)
    };
    assert_eq!(store.commit(&commit).await.unwrap(), 2);
    let rollout = store.rollout(pending.id).await.unwrap().unwrap();
    assert_eq!((rollout.phase, rollout.version), (Phase::Progressing, 2));
    assert_eq!((&rollout.state, &rollout.gates), (&commit.state, &gates));
    assert_eq!(rollout.stable, Some(Revision(9)), "the plan's");
    assert_eq!(Some(&rollout.plan), commit.plan.as_ref());
    assert_eq!(
        (rollout.wake_at, &rollout.waiting),
        (Some(moment(60)), &commit.waiting)
    );
    assert_eq!(rollout.ended_at, None);
    let history = store.history(pending.id, 1, 10).await.unwrap();
    assert_eq!((history.len(), history[0].seq), (1, 2));
    assert_eq!(
        (&history[0].event, history[0].by.as_str()),
        (&Event::Started, "system")
    );
    assert_eq!(history[0].state, rollout.state);
    let rows = store.measurements(pending.id, None, 0, 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|it| it.gate.as_str()).collect::<Vec<_>>(),
        ["errors", "p99"]
    );
    assert_eq!(rows[0].measurement, commit.measurements[0].measurement);
    assert_eq!(
        (rows[0].verdict, rows[0].cursor),
        (Verdict::Pass, pending.state.cursor)
    );
    assert_eq!(
        store
            .measurements(pending.id, Some("p99"), 0, 10)
            .await
            .unwrap(),
        rows[1..]
    );
    assert_eq!(
        store
            .measurements(pending.id, None, rows[0].id, 10)
            .await
            .unwrap(),
        rows[1..]
    );
    assert_eq!(store.pending_notices().await.unwrap(), 2);
    assert_eq!(store.verify_history(pending.id).await.unwrap(), 2);
}

#[tokio::test]
async fn success_makes_the_candidate_stable_and_a_retry_opens_it_again() {
    let world = World::new().await;
    let store = &world.store;
    let first = succeed(store, &world.pending("checkout").await).await;
    assert!(first.ended_at.is_some());
    let app = store.get_app("shop", "checkout").await.unwrap().unwrap();
    assert_eq!((app.stable, app.version), (Some(Revision(1)), 1));
    let second = world.deploy(app.id, "v2").await;
    assert_eq!(second.stable, Some(Revision(1)));
    store
        .commit(&next(&second, Phase::RolledBack, Event::RolledBack))
        .await
        .unwrap();
    let second = store.rollout(second.id).await.unwrap().unwrap();
    assert!(second.ended_at.is_some());
    let retried = next(&second, Phase::Progressing, Event::Started);
    store.commit(&retried).await.unwrap();
    assert_eq!(
        store.rollout(second.id).await.unwrap().unwrap().ended_at,
        None
    );
    // The first one cannot come back while the second one is active (invariant I3).
    let back = store
        .commit(&next(&first, Phase::Progressing, Event::Started))
        .await;
    assert!(
        matches!(back, Err(StoreError::RolloutActive { id }) if id == second.id),
        "{back:?}"
    );
}

#[tokio::test]
async fn without_a_transition_the_state_does_not_change() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let silent = Commit {
        state: State {
            generation: 7,
            ..rollout.state.clone()
        },
        ..keep(&rollout)
    };
    assert!(matches!(
        store.commit(&silent).await,
        Err(StoreError::Unrecorded)
    ));
    let measured = Commit {
        measurements: vec![measured(&rollout, "errors", 1.0)],
        waiting: Some(WaitingOn::Promotion),
        ..keep(&rollout)
    };
    assert_eq!(store.commit(&measured).await.unwrap(), 2);
    let now = store.rollout(rollout.id).await.unwrap().unwrap();
    assert_eq!(
        (&now.state, &now.waiting),
        (&rollout.state, &Some(WaitingOn::Promotion))
    );
    assert_eq!(store.verify_history(rollout.id).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_committers_one_wins_each_version() {
    let world = World::new().await;
    let store = &world.store;
    let mut rollout = world.pending("checkout").await;
    for round in 1..=10_i64 {
        let commits = (0..10).map(|_| {
            let commit = Commit {
                notices: vec![notice("x")],
                ..start(&rollout)
            };
            async move { store.commit(&commit).await }
        });
        let results = join_all(commits).await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(
            lost.iter().all(|it| is_lost(it, Lost::VersionConflict)),
            "{lost:?}"
        );
        rollout = store.rollout(rollout.id).await.unwrap().unwrap();
        assert_eq!(rollout.version, round + 1);
    }
    assert_eq!(store.verify_history(rollout.id).await.unwrap(), 11);
    assert_eq!(
        store.pending_notices().await.unwrap(),
        11,
        "of the losers nothing is left"
    );
}

#[tokio::test]
async fn a_zombie_writes_nothing() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let (zombie, heir) = (world.owner().await, uuid::Uuid::now_v7());
    let old = world.fence(rollout.app_id, zombie).await;
    let fenced = |fence: Fence| Commit {
        fence: Some(fence),
        notices: vec![notice("x")],
        ..start(&rollout)
    };
    // Its lease ran out: it may not write even though nobody took over.
    world
        .sql("UPDATE shard SET expires_at = now() - interval '1 ms'")
        .await
        .unwrap();
    assert!(is_lost(&store.commit(&fenced(old)).await, Lost::LeaseLost));
    // It was taken over.
    world.sql("DELETE FROM replica").await.unwrap();
    assert_eq!(store.renew(heir).await.unwrap().len(), 64);
    assert!(is_lost(&store.commit(&fenced(old)).await, Lost::LeaseLost));
    let new = world.fence(rollout.app_id, heir).await;
    assert_eq!(new.epoch, old.epoch + 1);
    // Right owner with an old epoch; right epoch with another owner; another shard that is held.
    for wrong in [
        Fence {
            epoch: old.epoch,
            ..new
        },
        Fence {
            owner: zombie,
            ..new
        },
        Fence {
            shard: (new.shard + 1) % 64,
            ..new
        },
    ] {
        assert!(
            is_lost(&store.commit(&fenced(wrong)).await, Lost::LeaseLost),
            "{wrong:?}"
        );
    }
    assert_eq!(store.pending_notices().await.unwrap(), 1);
    assert_eq!(store.verify_history(rollout.id).await.unwrap(), 1);
    assert_eq!(store.commit(&fenced(new)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_commit_holds_its_lease_until_it_is_written() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let owner = world.owner().await;
    let fence = world.fence(rollout.app_id, owner).await;
    // The commit has seen its lease and waits for the rollout's row; meanwhile the lease is taken.
    let sql = format!(
        "BEGIN; SELECT FROM rollout WHERE id = '{}' FOR UPDATE; SELECT pg_sleep(2); COMMIT",
        rollout.id
    );
    let commit = Commit {
        fence: Some(fence),
        ..start(&rollout)
    };
    let late = async {
        world.until_waits_for("PgSleep").await;
        store.commit(&commit).await
    };
    let take = async {
        world.until_waits_for("Lock").await;
        let take = format!(
            "UPDATE shard SET owner = gen_random_uuid(), epoch = epoch + 1 WHERE number = {} RETURNING (SELECT version FROM rollout)",
            fence.shard
        );
        world.sql(&take).await.unwrap();
        store.rollout(rollout.id).await.unwrap().unwrap().version
    };
    let (held, committed, version) = tokio::join!(world.sql(&sql), late, take);
    held.unwrap();
    assert_eq!(committed.unwrap(), 2);
    assert_eq!(
        version, 2,
        "the lease changed hands after the write, not before"
    );
}

#[tokio::test]
async fn an_alert_acts_once() {
    let world = World::new().await;
    let store = &world.store;
    let pending = world.pending("checkout").await;
    store.commit(&start(&pending)).await.unwrap();
    let rollout = store.rollout(pending.id).await.unwrap().unwrap();
    let alert = AlertKey {
        fingerprint: "f1".to_owned(),
        starts_at: moment(0),
        receiver: "sluice".to_owned(),
        app_id: rollout.app_id,
    };
    assert!(!store.alert_seen(&alert).await.unwrap());
    let event = Event::AbortStarted {
        reason: rollout::Reason::CandidateBroken {
            detail: "x".to_owned(),
        },
    };
    let abort = Commit {
        state: aborting(&rollout.state),
        alert: Some(alert.clone()),
        ..next(&rollout, Phase::Aborting, event)
    };
    // Lost commits do not use the alert up.
    let stale = Commit {
        expected_version: 1,
        ..abort.clone()
    };
    assert!(is_lost(&store.commit(&stale).await, Lost::VersionConflict));
    store.commit(&abort).await.unwrap();
    assert!(store.alert_seen(&alert).await.unwrap());
    let rollout = store.rollout(rollout.id).await.unwrap().unwrap();
    let again = Commit {
        expected_version: rollout.version,
        ..abort
    };
    assert!(matches!(
        store.commit(&again).await,
        Err(StoreError::Duplicate)
    ));
    assert_eq!(store.rollout(rollout.id).await.unwrap().unwrap(), rollout);
}

#[tokio::test]
async fn alerts_that_change_nothing_are_told_of_once() {
    let world = World::new().await;
    let store = &world.store;
    let pending = world.pending("checkout").await;
    store.commit(&start(&pending)).await.unwrap();
    let alert = |second| AlertKey {
        fingerprint: "f1".to_owned(),
        starts_at: moment(second),
        receiver: "sluice".to_owned(),
        app_id: pending.app_id,
    };
    let notice = notice("rollout.alerted");
    let tell = async |alerts: &[AlertKey]| {
        let told = store.tell_of_alerts(pending.id, alerts, std::slice::from_ref(&notice));
        told.await.unwrap()
    };
    // One message for all that come together, one more when there is a new one among them.
    assert_eq!(tell(&[alert(1), alert(2), alert(2)]).await, 2);
    assert_eq!(tell(&[alert(1), alert(2)]).await, 0);
    assert_eq!(tell(&[alert(1), alert(3)]).await, 1);
    assert!(store.alert_seen(&alert(3)).await.unwrap());
    let mut sent = 0;
    while let Some(claimed) = store.claim_notices(&[], 1).await.unwrap().first() {
        sent += u32::from(claimed.kind == "rollout.alerted");
        store.delivered(claimed.id).await.unwrap();
    }
    assert_eq!(sent, 2);
}

#[tokio::test]
async fn a_commit_to_nothing_says_so() {
    let world = World::new().await;
    let rollout = world.pending("checkout").await;
    let lost = Commit {
        rollout: uuid::Uuid::now_v7(),
        ..start(&rollout)
    };
    let result = world.store.commit(&lost).await;
    assert!(matches!(
        result,
        Err(StoreError::NotFound { what: "rollout" })
    ));
}
