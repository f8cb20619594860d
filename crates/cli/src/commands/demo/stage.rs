//! The parts of the demo, all real: started here, stopped here, nothing left behind.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::Context as _;
use api::{Client, CreateToken, RoleWord};
use local::{
    alertmanager::{self, Alertmanager},
    haproxy::{self, HaProxy},
    load::{self, Load},
    ports,
    postgres::{self, Postgres},
    prometheus::{self, Prometheus},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::narrator::Narrator;

/// Requests a second: enough for a gate to see 5 % of it, little enough for any machine.
const RATE: u32 = 200;
/// The load ends by itself after this, whatever happens to the demo.
const LOAD_FOR: Duration = Duration::from_secs(300);
/// How long Prometheus may take to begin.
const FIRST_SCRAPE: Duration = Duration::from_secs(15);
/// Ports that the shop's instances may take, counted from the first.
const INSTANCE_PORTS: u16 = 40;

/// Where the rollouts live.
pub(super) const PROJECT: &str = "demo";
/// What is rolled out.
pub(super) const APP: &str = "shop";

/// Everything that runs.
pub(super) struct Stage {
    directory: TempDir,
    postgres: Postgres,
    pub(super) haproxy: HaProxy,
    prometheus: Prometheus,
    pub(super) alertmanager: Alertmanager,
    server: JoinHandle<Result<(), server::StartError>>,
    stop_server: CancellationToken,
    pub(super) client: Client,
    pub(super) token: SecretString,
    load: Mutex<Option<Load>>,
    first_port: u16,
}

impl Stage {
    /// Starts every part.
    pub(super) async fn set(narrator: &Narrator) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sluice-demo-").tempdir()?;
        // The database's own user must be able to pass through.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
        let at = |name: &str| directory.path().join(name);
        narrator.starting("Postgres");
        let postgres = Postgres::start(&at("postgres"), postgres::Options::default()).await?;
        let url = postgres.create_database("delivery").await?;
        store::Store::migrate(&url).await?;
        let database = SecretString::from(url);
        narrator.starting("HAProxy, round robin over three servers");
        let first_port = ports::free_port()?;
        let servers = (0..3).map(|n| haproxy::Server {
            name: format!("r1-{}", n + 1),
            address: SocketAddr::from(([127, 0, 0, 1], first_port.saturating_add(n))),
            weight: 100,
        });
        let config = haproxy::Config {
            servers: servers.collect(),
            ..haproxy::Config::default()
        };
        let haproxy = HaProxy::start(&at("haproxy"), config).await?;
        narrator.starting("Sluice");
        let token = server::prepare_admin_token(&database)
            .await?
            .context("no admin token")?;
        let stop_server = CancellationToken::new();
        let (server, address) = start_server(&database, at("sluice"), &stop_server).await?;
        let client = Client::new(&format!("http://{address}"), Some(token.clone()))?;
        narrator.starting("Prometheus, scraping once a second, and Alertmanager");
        let hook = hook_token(&client).await?;
        let options = alertmanager::Options {
            port: None,
            hook_port: address.port(),
            hook_token: hook,
        };
        let alertmanager = Alertmanager::start(&at("alertmanager"), options).await?;
        let options = prometheus::Options {
            port: None,
            scrape_interval: Duration::from_secs(1),
            haproxy_port: haproxy.exporter_port(),
            alertmanager_port: Some(alertmanager.port()),
            targets: Vec::new(),
        };
        let prometheus = Prometheus::start(&at("prometheus"), options).await?;
        first_scrape(&prometheus).await?;
        Ok(Self {
            postgres,
            haproxy,
            prometheus,
            alertmanager,
            server,
            stop_server,
            client,
            token,
            load: Mutex::new(None),
            first_port,
            directory,
        })
    }

    /// The app file, with this strategy.
    pub(super) fn app_file(&self, strategy: &Value) -> Value {
        let of_candidate = "proxy=\"shop\",server=~\"{{candidate.revision}}-.*\"";
        let counter = "haproxy_server_http_responses_total";
        let query = format!(
            "sum(rate({counter}{{{of_candidate},code=\"5xx\"}}[5s])) / sum(rate({counter}{{{of_candidate}}}[5s]))"
        );
        json!({
            "app": APP,
            "project": PROJECT,
            "workload": { "process": {
                "replicas": 3,
                "command": ["{{artifact}}"],
                "ports": {
                    "from": self.first_port,
                    "to": self.first_port.saturating_add(INSTANCE_PORTS),
                },
                "ready": { "path": "/ready" },
                "drain": "500ms",
            }},
            "traffic": { "haproxy": {
                "socket": self.haproxy.socket(),
                "backend": "shop",
                "configFile": self.haproxy.config_path(),
            }},
            "metrics": { "prometheus": { "url": self.prometheus.url() } },
            "strategy": strategy,
            "gates": [{
                "name": "errors",
                "threshold": { "query": query, "below": 0.05, "unit": "of requests", "passAfter": 3 },
                "interval": "1s",
            }],
            "alerts": [{ "match": { "app": APP, "severity": "critical" }, "do": "rollback" }],
            "drain": "1s",
        })
    }

    /// Writes a release of the shop, a file that can be run, and gives its path.
    pub(super) fn release(&self, version: &str, flags: &str) -> anyhow::Result<PathBuf> {
        let directory = self.directory.path().join("releases");
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("shop-{version}"));
        let sluice = std::env::current_exe()?;
        let sluice = sluice.display();
        let script = format!(
            "#!/bin/sh\nexec '{sluice}' demo-shop --version {version} --grace 300ms {flags}\n"
        );
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Lets users come.
    pub(super) fn open_the_doors(&self) -> anyhow::Result<()> {
        let options = load::Options {
            rate_per_second: RATE,
            max_requests: u64::from(RATE) * LOAD_FOR.as_secs(),
            max_duration: LOAD_FOR,
            ..load::Options::default()
        };
        let load = Load::start(&format!("{}/checkout", self.haproxy.url()), options)?;
        if let Ok(mut place) = self.load.lock() {
            *place = Some(load);
        }
        Ok(())
    }

    /// What users have got so far.
    pub(super) fn served(&self) -> load::Snapshot {
        let load = self.load.lock();
        load.ok()
            .and_then(|it| it.as_ref().map(Load::snapshot))
            .unwrap_or_default()
    }

    /// No more users; what they got.
    pub(super) async fn close_the_doors(&self) -> Option<load::Log> {
        let load = self.load.lock().ok().and_then(|mut it| it.take());
        match load {
            Some(load) => Some(load.stop().await),
            None => None,
        }
    }

    /// The server's address.
    pub(super) fn address(&self) -> &str {
        self.client.base()
    }

    /// Where everything is kept.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Stops every part and removes every file.
    pub(super) async fn strike(mut self) -> anyhow::Result<()> {
        self.close_the_doors().await;
        self.stop_server.cancel();
        let ended = (&mut self.server).await;
        let stopped = server::stop_instances(&self.directory.path().join("sluice")).await;
        self.prometheus.stop().await?;
        self.alertmanager.stop().await?;
        self.haproxy.stop().await?;
        self.postgres.stop().await?;
        self.directory
            .close()
            .context("remove the demo's directory")?;
        ended.context("the server's task")??;
        stopped.context("stop the shop's instances")
    }
}

