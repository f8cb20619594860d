//! Postgres for the worlds: a few worlds share a server, each has a database of its own. A world
//! that is going to hurt its server gets one for itself.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context, bail};
use local::postgres::{Options, Postgres};
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::binary;

/// Worlds on one server: it takes 60 connections, and a Sluice may open 18, for a moment twice that
/// when it is killed and started again.
const WORLDS_A_SERVER: usize = 2;

/// A running server and its directory; the server goes first.
#[derive(Debug)]
struct Running {
    postgres: Postgres,
    _directory: TempDir,
}

impl Running {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("sluice-e2e-pg-")
            .tempdir()?;
        // The server's own user must be able to pass through.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711))?;
        let place = directory.path().join("postgres");
        let postgres = Postgres::start(&place, Options::default()).await?;
        Ok(Self {
            postgres,
            _directory: directory,
        })
    }
}

#[derive(Debug)]
enum Server {
    Shared(Arc<Running>),
    Own(Box<Running>),
}

/// One database, migrated.
#[derive(Debug)]
pub struct Database {
    server: Server,
    name: String,
    url: String,
}

impl Database {
    /// A database on a server that other worlds use too.
    ///
    /// # Errors
    /// When Postgres does not start or the migrations fail.
    pub async fn shared() -> anyhow::Result<Self> {
        Self::on(Server::Shared(shared().await?)).await
    }

    /// A database on a server of its own.
    ///
    /// # Errors
    /// When Postgres does not start or the migrations fail.
    pub async fn own() -> anyhow::Result<Self> {
        Self::on(Server::Own(Box::new(Running::start().await?))).await
    }

    async fn on(server: Server) -> anyhow::Result<Self> {
        let database = Self::empty_on(server).await?;
        let environment = [("DATABASE_URL", database.url.as_str())];
        binary::run(&["migrate"], &environment, "")
            .await?
            .expect(0)
            .context("migrate the database")?;
        Ok(database)
    }

    async fn empty_on(server: Server) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("world_{number}");
        let postgres = match &server {
            Server::Shared(running) => &running.postgres,
            Server::Own(running) => &running.postgres,
        };
        let url = postgres.create_database(&name).await?;
        Ok(Self { server, name, url })
    }

    /// A database without any tables, on a shared server.
    ///
    /// # Errors
    /// When Postgres does not start.
    pub async fn empty() -> anyhow::Result<Self> {
        Self::empty_on(Server::Shared(shared().await?)).await
    }

    /// Its URL, password included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs SQL in it as the superuser: one line a row, columns parted by `|`.
    ///
    /// # Errors
    /// With what Postgres says against it.
    pub async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        let postgres = match &self.server {
            Server::Shared(running) => &running.postgres,
            Server::Own(running) => &running.postgres,
        };
        postgres.execute(&self.name, sql).await
    }

    /// Every rollout in it and what happened to each, for a report.
    pub async fn rollouts(&self) -> String {
        let sql = "SELECT candidate, phase, state -> 'cursor', waiting, state -> 'abort' -> 'reason' \
                   FROM rollout ORDER BY id";
        let rollouts = self.sql(sql).await;
        let rollouts = rollouts.unwrap_or_else(|error| format!("{error:#}"));
        let sql = "SELECT candidate, seq, at, by, event FROM transition ORDER BY at";
        let history = self.sql(sql).await;
        let history = history.unwrap_or_else(|error| format!("{error:#}"));
        format!("rollouts:\n{rollouts}\nhistory:\n{history}")
    }

    /// Ends the server as a crash would and starts it again.
    ///
    /// # Errors
    /// When other worlds use the server, or it does not come back.
    pub async fn crash_restart(&mut self) -> anyhow::Result<()> {
        match &mut self.server {
            Server::Own(running) => running.postgres.crash_restart().await,
            Server::Shared(_) => bail!("this server is shared with other worlds"),
        }
    }
}

/// A server with room for one more world; started when there is none. It ends with its last world.
async fn shared() -> anyhow::Result<Arc<Running>> {
    static SERVERS: Mutex<Vec<Weak<Running>>> = Mutex::const_new(Vec::new());
    let mut servers = SERVERS.lock().await;
    servers.retain(|it| it.strong_count() > 0);
    let roomy = servers
        .iter()
        .find(|it| it.strong_count() < WORLDS_A_SERVER);
    if let Some(running) = roomy.and_then(Weak::upgrade) {
        return Ok(running);
    }
    let running = Arc::new(Running::start().await?);
    servers.push(Arc::downgrade(&running));
    Ok(running)
}
