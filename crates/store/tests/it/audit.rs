//! The audit log tells everything in order, and who manages to change it is found out.

use serde_json::json;
use store::{AuditAbout, AuditFilter, AuditHead, AuditProblem, NewAudit};
use uuid::Uuid;

use crate::support::{SOON, World, succeed};

fn line(who: &str, action: &'static str, status: Option<u16>) -> NewAudit {
    NewAudit {
        request: Uuid::now_v7(),
        who: Some(who.to_owned()),
        source: "192.0.2.7".to_owned(),
        action,
        project: Some("default".to_owned()),
        app: None,
        rollout: None,
        about: json!({ "token": "ci" }),
        status,
        detail: status.filter(|it| *it >= 400).map(|_| "no\0".to_owned()),
    }
}

/// A rollout's history, a refusal, and something that was done, all sealed.
async fn sealed() -> World {
    let world = World::new().await;
    world
        .store
        .audit(&line("token:ann", "token.create", Some(201)))
        .await
        .unwrap();
    succeed(&world.store, &world.pending("checkout").await).await;
    world
        .store
        .audit(&line("token:bob", "token.revoke", Some(403)))
        .await
        .unwrap();
    seal(&world, 5).await;
    world
}

/// Transactions of other tests, in other databases, may hold seals back.
async fn seal(world: &World, lines: u64) {
    local::wait::until(SOON, "seals", || async {
        world.store.seal_audit().await.unwrap();
        let checked = world.store.verify_audit(None).await.unwrap();
        match checked.sealed {
            sealed if sealed == lines => Ok(()),
            sealed => Err(format!("{sealed} lines of {lines}")),
        }
    })
    .await
    .unwrap();
}

async fn actions(world: &World, filter: AuditFilter) -> Vec<String> {
    let lines = world.store.audit_lines(&filter, None, 100).await.unwrap();
    lines.into_iter().map(|it| it.action).collect()
}

