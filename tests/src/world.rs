//! One world: every part real, each with free ports and a directory of its own, all gone when it is
//! dropped.

mod install;

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context;
use api::Client;
use local::alertmanager::{self, Alertmanager};
use local::haproxy::{self, HaProxy};
use local::load::{self, Load};
use local::part::Part;
use local::wait;
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::database::Database;
use crate::fronts::HaProxyFront;
use crate::metrics::Metrics;
use crate::pairs::Instance;
use crate::server::Server;
use crate::{AppClient, Front, binary, instances};

pub use crate::app_client::{ENDS_WITHIN, words};

/// Requests a second: some for a candidate at 20 %, few enough for many worlds on a small machine.
const RATE: u32 = 60;
/// The load ends by itself after this, whatever becomes of its test.
const LOAD_FOR: Duration = Duration::from_secs(300);
/// How long some seconds' worth of requests may take.
const SERVED_WITHIN: Duration = Duration::from_secs(40);
/// Ports a world's instances may take.
const PORTS_A_WORLD: u16 = 40;
/// Lines of the server's log in a report.
const LOG_LINES: usize = 60;

/// What a world needs beside the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// A Postgres server of its own, to be hurt.
    pub own_postgres: bool,
    /// A Prometheus of its own, to be stopped.
    pub own_prometheus: bool,
    /// Alertmanager.
    pub alertmanager: bool,
    /// Requests a second, where the usual number is not right.
    pub rate: Option<u32>,
    /// Flags of `sluice demo-shop` for the first version.
    pub first: &'static [&'static str],
    /// How long requests in flight are given to end, where the usual is too short to act within.
    pub drain: Option<&'static str>,
}

/// Every part of one scenario. The fields are dropped in this order.
#[derive(Debug)]
pub struct World {
    load: Option<Load>,
    /// What the load recorded, once it was stopped.
    pub load_log: Option<load::Log>,
    /// The server under test.
    pub server: Server,
    app: AppClient,
    /// The admin token.
    pub token: String,
    /// Alertmanager, if asked for.
    pub alertmanager: Option<Alertmanager>,
    /// Prometheus, scraping HAProxy.
    pub prometheus: Metrics,
    /// HAProxy, where the users come in unless the pair has a front of its own.
    pub haproxy: HaProxy,
    /// Instances that this test runs, by port.
    pub(crate) pools: Mutex<BTreeMap<u16, Part>>,
    /// The database under test.
    pub database: Database,
    /// The instances that ran before Sluice came, where it adopts some.
    pub found: Option<Vec<Instance>>,
    mark: String,
    /// Requests a second.
    rate: u32,
    ports: Range<u16>,
    directory: TempDir,
}

/// An HTTP client for plain requests; waits at most ten seconds for an answer.
///
/// # Errors
/// When it cannot be built.
pub fn http() -> anyhow::Result<reqwest::Client> {
    // An error only says that a provider is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .build()
        .context("build HTTP client")
}

/// Ports for the instances of one world, which no other world of this process gets.
fn block_of_ports() -> Range<u16> {
    /// Below the ports that `local::ports` gives out and that the kernel takes for itself.
    const FIRST: u16 = 10_000;
    const BLOCKS: u16 = 10_000 / PORTS_A_WORLD;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap_or_default();
    let block = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % BLOCKS;
    let from = FIRST + block * PORTS_A_WORLD;
    from..from + PORTS_A_WORLD
}

