//! Lanes, the safety net, and a database that does not answer.

use std::process::Stdio;

use secrecy::ExposeSecret as _;

use super::*;
use crate::controller::rig::{Rig, key};

const SOON: Duration = Duration::from_secs(20);

fn dispatcher(rig: &mut Rig) -> Dispatcher {
    let shared = Arc::new(Loop::of(&rig.service));
    Dispatcher::new(shared, rig.wakes.take().unwrap())
}

fn looked(rollback: bool) -> PassEnd {
    PassEnd {
        looked: true,
        rollback,
        ..PassEnd::default()
    }
}

/// A pass that loaded before an abort was committed knows nothing of it: that it ends well must not
/// send the rollback to the other lane.
#[tokio::test]
async fn an_urgent_wake_during_a_pass_stays_urgent() {
    let mut rig = Rig::start().await;
    let mut it = dispatcher(&mut rig);
    let app = key("shop");
    for lane in [Lane::Rollback, Lane::Normal] {
        let running = it.passes.spawn(std::future::pending());
        let entry = it.entries.entry(app.clone()).or_default();
        entry.running = Some((running.id(), running, lane));
        it.wake(app.clone(), true, Instant::now());
        it.entries.get_mut(&app).unwrap().running = None;
        it.follow_up(app.clone(), looked(false), lane);
        assert_eq!(it.entries[&app].queued, Some(Lane::Rollback), "{lane:?}");
        it.entries.clear();
        it.queues.clear();
    }
}

#[tokio::test]
async fn the_lane_follows_what_the_last_look_saw() {
    let mut rig = Rig::start().await;
    let mut it = dispatcher(&mut rig);
    let app = key("shop");
    let entry = it.entries.entry(app.clone()).or_default();
    entry.rolling_back = true;
    // One that could not look leaves it there.
    it.follow_up(app.clone(), PassEnd::retry(), Lane::Rollback);
    assert_eq!(it.entries[&app].lane(), Lane::Rollback);
    it.follow_up(app.clone(), looked(true), Lane::Rollback);
    assert_eq!(it.entries[&app].lane(), Lane::Rollback);
    it.follow_up(app.clone(), looked(false), Lane::Rollback);
    assert_eq!(it.entries[&app].lane(), Lane::Normal);
    let gone = PassEnd {
        forget: true,
        ..PassEnd::default()
    };
    it.follow_up(app.clone(), gone, Lane::Normal);
    assert!(it.entries.is_empty());
}

/// A look at everything that the database does not answer must not hold up a rollback.
#[tokio::test]
async fn a_slow_database_does_not_hold_up_a_wake() {
    let mut rig = Rig::start().await;
    let lock =
        "BEGIN; LOCK TABLE shard IN ACCESS EXCLUSIVE MODE; \\echo locked\nSELECT pg_sleep(60);\n";
    let mut psql = tokio::process::Command::new("psql")
        .args(["-X", "-q", "-A", "-t", rig.url.expose_secret()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = psql.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, lock.as_bytes())
        .await
        .unwrap();
    let mut locked = [0; 6];
    let mut output = psql.stdout.take().unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut output, &mut locked)
        .await
        .unwrap();
    let dispatcher = dispatcher(&mut rig);
    let service = &rig.service;
    let running = tokio::spawn(dispatcher.run(service.stop.clone()));
    service.waker.rescan();

    let began = Instant::now();
    service.waker.wake(key("shop"), true);
    let line = r#"sluice_wake_latency_seconds_count{lane="rollback"} 1"#;
    while !service.metrics.encode().unwrap().contains(line) {
        assert!(began.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    psql.start_kill().unwrap();
    service.stop.cancel();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
}

/// What waits for a person is not looked at every few seconds by every replica for weeks.
#[tokio::test]
async fn the_safety_net_leaves_alone_what_has_not_changed() {
    let mut rig = Rig::start().await;
    let mut it = dispatcher(&mut rig);
    let app_id = Uuid::now_v7();
    let found = |version| {
        vec![store::AppRef {
            app_id,
            project: "default".to_owned(),
            name: "shop".to_owned(),
            unfinished: true,
            urgent: false,
            wake_at: None,
            version: Some(version),
        }]
    };
    let app = key("shop");
    it.wake_all(Scan::Forgotten, found(4));
    assert!(it.entries[&app].queued.is_some(), "never looked at");
    it.entries.get_mut(&app).unwrap().queued = None;
    let end = PassEnd {
        version: Some(4),
        ..looked(false)
    };
    it.follow_up(app.clone(), end, Lane::Normal);
    it.wake_all(Scan::Forgotten, found(4));
    assert_eq!(it.entries[&app].queued, None);
    it.wake_all(Scan::Forgotten, found(5));
    assert!(it.entries[&app].queued.is_some(), "somebody wrote it");
}
