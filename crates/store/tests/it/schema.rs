//! Connecting and migrating: what is refused, and what works with few rights.

use rollout::Phase;
use store::{Options, Store, StoreError};

use crate::support::{Server, World, build, new};

async fn refusal(url: &str) -> String {
    match Store::connect(url, Options::default()).await {
        Err(StoreError::UnsafeDatabase { problem }) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn migrations_are_applied_once_and_needed() {
    let server = Server::start().await;
    let url = server.postgres.url();
    let early = Store::connect(&url, Options::default()).await;
    assert!(matches!(early, Err(StoreError::NotMigrated { missing }) if missing == "0001 apps"));
    // Two replicas at once: one applies them, the other waits and finds them done.
    let (one, two) = tokio::join!(Store::migrate(&url), Store::migrate(&url));
    let mut applied = one.unwrap();
    let other = two.unwrap();
    applied.extend(
        other
            .into_iter()
            .filter(|it| !applied.contains(it))
            .collect::<Vec<_>>(),
    );
    assert_eq!(applied[0], "0001 apps");
    assert_eq!(applied.len(), 13);
    assert!(Store::migrate(&url).await.unwrap().is_empty());
    Store::connect(&url, Options::default())
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    // A database that a newer program migrated is fine.
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', true, '', 0)";
    server.postgres.execute("sluice", newer).await.unwrap();
    Store::connect(&url, Options::default()).await.unwrap();
}

#[tokio::test]
async fn a_database_that_forgets_commits_is_refused() {
    let world = World::new().await;
    world.sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$").await.unwrap();
    let problem = refusal(&world.url).await;
    assert!(
        problem.contains("ALTER SYSTEM SET synchronous_commit = on"),
        "{problem}"
    );
    assert!(matches!(
        Store::migrate(&world.url).await,
        Err(StoreError::UnsafeDatabase { .. })
    ));
}

#[tokio::test]
async fn wrong_urls_are_told_apart_from_a_database_that_is_away() {
    let bad = Store::connect("not a url", Options::default()).await;
    assert!(matches!(bad, Err(StoreError::Url { .. })));
    let port = local::ports::free_port().unwrap();
    let away = Store::connect(
        &format!("postgres://a:b@127.0.0.1:{port}/c"),
        Options::default(),
    )
    .await;
    assert!(matches!(away, Err(StoreError::Unavailable { .. })));
    let world = World::new().await;
    let missing = Store::connect(&world.url.replace("/test", "/nothing"), Options::default()).await;
    assert!(
        matches!(missing, Err(StoreError::Query { .. })),
        "{missing:?}"
    );
}

#[tokio::test]
async fn the_store_works_as_the_service_role() {
    let world = World::new().await;
    // Only that role writes: an update by any other one is refused here.
    world
        .sql("CREATE FUNCTION only_service() RETURNS trigger LANGUAGE plpgsql AS $$
              BEGIN
                  IF current_user <> 'sluice_service' THEN RAISE EXCEPTION 'I am %', current_user; END IF;
                  RETURN NEW;
              END $$;
              CREATE TRIGGER only_service BEFORE INSERT OR UPDATE ON rollout FOR EACH ROW EXECUTE FUNCTION only_service()")
        .await
        .unwrap();
    world.pending("checkout").await;
}

#[tokio::test]
async fn a_user_who_may_not_make_roles_can_migrate_and_run() {
    let server = Server::start().await;
    let admin = |sql: &'static str| server.postgres.execute("sluice", sql);
    admin("CREATE ROLE plain LOGIN PASSWORD 'p' NOSUPERUSER NOCREATEROLE")
        .await
        .unwrap();
    admin("CREATE DATABASE plain OWNER plain").await.unwrap();
    let url = format!(
        "postgres://plain:p@127.0.0.1:{}/plain",
        server.postgres.port()
    );
    assert_eq!(Store::migrate(&url).await.unwrap().len(), 13);
    assert_eq!(
        admin("SELECT count(*) FROM pg_roles WHERE rolname = 'sluice_service'")
            .await
            .unwrap(),
        "0"
    );
    let store = Store::connect(&url, Options::default()).await.unwrap();
    let (app, _) = store
        .put_app("shop", "a", &serde_json::json!({}), None, "ann")
        .await
        .unwrap();
    let rollout = store
        .create_rollout(&new(app.id, "v1"), build, None)
        .await
        .unwrap();
    assert_eq!(rollout.phase, Phase::Pending);
    // The trigger still protects the history.
    let change = server
        .postgres
        .execute("plain", "SET ROLE plain; DELETE FROM transition")
        .await;
    assert!(change.unwrap_err().to_string().contains("append-only"));

    // The role is there, made by somebody else, and may not be taken: rights are granted, not used.
    admin("CREATE ROLE sluice_service NOLOGIN").await.unwrap();
    admin("CREATE DATABASE second OWNER plain").await.unwrap();
    let port = server.postgres.port();
    let url = format!("postgres://plain:p@127.0.0.1:{port}/second");
    assert_eq!(Store::migrate(&url).await.unwrap().len(), 13);
    let store = Store::connect(&url, Options::default()).await.unwrap();
    store
        .put_app("shop", "a", &serde_json::json!({}), None, "ann")
        .await
        .unwrap();

    // And with the right to make roles, it is made and taken.
    admin("DROP DATABASE second").await.unwrap_err();
    admin("CREATE ROLE maker LOGIN PASSWORD 'p' CREATEROLE; ")
        .await
        .unwrap();
    admin("CREATE DATABASE third OWNER maker").await.unwrap();
    let url = format!(
        "postgres://maker:p@127.0.0.1:{}/third",
        server.postgres.port()
    );
    Store::migrate(&url).await.unwrap();
    let member = "SELECT pg_has_role('maker', 'sluice_service', 'MEMBER')";
    assert_eq!(admin(member).await.unwrap(), "t");
    let store = Store::connect(&url, Options::default()).await.unwrap();
    store
        .put_app("shop", "a", &serde_json::json!({}), None, "ann")
        .await
        .unwrap();
}

#[tokio::test]
async fn the_indexes_meant_for_them_serve_the_hot_queries() {
    let world = World::new().await;
    for (sql, index) in [
        (
            "SELECT FROM rollout WHERE app_id = gen_random_uuid() AND phase IN ('progressing', 'paused', 'promoting', 'aborting')",
            "rollout_one_active",
        ),
        (
            "SELECT FROM rollout WHERE project = 'shop' ORDER BY id DESC LIMIT 20",
            "rollout_by_project",
        ),
        (
            "SELECT FROM outbox WHERE closed_at IS NULL AND due_at <= now() ORDER BY due_at LIMIT 10",
            "outbox_due",
        ),
        (
            "SELECT FROM rollout WHERE shard = 3 AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')",
            "rollout_unfinished",
        ),
        (
            "SELECT FROM app WHERE shard = 3 AND deleted_at IS NULL AND stable IS NOT NULL",
            "app_by_shard",
        ),
        (
            "SELECT FROM transition WHERE (txid, number) > (5, 5) ORDER BY txid, number LIMIT 10",
            "transition_in_commit_order",
        ),
    ] {
        // Empty tables are always cheapest to scan; what matters is that the index can be used.
        let plan = world.sql(&format!("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; EXPLAIN {sql}")).await.unwrap();
        assert!(plan.contains(index), "{sql}\n{plan}");
    }
}
