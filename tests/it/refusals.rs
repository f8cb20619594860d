//! What is refused: before anything runs, with the place, the reason and the way out.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use e2e::apps::short_canary;
use e2e::binary::{self, Ran};
use e2e::database::Database;
use e2e::pairs::ProcessHaProxy;
use e2e::{Setup, World, apps};

/// Ten mistakes, each on a line of its own.
const TEN_MISTAKES: &str = "\
app: Shop
workload:
  process:
    replicas: 0
    comand: [\"{{artifact}}\"]
    stopTimeout: never
traffic:
  haproxy:
    socket: relative.sock
    backend: two words
metrics:
  prometheus:
    url: ftp://metrics
strategy:
  canary:
    steps:
      - setWeight: 120
      - setWieght: 5
      - pause: soon
";
/// The lines they are on.
const LINES: [usize; 10] = [1, 4, 5, 6, 9, 10, 13, 17, 18, 19];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_mistakes_are_all_named_with_line_and_column() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    let file = world.directory().join("app.yaml");
    std::fs::write(&file, TEN_MISTAKES)?;
    let file = file.display().to_string();
    let ran = world.cli(&["apply", "-f", &file]).await?.expect(2)?;
    let places = ran.stderr.lines().filter_map(|line| {
        let (_, rest) = line.split_once("app.yaml:")?;
        let mut numbers = rest.split(':');
        let line: usize = numbers.next()?.trim().parse().ok()?;
        let column = numbers.next()?;
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        column.parse::<usize>().ok().map(|_| line)
    });
    let places: BTreeSet<usize> = places.collect();
    ensure!(
        places == BTreeSet::from(LINES),
        "named are {places:?} in:\n{}",
        ran.stderr
    );
    ensure!(
        ran.stderr.contains("did you mean \"setWeight\"?") && ran.stderr.contains("replicas: 0"),
        "no hint or no excerpt in:\n{}",
        ran.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_artifact_that_is_missing_starts_no_rollout() -> anyhow::Result<()> {
    let world = World::start(Setup::default()).await?;
    world
        .apply(&apps::app(&world, &ProcessHaProxy, &short_canary()))
        .await?;
    let ran = world
        .cli(&["deploy", "shop", "--artifact", "/nowhere/shop-v2", "--wait"])
        .await?
        .expect(2)?;
    ensure!(
        ran.stderr.contains("\"/nowhere/shop-v2\" is not there"),
        "{}",
        ran.stderr
    );
    let rollouts = world.client.rollouts(None, None, None).await?.items;
    ensure!(rollouts.is_empty(), "{rollouts:?}");
    Ok(())
}

/// Runs `sluice server` with these variables until it has refused to.
async fn refused(variables: &[(&str, &str)]) -> anyhow::Result<Ran> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().display().to_string();
    let mut environment = vec![
        ("SLUICE_DATA", data.as_str()),
        ("SLUICE_BIND", "127.0.0.1"),
        ("NO_COLOR", "1"),
    ];
    environment.extend(variables);
    binary::run(&["server"], &environment, "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named_with_the_way_out() -> anyhow::Result<()> {
    let database = migrated().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let ran = refused(&[("DATABASE_URL", database.url()), ("PORT", &port)]).await?;
    let ran = ran.expect(1)?;
    let words = [port.as_str(), "taken", "PORT"];
    ensure!(
        words.iter().all(|it| ran.stderr.contains(it)),
        "{}",
        ran.stderr
    );
    Ok(())
}

async fn migrated() -> anyhow::Result<Database> {
    Database::shared().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_cannot_be_written_is_named() -> anyhow::Result<()> {
    let database = migrated().await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("file");
    std::fs::write(&file, "in the way")?;
    // Below a file nobody can make a directory, not even root.
    let data = file.join("data").display().to_string();
    let port = local::ports::free_port()?.to_string();
    let variables = [
        ("DATABASE_URL", database.url()),
        ("PORT", &port),
        ("SLUICE_DATA", &data),
    ];
    let ran = refused(&variables).await?.expect(1)?;
    ensure!(ran.stderr.contains(&data), "{}", ran.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_the_server_says_what_it_needs() -> anyhow::Result<()> {
    let ran = refused(&[]).await?.expect(2)?;
    ensure!(ran.stderr.contains("DATABASE_URL"), "{}", ran.stderr);
    let nobody = local::ports::free_port()?;
    let url = format!("postgres://sluice:secret-word@127.0.0.1:{nobody}/sluice");
    let port = local::ports::free_port()?.to_string();
    let ran = refused(&[("DATABASE_URL", &url), ("PORT", &port)]).await?;
    let ran = ran.expect(1)?;
    ensure!(ran.stderr.contains("database"), "{}", ran.stderr);
    ensure!(
        !ran.stderr.contains("secret-word"),
        "the password is in: {}",
        ran.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_tables_is_told_to_be_migrated() -> anyhow::Result<()> {
    let database = Database::empty().await?;
    let port = local::ports::free_port()?.to_string();
    let ran = refused(&[("DATABASE_URL", database.url()), ("PORT", &port)]).await?;
    let ran = ran.expect(1).context("server on an empty database")?;
    ensure!(ran.stderr.contains("sluice migrate"), "{}", ran.stderr);
    Ok(())
}
