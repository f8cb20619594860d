//! Bad days: Postgres stops, restarts, crashes, or a connection is cut in the middle.

use std::time::Duration;

use store::{Notification, Options, Store, StoreError};

use crate::support::{SOON, Server, World, build, new, start};

async fn recovered(store: &Store) {
    local::wait::until(SOON, "the pool to recover", || store.ping())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_and_the_listener_survive_restarts() {
    let mut server = Server::start().await;
    let url = server.postgres.url();
    Store::migrate(&url).await.unwrap();
    let store = Store::connect(&url, Options::default()).await.unwrap();
    let mut listener = store.listen().await.unwrap();
    let (app, _) = store
        .put_app("shop", "checkout", &serde_json::json!({}), None, "ann")
        .await
        .unwrap();
    let rollout = store
        .create_rollout(&new(app.id, "v1"), build, None)
        .await
        .unwrap();

    server.postgres.stop().await.unwrap();
    // The first ones may find out on a connection that was fine a moment ago: then nobody knows
    // whether the commit arrived. Soon there is none left, and nothing is sent.
    local::wait::until(SOON, "a clear answer", || async {
        match store.commit(&start(&rollout)).await.unwrap_err() {
            error @ StoreError::CommitUnknown { .. } => Err(error),
            error => {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
                assert!(error.is_transient());
                Ok(())
            }
        }
    })
    .await
    .unwrap();
    assert!(
        store
            .events_after(None, None, 1)
            .await
            .unwrap_err()
            .is_transient()
    );

    server.postgres.restart().await.unwrap();
    recovered(&store).await;
    assert_eq!(store.commit(&start(&rollout)).await.unwrap(), 2);

    server.postgres.crash_restart().await.unwrap();
    recovered(&store).await;
    assert_eq!(store.verify_history(rollout.id).await.unwrap(), 2);
    let reconnected = async { while listener.next().await != Notification::Reconnected {} };
    tokio::time::timeout(SOON, reconnected).await.unwrap();
    store.close().await;
    assert!(store.ping().await.is_err());
}

#[tokio::test]
async fn a_connection_cut_while_committing_is_an_unknown_outcome() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    // The commit waits for this lock when it is cut off.
    let hold = format!(
        "BEGIN; SELECT FROM rollout WHERE id = '{}' FOR UPDATE; SELECT pg_sleep(2); COMMIT",
        rollout.id
    );
    let cut = async {
        world.until_waits_for("Lock").await;
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND datname = current_database()";
        assert_eq!(world.sql(kill).await.unwrap(), "1");
    };
    let late = async {
        world.until_waits_for("PgSleep").await;
        store.commit(&start(&rollout)).await
    };
    let hold = world.sql(&hold);
    let (hold, commit, ()) = tokio::join!(hold, late, cut);
    hold.unwrap();
    assert!(
        matches!(commit, Err(StoreError::CommitUnknown { .. })),
        "{commit:?}"
    );
    // The caller reads again, and sees that it did not happen.
    assert_eq!(store.rollout(rollout.id).await.unwrap().unwrap(), rollout);
}

#[tokio::test]
async fn transactions_that_meet_are_tried_again() {
    let world = World::new().await;
    let store = &world.store;
    let rollout = world.pending("checkout").await;
    let refuse = |times: u32, code: &str| {
        format!(
            "CREATE SEQUENCE IF NOT EXISTS refusals; ALTER SEQUENCE refusals RESTART;
             CREATE OR REPLACE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 IF nextval('refusals') <= {times} THEN
                     RAISE EXCEPTION 'met' USING ERRCODE = '{code}';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE OR REPLACE TRIGGER refuse_some BEFORE UPDATE ON rollout
                 FOR EACH ROW EXECUTE FUNCTION refuse_some()"
        )
    };
    world.sql(&refuse(5, "40001")).await.unwrap();
    assert_eq!(store.commit(&start(&rollout)).await.unwrap(), 2);
    world.sql(&refuse(3, "40P01")).await.unwrap();
    world.deploy(rollout.app_id, "v2").await;
    world.sql(&refuse(9, "40001")).await.unwrap();
    let rollout = store.rollout(rollout.id).await.unwrap().unwrap();
    let error = store.commit(&start(&rollout)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Contention { .. }) && error.is_transient(),
        "{error:?}"
    );
    // Anything else is not tried again.
    world.sql(&refuse(1, "53100")).await.unwrap();
    let error = store.commit(&start(&rollout)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_full_pool_is_unavailable_within_the_time_allowed() {
    let world = World::with(Options {
        max_connections: 1,
        min_connections: 0,
        acquire_timeout: Duration::from_millis(500),
    })
    .await;
    let rollout = world.pending("checkout").await;
    let hold = format!(
        "BEGIN; SELECT FROM rollout WHERE id = '{}' FOR UPDATE; SELECT pg_sleep(2); COMMIT",
        rollout.id
    );
    let late = async {
        world.until_waits_for("PgSleep").await;
        world.store.commit(&start(&rollout)).await
    };
    let second = async {
        world.until_waits_for("Lock").await;
        world.store.ping().await
    };
    let hold = world.sql(&hold);
    let (hold, first, second) = tokio::join!(hold, late, second);
    hold.unwrap();
    assert_eq!(first.unwrap(), 2);
    assert!(
        matches!(second, Err(StoreError::Unavailable { .. })),
        "{second:?}"
    );
}