async fn start_server(
    database: &SecretString,
    data_dir: PathBuf,
    stop: &CancellationToken,
) -> anyhow::Result<(JoinHandle<Result<(), server::StartError>>, SocketAddr)> {
    let config = server::Config {
        database_url: database.clone(),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir,
        stop_within: Duration::from_secs(5),
        people: server::People::default(),
    };
    let (tell, told) = oneshot::channel();
    let running = server::run(config, stop.clone(), move |address| {
        tell.send(address).ok();
    });
    let mut running = tokio::spawn(running);
    tokio::select! {
        address = told => Ok((running, address.context("the server ended before it was ready")?)),
        ended = &mut running => {
            ended??;
            anyhow::bail!("the server ended before it was ready")
        }
    }
}

/// Prometheus looks for what to scrape for the first time seconds after its start; a gate that is
/// asked before has no data.
async fn first_scrape(prometheus: &Prometheus) -> anyhow::Result<()> {
    local::wait::until(FIRST_SCRAPE, "Prometheus to scrape HAProxy", || async {
        match prometheus.number("up{job=\"haproxy\"}").await {
            Ok(Some(1.0)) => Ok(()),
            Ok(other) => Err(format!("up is {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .map_err(Into::into)
}

/// A token that may only do what a pipeline may, for Alertmanager.
async fn hook_token(client: &Client) -> anyhow::Result<String> {
    let token = CreateToken {
        name: "alertmanager".to_owned(),
        role: RoleWord::Deployer,
        project: Some(PROJECT.to_owned()),
        person: false,
        groups: Vec::new(),
        expires_in: Some("1h".to_owned()),
    };
    Ok(client.create_token(&token).await?.secret)
}

impl Stage {
    /// The admin token's text, for `--keep`.
    pub(super) fn token_text(&self) -> &str {
        self.token.expose_secret()
    }
}
