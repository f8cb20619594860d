//! The stream of events, and notifications.

use std::time::Duration;

use futures::future::join_all;
use rollout::Phase;
use serde_json::json;
use store::{Commit, Listener, Notification, Options, StoreError};
use tokio::time::timeout;

use crate::support::{SOON, World, aborting, keep, next, start};

async fn heard(listener: &mut Listener) -> Notification {
    timeout(SOON, listener.next())
        .await
        .expect("a notification")
}

#[tokio::test]
async fn events_come_after_a_cursor_and_of_the_projects_asked_for() {
    let world = World::new().await;
    let store = &world.store;
    let none = store.latest_cursor().await.unwrap();
    assert_eq!(none, "0-0");
    let rollout = world.pending("checkout").await;
    store.commit(&start(&rollout)).await.unwrap();
    let (other, _) = store
        .put_app("bank", "ledger", &json!({}), None, "ann")
        .await
        .unwrap();
    world.deploy(other.id, "v1").await;

    let all = world.events(3).await;
    assert_eq!(all.iter().map(|it| it.seq).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(all[..2], store.history(rollout.id, 0, 10).await.unwrap());
    let after =
        |cursor: String| async move { store.events_after(Some(&cursor), None, 10).await.unwrap() };
    assert_eq!(after(none).await, all);
    assert_eq!(after(all[0].event_id.clone()).await, all[1..]);
    assert_eq!(store.latest_cursor().await.unwrap(), all[2].event_id);
    assert!(after(all[2].event_id.clone()).await.is_empty());
    let bank = store
        .events_after(None, Some(&["bank".to_owned()]), 10)
        .await
        .unwrap();
    assert_eq!(bank, all[2..]);
    assert_eq!(store.events_after(None, None, 1).await.unwrap(), all[..1]);
    let bad = store.events_after(Some("yesterday"), None, 10).await;
    assert!(matches!(bad, Err(StoreError::BadCursor { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_misses_nothing_while_many_write() {
    let world = World::with(Options {
        max_connections: 16,
        min_connections: 0,
        acquire_timeout: SOON,
    })
    .await;
    let store = &world.store;
    let mut apps = Vec::new();
    for it in 0..12 {
        apps.push(world.app(&format!("app{it}")).await.id);
    }
    // Each ends with so many transitions: 10 of its own, and 2 by being superseded and started.
    let write = async |app| {
        let mut rollout = world.deploy(app, "v1").await;
        for _ in 0..10 {
            store.commit(&start(&rollout)).await.unwrap();
            rollout = store.rollout(rollout.id).await.unwrap().unwrap();
        }
        world.deploy(app, "v2").await;
    };
    let read = async {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        while seen.len() < 12 * 13 {
            let rows = store
                .events_after(cursor.as_deref(), None, 7)
                .await
                .unwrap();
            if let Some(last) = rows.last() {
                cursor = Some(last.event_id.clone());
            }
            seen.extend(rows);
        }
        seen
    };
    let writers = join_all(apps.into_iter().map(write));
    let (_, seen) = tokio::join!(writers, timeout(SOON * 3, read));
    let seen = seen.expect("all events");
    let mut last = std::collections::HashMap::new();
    for row in seen {
        let before = last.insert(row.rollout_id, row.seq).unwrap_or(0);
        assert_eq!(row.seq, before + 1, "in the order of the history");
    }
}

#[tokio::test]
async fn an_event_waits_for_older_transactions_and_is_not_lost() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    // An older transaction with a number of its own still runs.
    let slow = world.sql("BEGIN; SELECT pg_current_xact_id(); SELECT pg_sleep(1); COMMIT");
    let probe = async {
        world.until_waits_for("PgSleep").await;
        store.commit(&start(&rollout)).await.unwrap();
        let early = store.events_after(None, None, 10).await.unwrap();
        assert!(early.iter().all(|it| it.seq == 1));
    };
    let (slow, ()) = tokio::join!(slow, probe);
    slow.unwrap();
    assert_eq!(world.events(2).await[1].seq, 2);
}

#[tokio::test]
async fn a_restored_history_does_not_stop_the_stream() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    // As after a restore into a new cluster: the history's numbers are far ahead.
    world
        .sql("ALTER TABLE transition DISABLE TRIGGER ALL; UPDATE transition SET txid = txid + 1000000000; ALTER TABLE transition ENABLE TRIGGER ALL")
        .await
        .unwrap();
    assert!(store.events_after(None, None, 10).await.unwrap().is_empty());
    assert!(store::Store::migrate(&world.url).await.unwrap().is_empty());
    store.commit(&start(&rollout)).await.unwrap();
    let seqs: Vec<i64> = world.events(2).await.iter().map(|it| it.seq).collect();
    assert_eq!(seqs, [1, 2]);
    let cursor = store.latest_cursor().await.unwrap();
    store::Store::migrate(&world.url).await.unwrap();
    assert_eq!(store.latest_cursor().await.unwrap(), cursor);
}

#[tokio::test]
async fn what_is_written_is_heard() {
    let world = World::new().await;
    let store = &world.store;
    let mut listener = store.listen().await.unwrap();
    let app = world.app("checkout").await;
    let about = |rollout, urgent, sender| Notification::Changed {
        app_id: app.id,
        project: "shop".to_owned(),
        app: "checkout".to_owned(),
        rollout,
        urgent,
        sender,
    };
    assert_eq!(heard(&mut listener).await, about(None, false, None));
    let pending = world.deploy(app.id, "v1").await;
    assert_eq!(
        heard(&mut listener).await,
        about(Some(pending.id), false, None)
    );
    let owner = world.owner().await;
    let fence = Some(world.fence(app.id, owner).await);
    store
        .commit(&Commit {
            fence,
            ..start(&pending)
        })
        .await
        .unwrap();
    assert_eq!(
        heard(&mut listener).await,
        about(Some(pending.id), false, Some(owner))
    );
    let running = store.rollout(pending.id).await.unwrap().unwrap();
    // Without a transition nobody is woken.
    store.commit(&keep(&running)).await.unwrap();
    let running = store.rollout(pending.id).await.unwrap().unwrap();
    let abort = Commit {
        state: aborting(&running.state),
        ..next(&running, Phase::Aborting, rollout::Event::Started)
    };
    store.commit(&abort).await.unwrap();
    assert_eq!(
        heard(&mut listener).await,
        about(Some(pending.id), true, None)
    );
    store.release_all(owner).await.unwrap();
    assert_eq!(heard(&mut listener).await, Notification::LeasesFreed);

    // The connection is cut: it says so, and goes on.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    world.sql(cut).await.unwrap();
    assert_eq!(heard(&mut listener).await, Notification::Reconnected);
    world.sql("NOTIFY sluice, 'gibberish'").await.unwrap();
    world.app("other").await;
    assert!(
        matches!(heard(&mut listener).await, Notification::Changed { app, .. } if app == "other")
    );
    let silence = timeout(Duration::from_millis(50), listener.next()).await;
    assert!(silence.is_err());
}
