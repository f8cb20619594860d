//! Nobody changes history, and who manages to is found out.

use store::HistoryProblem;

use crate::support::{World, start, succeed};

const CHANGES: [&str; 4] = [
    "UPDATE transition SET by = 'somebody else'",
    "DELETE FROM transition",
    "TRUNCATE transition",
    "TRUNCATE transition, measurement, outbox CASCADE",
];

#[tokio::test]
async fn the_owner_cannot_change_history() {
    let world = World::new().await;
    let rollout = world.pending("checkout").await;
    for change in CHANGES {
        let refused = world.sql(change).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{change}: {refused}");
        let replaying = format!("SET session_replication_role = replica; {change}");
        assert!(world.sql(&replaying).await.is_err(), "{change}");
    }
    assert_eq!(world.store.verify_history(rollout.id).await.unwrap(), 1);
}

#[tokio::test]
async fn the_service_has_no_right_to_change_history() {
    let world = World::new().await;
    world.pending("checkout").await;
    for change in CHANGES.into_iter().chain([
        "UPDATE measurement SET gate = 'x'",
        "DELETE FROM measurement",
        "UPDATE revision SET artifact = 'x'",
        "DELETE FROM rollout",
        "DELETE FROM app",
        "UPDATE event_clock SET base = 0",
        "ALTER TABLE transition DISABLE TRIGGER ALL",
        "DROP TABLE transition",
    ]) {
        let as_service = format!("SET ROLE sluice_service; {change}");
        let refused = world.sql(&as_service).await.unwrap_err().to_string();
        let words = ["permission denied", "must be owner"];
        assert!(
            words.iter().any(|it| refused.contains(it)),
            "{change}: {refused}"
        );
    }
    // And the store does work as that role.
    let role = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice'";
    assert_ne!(world.sql(role).await.unwrap(), "0");
}

#[tokio::test]
async fn numbers_hashes_and_times_are_the_databases() {
    let world = World::new().await;
    let rollout = world.pending("checkout").await;
    let insert = |seq: &str| {
        format!(
            "INSERT INTO transition (rollout_id, seq, project, app, candidate, at, by, event, state, hash, txid)
             SELECT rollout_id, {seq}, project, app, candidate, 'epoch', by, event, state, 'mine', 1
             FROM transition WHERE rollout_id = '{}'",
            rollout.id
        )
    };
    for wrong in ["1", "3", "0"] {
        assert!(world.sql(&insert(wrong)).await.is_err(), "{wrong}");
    }
    world.sql(&insert("2")).await.unwrap();
    assert_eq!(world.store.verify_history(rollout.id).await.unwrap(), 2);
    let rows = world.store.history(rollout.id, 0, 9).await.unwrap();
    assert!(rows[1].at > rows[0].at && rows[1].hash.len() == 64);
}

/// What a superuser can do who disables the triggers.
async fn tampered(sql: &str) -> HistoryProblem {
    let world = World::new().await;
    let rollout = succeed(&world.store, &world.pending("checkout").await).await;
    assert_eq!(world.store.verify_history(rollout.id).await.unwrap(), 3);
    let sql = format!(
        "ALTER TABLE transition DISABLE TRIGGER ALL; {sql}; ALTER TABLE transition ENABLE TRIGGER ALL"
    );
    world.sql(&sql).await.unwrap();
    world.store.verify_history(rollout.id).await.unwrap_err()
}

#[tokio::test]
async fn a_changed_row_is_found() {
    for column in [
        "by = 'x'",
        "at = at + interval '1 us'",
        "event = event || '{\"x\": 1}'",
        "state = jsonb_set(state, '{generation}', '8')",
        "candidate = 9",
        "hash = sha256('')",
    ] {
        let problem = tampered(&format!("UPDATE transition SET {column} WHERE seq = 2")).await;
        assert!(
            matches!(problem, HistoryProblem::Tampered { seq: 2, .. }),
            "{column}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_lost_row_is_found() {
    let problem = tampered("DELETE FROM transition WHERE seq = 2").await;
    assert!(
        matches!(problem, HistoryProblem::Gap { missing: 2, .. }),
        "{problem}"
    );
    let problem = tampered("DELETE FROM transition WHERE seq = 1").await;
    assert!(
        matches!(problem, HistoryProblem::Gap { missing: 1, .. }),
        "{problem}"
    );
    let problem = tampered("DELETE FROM transition WHERE seq = 3").await;
    assert!(
        matches!(problem, HistoryProblem::Diverged { seq: 2, .. }),
        "{problem}"
    );
    let problem = tampered("DELETE FROM transition").await;
    assert!(
        matches!(problem, HistoryProblem::Gap { missing: 1, .. }),
        "{problem}"
    );
    let renumbered =
        "DELETE FROM transition WHERE seq = 2; UPDATE transition SET seq = 2 WHERE seq = 3";
    let problem = tampered(renumbered).await;
    assert!(
        matches!(problem, HistoryProblem::Tampered { seq: 2, .. }),
        "{problem}"
    );
}

#[tokio::test]
async fn a_state_beside_the_history_is_found() {
    let world = World::new().await;
    let rollout = world.pending("checkout").await;
    world.store.commit(&start(&rollout)).await.unwrap();
    world
        .sql("UPDATE rollout SET state = jsonb_set(state, '{generation}', '8')")
        .await
        .unwrap();
    let problem = world.store.verify_history(rollout.id).await.unwrap_err();
    assert!(
        matches!(problem, HistoryProblem::Diverged { seq: 2, .. }),
        "{problem}"
    );
    let nothing = world.store.verify_history(uuid::Uuid::now_v7()).await;
    assert!(matches!(nothing, Err(HistoryProblem::Store(_))));
}