#[tokio::test]
async fn the_log_is_one_list_of_all_that_happened() {
    let world = sealed().await;
    let all = actions(&world, AuditFilter::default()).await;
    let expected = [
        "token.revoke",
        "rollout.succeeded",
        "rollout.started",
        "rollout.created",
        "token.create",
    ];
    assert_eq!(all, expected, "newest first");
    let only = |filter| actions(&world, filter);
    let refused = AuditFilter {
        refused: Some(true),
        ..AuditFilter::default()
    };
    assert_eq!(only(refused).await, ["token.revoke"]);
    let family = AuditFilter {
        action: Some("token".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(only(family).await, ["token.revoke", "token.create"]);
    let exact = AuditFilter {
        action: Some("rollout.created".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(only(exact).await, ["rollout.created"]);
    let who = AuditFilter {
        who: Some("token:ann".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(only(who).await, ["token.create"]);
    let app = AuditFilter {
        app: Some("checkout".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(only(app).await.len(), 3);
    let foreign = AuditFilter {
        projects: Some(vec!["bank".to_owned()]),
        ..AuditFilter::default()
    };
    assert_eq!(only(foreign).await.len(), 0);
    // Page by page it is the same list.
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let filter = AuditFilter::default();
        let page = world
            .store
            .audit_lines(&filter, before.as_deref(), 2)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.place.to_string());
        paged.extend(page.into_iter().map(|it| it.action));
    }
    assert_eq!(paged, expected);
}

#[tokio::test]
async fn what_was_begun_is_told_until_its_end_is_known() {
    let world = World::new().await;
    let begun = line("token:ann", "app.apply", None);
    world.store.audit(&begun).await.unwrap();
    let status = |lines: &[store::AuditLine]| match &lines[0].about {
        AuditAbout::Request { status, .. } => *status,
        AuditAbout::Transition { .. } => panic!("a request is no transition"),
    };
    let all = AuditFilter::default();
    let lines = world.store.audit_lines(&all, None, 9).await.unwrap();
    assert_eq!(
        (lines.len(), status(&lines)),
        (1, None),
        "nobody knows how it ended"
    );
    let ended = NewAudit {
        status: Some(200),
        ..begun
    };
    world.store.audit(&ended).await.unwrap();
    let lines = world.store.audit_lines(&all, None, 9).await.unwrap();
    assert_eq!((lines.len(), status(&lines)), (1, Some(200)));
}

#[tokio::test]
async fn nobody_changes_the_log() {
    let world = sealed().await;
    for table in ["audit", "audit_seal"] {
        for change in [
            format!("UPDATE {table} SET at = now()"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            let refused = world.sql(&change).await.unwrap_err().to_string();
            assert!(refused.contains("append-only"), "{change}: {refused}");
            let as_service = format!("SET ROLE sluice_service; {change}");
            let refused = world.sql(&as_service).await.unwrap_err().to_string();
            assert!(refused.contains("permission denied"), "{change}: {refused}");
        }
    }
}

/// What a superuser can do who disables the triggers.
async fn forge(world: &World, table: &str, sql: &str) -> AuditProblem {
    let forged = format!(
        "ALTER TABLE {table} DISABLE TRIGGER ALL; {sql}; ALTER TABLE {table} ENABLE TRIGGER ALL"
    );
    world.sql(&forged).await.unwrap();
    world.store.verify_audit(None).await.unwrap_err()
}

#[tokio::test]
async fn a_flipped_byte_is_found_wherever_it_is() {
    for (table, sql) in [
        (
            "audit",
            "UPDATE audit SET who = 'token:bnn' WHERE who = 'token:ann'",
        ),
        ("audit", "UPDATE audit SET status = 200 WHERE status = 403"),
        ("audit", "UPDATE audit SET about = '{}' WHERE status = 201"),
        (
            "audit",
            "UPDATE audit SET at = at + interval '1 us' WHERE status = 201",
        ),
        ("audit", "DELETE FROM audit WHERE status = 403"),
        (
            "audit",
            "INSERT INTO audit (txid, at, request, source, action, about)
             SELECT txid, at, request, source, action, about FROM audit LIMIT 1",
        ),
        ("transition", "UPDATE transition SET by = 'x' WHERE seq = 2"),
        (
            "transition",
            "UPDATE transition SET source = 'x' WHERE seq = 2",
        ),
        ("transition", "DELETE FROM transition"),
        // The forger also mends the rollout's own chain, as far as it goes.
        (
            "transition",
            "UPDATE transition SET hash = sha256('x') WHERE seq = 3",
        ),
        (
            "audit_seal",
            "UPDATE audit_seal SET hash = sha256('x') WHERE seq = 1",
        ),
        ("audit_seal", "UPDATE audit_seal SET lines = lines + 1"),
    ] {
        let world = sealed().await;
        let problem = forge(&world, table, sql).await;
        assert!(
            matches!(problem, AuditProblem::Tampered { seal: 1.., .. }),
            "{sql}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_told_by_a_seal_kept_elsewhere() {
    let world = sealed().await;
    world
        .store
        .audit(&line("token:eve", "app.delete", Some(204)))
        .await
        .unwrap();
    let before: AuditHead = world.store.verify_audit(None).await.unwrap().head.unwrap();
    seal(&world, 6).await;
    let checked = world.store.verify_audit(Some(before)).await.unwrap();
    let head = checked.head.unwrap();
    assert!(head.seal > before.seal && checked.unsealed == 0);
    assert_eq!(head.to_string().parse::<AuditHead>().unwrap(), head);
    let cut = "DELETE FROM audit WHERE who = 'token:eve';
        ALTER TABLE audit_seal DISABLE TRIGGER ALL;
        DELETE FROM audit_seal WHERE seq = (SELECT max(seq) FROM audit_seal)";
    let forged = format!("ALTER TABLE audit DISABLE TRIGGER ALL; {cut}");
    world.sql(&forged).await.unwrap();
    world
        .store
        .verify_audit(Some(before))
        .await
        .expect("what is left is in order");
    let problem = world.store.verify_audit(Some(head)).await.unwrap_err();
    assert!(matches!(problem, AuditProblem::Cut { .. }), "{problem}");
    let gap = "DELETE FROM audit_seal WHERE seq = 1";
    world.sql(gap).await.unwrap();
    let problem = world.store.verify_audit(None).await;
    assert!(
        !matches!(problem, Ok(checked) if checked.sealed > 0),
        "{problem:?}"
    );
}

#[tokio::test]
async fn what_a_running_transaction_may_still_add_is_not_sealed() {
    let world = World::new().await;
    let held = "BEGIN; INSERT INTO audit (txid, at, request, source, action, about)
        VALUES (0, 'epoch', gen_random_uuid(), '::1', 'late', '{}'); SELECT pg_sleep(30)";
    let held = format!("{held}; COMMIT");
    let meanwhile = async {
        world.until_waits_for("PgSleep").await;
        let done = line("token:ann", "token.create", Some(201));
        world.store.audit(&done).await.unwrap();
        let sealed = world.store.seal_audit().await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event = 'PgSleep'";
        world.sql(end).await.unwrap();
        sealed
    };
    let (ended, sealed) = tokio::join!(world.sql(&held), meanwhile);
    assert!(ended.is_err(), "it was ended");
    assert_eq!(sealed, 0, "a late line would come before it");
    seal(&world, 1).await;
}
