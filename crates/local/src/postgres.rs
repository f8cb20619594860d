//! A Postgres server of our own, in one directory.
//!
//! ```text
//!   dir/lock       held while a server of ours uses the directory
//!   dir/password   the superuser's random password, mode 600
//!   dir/log        the server's log
//!   dir/data       the cluster
//!   dir/socket     the Unix socket, mode 700: only the server's user enters
//! ```
//!
//! The server listens on 127.0.0.1 with a password (SCRAM) and on the socket
//! without one. Postgres refuses to run as root; started as root, it runs as the
//! user `postgres`, who then owns `dir`.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::part::{Part, Signal};
use crate::{ports, programs, wait};

mod place;

use place::Place;

/// The superuser; also the name of the first database.
const USER: &str = "sluice";
/// How long a server may take to accept connections. Crash recovery comes first.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a predecessor that is just ending may keep the data directory.
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How long a stop may take: a shutdown checkpoint of a small database.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Postgres says this when another server uses its data directory.
const IN_USE: [&str; 2] = [
    "lock file \"postmaster.pid\" already exists",
    "is still in use",
];

/// How to run the server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether committed data survives a crash of the machine. `false` (tests,
    /// the demo) turns fsync off, which is several times as fast; committed data
    /// then survives a crash of Postgres only.
    pub durable: bool,
    /// The port on 127.0.0.1; a free one if `None`.
    pub port: Option<u16>,
}

/// A running server. Dropping it stops it at once; its data stays.
#[derive(Debug)]
pub struct Postgres {
    part: Part,
    place: Place,
    port: u16,
    password: String,
    // Held for its effect: closing the file gives the directory free.
    _lock: File,
}

impl Postgres {
    /// Starts a server on `dir`, which is made if it is not there; a cluster
    /// already in it is used. Returns when it accepts connections, usually
    /// within a second.
    ///
    /// # Errors
    /// When Postgres is not installed, another server uses `dir`, the cluster in
    /// it is of a version not installed, or its user cannot enter `dir`.
    pub async fn start(dir: &Path, options: Options) -> anyhow::Result<Self> {
        let place = Place::prepare(dir)?;
        let lock = place.lock()?;
        let bin = programs::postgres_directory(place.major()?)?;
        let password = place.password()?;
        if place.major()?.is_none() {
            place.initialise(&bin).await?;
        }
        let port = match options.port {
            Some(port) => port,
            None => ports::free_port().context("find a free port for Postgres")?,
        };
        let part = Part::start(place.spec(&bin, port, options.durable)).await?;
        let mut postgres = Self {
            part,
            place,
            port,
            password,
            _lock: lock,
        };
        postgres.accept().await?;
        postgres.first_database().await?;
        Ok(postgres)
    }

    /// The URL of the first database, over TCP with the password in it.
    pub fn url(&self) -> String {
        self.database_url(USER)
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.part.pid()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's log file.
    pub fn log_path(&self) -> &Path {
        self.part.log_path()
    }

    /// Makes a database and returns its URL.
    ///
    /// # Errors
    /// When the name is not a plain one (lower-case letters, digits, `_`) or is taken.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        ensure!(
            !name.is_empty() && name.chars().all(plain),
            "create database {name:?}: not a plain name"
        );
        self.execute(USER, &format!("CREATE DATABASE {name}"))
            .await?;
        Ok(self.database_url(name))
    }

    /// Runs SQL as the superuser in one database and returns what it prints:
    /// one line a row, columns parted by `|`.
    ///
    /// # Errors
    /// With what Postgres says against it.
    pub async fn execute(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(programs::find("psql")?)
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                USER,
                "-d",
                database,
                "-c",
                sql,
            ])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .env("PGPASSWORD", &self.password)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run psql")?;
        ensure!(
            output.status.success(),
            "run SQL: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// Stops it: open connections are ended, what is committed is written.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.part.stop(STOP_WITHIN).await?;
        Ok(())
    }

    /// Stops and starts it on the same port; also starts it after a stop.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.part.start_again().await?;
        self.accept().await
    }

    /// Ends it without any tidying, as a crash would, and starts it again: it
    /// recovers from its write-ahead log.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn crash_restart(&mut self) -> anyhow::Result<()> {
        self.part.stop_with(Signal::QUIT, STOP_WITHIN).await?;
        self.part.start_again().await?;
        self.accept().await
    }

    /// Makes the first database, unless a note says that it was made.
    async fn first_database(&self) -> anyhow::Result<()> {
        let made = self.place.dir.join("database-made");
        if made.exists() {
            return Ok(());
        }
        let outcome = self
            .execute("postgres", &format!("CREATE DATABASE {USER}"))
            .await;
        // A crash between making it and noting it leaves it made.
        if let Err(error) = outcome
            && !error.to_string().contains("already exists")
        {
            return Err(error);
        }
        std::fs::write(&made, "").with_context(|| format!("write {}", made.display()))
    }

    fn database_url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    /// Waits until it accepts connections. A predecessor orphaned by a kill of
    /// its owner needs a moment to end; until then Postgres refuses to start.
    async fn accept(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let Self { part, place, .. } = self;
            let ready = wait::until_now(READY_WITHIN, "Postgres to accept connections", || {
                if part.check().is_err() {
                    return Ok(false);
                }
                let status = place.status(part.pid());
                if status.starts_with("ready") {
                    Ok(true)
                } else {
                    Err(status)
                }
            });
            if ready.await? {
                return Ok(());
            }
            let log = self.part.log_tail();
            let last = log.rsplit("LOG:").next().unwrap_or_default();
            let in_use = IN_USE.iter().any(|text| last.contains(text));
            if !in_use {
                self.part.check()?;
                bail!("start Postgres: it ended by itself");
            }
            if began.elapsed() > PREDECESSOR_ENDS_WITHIN {
                bail!(
                    "start Postgres: another server uses {}:\n{last}",
                    self.place.data().display()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.part.start_again().await?;
        }
    }
}
