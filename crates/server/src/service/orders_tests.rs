//! Alerts about another rollout, and orders whose outcome was not known.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use rollout::Event;

use super::*;
use crate::{controller::rig::Rig, service::AlertSource};

fn alert(starts_at: Timestamp) -> api::Alert {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    api::Alert {
        status: "firing".to_owned(),
        labels: BTreeMap::from([label("alertname", "Errors"), label("app", "shop")]),
        annotations: BTreeMap::new(),
        starts_at,
        fingerprint: "f".to_owned(),
    }
}

/// An alert about the rollout before, which fired while this one waited for its turn.
#[tokio::test]
async fn an_alert_from_before_the_start_is_not_about_the_candidate() {
    let rig = Rig::start().await;
    let pending = rig.pending("shop", "blue").await;
    let while_pending = pending.created_at + Duration::from_millis(1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let started = rig
        .change(&pending, Phase::Progressing, Event::Started)
        .await;
    let source = AlertSource {
        receiver: "test",
        by: "alertmanager",
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        projects: None,
    };
    let give = async |alert: api::Alert| {
        let outcome = rig.service.alerts(&[alert], source).await;
        outcome.unwrap()
    };
    let outcome = give(alert(while_pending)).await;
    assert_eq!(outcome.acted, [""; 0], "{outcome:?}");
    let phase = async || {
        let found = rig.service.store.rollout(started.id).await.unwrap();
        found.unwrap().phase
    };
    assert_eq!(phase().await, Phase::Progressing);
    let late = alert(Timestamp::now() + Duration::from_millis(1));
    let outcome = give(late).await;
    assert_eq!(outcome.acted.len(), 1, "{outcome:?}");
    assert_eq!(phase().await, Phase::Aborting);
}

/// Decided once more because something was committed meanwhile, an order must not end a step that
/// nobody has seen; and one that was written is not carried out twice.
#[tokio::test]
async fn what_was_written_is_known_by_its_history() {
    let rig = Rig::start().await;
    let pending = rig.pending("shop", "blue").await;
    let mut state = pending.state.clone();
    state.generation += 1;
    state.phase = Phase::Progressing;
    let commit = Commit {
        rollout: pending.id,
        expected_version: pending.version,
        fence: None,
        gates: pending.gates.clone(),
        state,
        waiting: None,
        wake_at: None,
        plan: None,
        transition: Some((Event::Started, "ana".to_owned())),
        source: None,
        measurements: Vec::new(),
        stable: None,
        notices: Vec::new(),
        alert: None,
    };
    let store = &rig.service.store;
    assert!(!was_written(store, &commit).await.unwrap());
    store.commit(&commit).await.unwrap();
    assert!(was_written(store, &commit).await.unwrap());
    let other = Commit {
        transition: Some((Event::Started, "bob".to_owned())),
        ..commit
    };
    assert!(!was_written(store, &other).await.unwrap());
}

/// A crowd around one rollout, whose row somebody holds, must not take the connections from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_around_one_rollout_keeps_nobody_else_waiting() {
    let rig = Rig::start().await;
    let held = rig.pending("held", "blue").await;
    let held = rig.change(&held, Phase::Progressing, Event::Started).await;
    let free = rig.pending("free", "blue").await;
    let free = rig.change(&free, Phase::Progressing, Event::Started).await;
    rig.lock(&held).await;
    let order = |id, order| {
        let (service, by) = (rig.service.clone(), "ana".to_owned());
        let command = Command {
            order,
            by,
            comment: None,
            from: None,
        };
        tokio::spawn(async move { service.order(id, command, None).await })
    };
    let crowd: Vec<_> = (0..40).map(|_| order(held.id, Order::Pause)).collect();
    rig.waiters(1).await;
    let paused = order(free.id, Order::Pause).await.unwrap().unwrap();
    assert_eq!(paused.phase, Phase::Paused);
    // What takes traffic back waits for the row, but not for its turn behind all of them.
    let abort = order(held.id, Order::Abort);
    rig.waiters(2).await;
    rig.unlock().await;
    assert_eq!(abort.await.unwrap().unwrap().phase, Phase::Aborting);
    for order in crowd {
        let answer = order.await.unwrap();
        let fair = matches!(&answer, Ok(_) | Err(ServeError::Rejection(_)));
        assert!(fair, "{answer:?}");
    }
}
