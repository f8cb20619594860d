//! Postgres: made, used, restarted, crashed, taken twice.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use local::postgres::{Options, Postgres};

#[tokio::test]
async fn data_survives_stop_restart_and_crash() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("pg");
    let began = Instant::now();
    let mut postgres = Postgres::start(&place, Options::default()).await.unwrap();
    println!("first start of Postgres: {:?}", began.elapsed());
    let url = postgres.create_database("shop").await.unwrap();
    assert!(
        url.starts_with("postgres://sluice:")
            && url.ends_with(&format!("@127.0.0.1:{}/shop", postgres.port()))
    );
    postgres
        .execute(
            "shop",
            "CREATE TABLE sold (n int); INSERT INTO sold VALUES (1)",
        )
        .await
        .unwrap();
    let settings = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
    assert_eq!(postgres.execute("shop", settings).await.unwrap(), "off|on");

    let began = Instant::now();
    postgres.restart().await.unwrap();
    println!("restart of Postgres: {:?}", began.elapsed());
    postgres
        .execute("shop", "INSERT INTO sold VALUES (2)")
        .await
        .unwrap();
    postgres.crash_restart().await.unwrap();
    postgres
        .execute("shop", "INSERT INTO sold VALUES (3)")
        .await
        .unwrap();
    drop(postgres);

    let again = Postgres::start(
        &place,
        Options {
            durable: true,
            port: None,
        },
    )
    .await
    .unwrap();
    assert_eq!(
        again
            .execute("shop", "SELECT sum(n) FROM sold")
            .await
            .unwrap(),
        "6"
    );
    assert_eq!(again.execute("shop", "SHOW fsync").await.unwrap(), "on");
    let password = place.join("password").metadata().unwrap();
    assert_eq!(password.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_directory_is_used_by_one_server_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Postgres::start(dir.path(), Options::default())
        .await
        .unwrap();
    let error = Postgres::start(dir.path(), Options::default())
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("is in use by another running instance"),
        "{text}"
    );
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    assert_eq!(first.execute("sluice", "SELECT 1").await.unwrap(), "1");
}

#[tokio::test]
async fn errors_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(dir.path(), Options::default())
        .await
        .unwrap();
    assert!(postgres.create_database("Shop; DROP").await.is_err());
    let error = postgres
        .execute("sluice", "SELECT nothing")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("column \"nothing\" does not exist"),
        "{error}"
    );
    let port = Some(postgres.port());
    let other = tempfile::tempdir().unwrap();
    let error = Postgres::start(
        other.path(),
        Options {
            durable: false,
            port,
        },
    )
    .await
    .unwrap_err();
    assert!(
        format!("{error:#}").contains("Address already in use"),
        "{error:#}"
    );
    std::fs::write(other.path().join("data/PG_VERSION"), "9\n").unwrap();
    let error = Postgres::start(other.path(), Options::default())
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("postgresql-9"), "{error:#}");
}

/// Tells the ignored test below where to run its Postgres.
const PLACE: &str = "LOCAL_TEST_POSTGRES";

/// Not a test by itself: the process that the next one kills.
#[tokio::test]
#[ignore = "run by `the_next_owner_takes_over_at_once`"]
async fn holds_postgres_until_killed() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    let _postgres = Postgres::start(place.as_ref(), Options::default())
        .await
        .unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn the_next_owner_takes_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("pg");
    let mut owner = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "database::holds_postgres_until_killed",
        ])
        .env(PLACE, &place)
        .spawn()
        .unwrap();
    let made = place.join("database-made");
    let ready = local::wait::until_now(crate::SOON, "its server", || {
        if made.exists() {
            Ok(())
        } else {
            Err("not there")
        }
    });
    let ready = ready.await;
    owner.kill().unwrap();
    owner.wait().unwrap();
    ready.unwrap();
    let postgres = Postgres::start(&place, Options::default()).await.unwrap();
    assert_eq!(postgres.execute("sluice", "SELECT 1").await.unwrap(), "1");
}