impl World {
    /// Starts every part; nothing is installed yet.
    ///
    /// # Errors
    /// When a part is missing or does not start.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        Self::start_with(setup, &HaProxyFront).await
    }

    /// [`World::start`] with a Prometheus that scrapes this front.
    ///
    /// # Errors
    /// When a part is missing or does not start.
    pub async fn start_with(setup: Setup, front: &dyn Front) -> anyhow::Result<Self> {
        Self::start_in(setup, front, &[]).await
    }

    /// [`World::start_with`] with these variables in the server's environment.
    async fn start_in(
        setup: Setup,
        front: &dyn Front,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        drop(http()?);
        let targets = &front.targets();
        let directory = tempfile::Builder::new().prefix("sluice-e2e-").tempdir()?;
        let (database, prometheus) = tokio::join!(
            async {
                match setup.own_postgres {
                    true => Database::own().await,
                    false => Database::shared().await,
                }
            },
            async {
                match setup.own_prometheus {
                    true => Metrics::own(targets).await,
                    false => Metrics::shared(targets).await,
                }
            },
        );
        let (database, prometheus) = (database?, prometheus?);
        let place = directory.path();
        let config = haproxy::Config {
            exporter_port: Some(prometheus.haproxy_port()),
            ..haproxy::Config::default()
        };
        let haproxy_place = place.join("haproxy");
        let (server, haproxy) = tokio::join!(
            Server::start_with(place, database.url(), environment),
            HaProxy::start(&haproxy_place, config),
        );
        let (server, haproxy) = (server?, haproxy?);
        let token = first_token(database.url()).await?;
        let app = AppClient::new(&server.url(), &token)?;
        let alertmanager = match setup.alertmanager {
            true => Some(start_alertmanager(place, &server, &app.client).await?),
            false => None,
        };
        Ok(Self {
            load: None,
            load_log: None,
            server,
            app,
            token,
            alertmanager,
            prometheus,
            haproxy,
            pools: Mutex::default(),
            database,
            found: None,
            mark: Uuid::now_v7().to_string(),
            rate: setup.rate.unwrap_or(RATE),
            ports: block_of_ports(),
            directory,
        })
    }

    /// Begins to send requests.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn start_load(&mut self, front: &dyn Front) -> anyhow::Result<()> {
        let rate = self.rate;
        let options = load::Options {
            rate_per_second: rate,
            max_requests: u64::from(rate) * LOAD_FOR.as_secs(),
            max_duration: LOAD_FOR,
            concurrency: 8,
            host: front.host(self),
        };
        self.load = Some(Load::start(&front.url(self), options)?);
        Ok(())
    }

    /// Sends no more requests; the record is in `load_log` then.
    pub async fn stop_load(&mut self) {
        if let Some(load) = self.load.take() {
            self.load_log = Some(load.stop().await);
        }
    }

    /// Waits until the users have got `count` answers more, so that a state is not over before it
    /// was lived in.
    ///
    /// # Errors
    /// When they do not get them in time.
    pub async fn served(&self, count: u64) -> anyhow::Result<()> {
        let wanted = self.load_counts().total + count;
        wait::until_now(SERVED_WITHIN, "the load to go on", || {
            let total = self.load_counts().total;
            if total >= wanted { Ok(()) } else { Err(total) }
        })
        .await?;
        Ok(())
    }

    /// What the load has counted so far.
    pub fn load_counts(&self) -> load::Snapshot {
        self.load.as_ref().map(Load::snapshot).unwrap_or_default()
    }

    /// Marks this world's instances in their environment.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The ports that its instances may take.
    pub fn instance_ports(&self) -> Range<u16> {
        self.ports.clone()
    }

    /// Its server, to be hurt, and its app.
    pub fn server_and_app(&mut self) -> (&mut Server, &AppClient) {
        (&mut self.server, &self.app)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a `sluice` command against its server, with the admin token.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn cli(&self, arguments: &[&str]) -> anyhow::Result<binary::Ran> {
        self.cli_as(&self.token, arguments, "").await
    }

    /// Runs a `sluice` command with another token and with `input`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn cli_as(
        &self,
        token: &str,
        arguments: &[&str],
        input: &str,
    ) -> anyhow::Result<binary::Ran> {
        let url = self.server.url();
        let directory = self.directory().display().to_string();
        let environment = [
            ("SLUICE_SERVER", url.as_str()),
            ("SLUICE_TOKEN", token),
            ("HOME", directory.as_str()),
            ("NO_COLOR", "1"),
        ];
        binary::run(arguments, &environment, input).await
    }

    /// What helps to understand a failure: every rollout, the end of the server's log, the load.
    pub async fn report(&self) -> String {
        let rollouts = self.database.rollouts().await;
        let load = match &self.load_log {
            Some(log) => format!("{:?} {:?}", log.totals, log.transport_errors),
            None => format!("{:?}", self.load_counts()),
        };
        format!(
            "{rollouts}\nload: {load}\nend of the server's log:\n{}",
            self.server.log_tail(LOG_LINES)
        )
    }

    /// Runs one scenario's `outcome` to its end: a failure gets the report that explains it.
    ///
    /// # Errors
    /// With the scenario's own error.
    pub async fn explained<T>(&self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => {
                let report = self.report().await;
                Err(anyhow::anyhow!("{error:#}\n{report}"))
            }
        }
    }
}

impl Deref for World {
    type Target = AppClient;

    fn deref(&self) -> &AppClient {
        &self.app
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "end of the server's log:\n{}",
                self.server.log_tail(LOG_LINES)
            );
        }
        // First the server, or it would start its instances again.
        self.server.kill9().unwrap_or_default();
        instances::kill_all(&self.mark);
    }
}

async fn start_alertmanager(
    directory: &Path,
    server: &Server,
    client: &Client,
) -> anyhow::Result<Alertmanager> {
    let token = api::CreateToken {
        name: "alertmanager".to_owned(),
        role: api::RoleWord::Deployer,
        project: None,
        person: false,
        groups: Vec::new(),
        expires_in: None,
    };
    let created = client.create_token(&token).await?;
    let options = alertmanager::Options {
        port: None,
        hook_port: server.port(),
        hook_token: created.secret,
    };
    Alertmanager::start(&directory.join("alertmanager"), options).await
}

/// The first admin token of a new database.
pub async fn first_token(database_url: &str) -> anyhow::Result<String> {
    let environment = [("DATABASE_URL", database_url)];
    let ran = binary::run(&["token", "bootstrap"], &environment, "").await?;
    let ran = ran.expect(0)?;
    let mut words = ran.stdout.split(|c: char| c.is_whitespace() || c == '"');
    let token = words.find(|word| word.starts_with("sluice_"));
    token
        .map(str::to_owned)
        .context("no token on the standard output")
}
