//! Prometheus for the worlds. It looks at a new target only every five seconds, so a shared one
//! knows from its start the ports that its worlds' HAProxys will have; a world that is going to stop
//! its Prometheus gets one for itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use local::prometheus::{Options, Prometheus, Targets};
use local::{ports, wait};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Time between two scrapes.
const SCRAPE: Duration = Duration::from_millis(200);
/// Worlds on one Prometheus, one after the other.
const WORLDS_A_SERVER: usize = 30;
/// How long the first scrape may take.
const SCRAPED_WITHIN: Duration = Duration::from_secs(20);

/// A running Prometheus, the ports of its targets that no world has had yet, and its directory.
#[derive(Debug)]
struct Running {
    prometheus: Prometheus,
    free: std::sync::Mutex<Vec<u16>>,
    /// What else it scrapes.
    more: Vec<Targets>,
    _directory: TempDir,
}

impl Running {
    async fn start(worlds: usize, more: &[Targets]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("sluice-e2e-prom-")
            .tempdir()?;
        let mut free = ports::free_ports(worlds)?;
        let first = free.pop().context("no port for a target")?;
        let targets = free.iter().map(|port| format!("127.0.0.1:{port}"));
        let mut targets = vec![Targets {
            targets: targets.collect(),
            labels: BTreeMap::new(),
        }];
        targets.extend(more.iter().cloned());
        let options = Options {
            port: None,
            scrape_interval: SCRAPE,
            haproxy_port: first,
            alertmanager_port: None,
            targets,
        };
        free.push(first);
        let prometheus = Prometheus::start(directory.path(), options).await?;
        wait::until(SCRAPED_WITHIN, "Prometheus to scrape", || async {
            let targets = prometheus.number("count(up)").await;
            match targets.map_err(|error| format!("{error:#}"))? {
                Some(_) => Ok(()),
                None => Err("no target yet".to_owned()),
            }
        })
        .await?;
        Ok(Self {
            prometheus,
            free: std::sync::Mutex::new(free),
            more: more.to_vec(),
            _directory: directory,
        })
    }

    fn take_port(&self) -> Option<u16> {
        self.free.lock().ok()?.pop()
    }
}

#[derive(Debug)]
enum Server {
    Shared(Arc<Running>),
    Own(Box<Running>),
}

/// A world's view of its Prometheus.
#[derive(Debug)]
pub struct Metrics {
    server: Server,
    haproxy_port: u16,
}

impl Metrics {
    /// One that other worlds use too, which scrapes `more` beside their HAProxys.
    ///
    /// # Errors
    /// When Prometheus does not start.
    pub async fn shared(more: &[Targets]) -> anyhow::Result<Self> {
        static SERVERS: Mutex<Vec<Weak<Running>>> = Mutex::const_new(Vec::new());
        let mut servers = SERVERS.lock().await;
        servers.retain(|it| it.strong_count() > 0);
        let fitting = servers.iter().filter_map(Weak::upgrade);
        for running in fitting.filter(|it| it.more == more) {
            if let Some(haproxy_port) = running.take_port() {
                let server = Server::Shared(running);
                return Ok(Self {
                    server,
                    haproxy_port,
                });
            }
        }
        let running = Arc::new(Running::start(WORLDS_A_SERVER, more).await?);
        servers.push(Arc::downgrade(&running));
        let haproxy_port = running.take_port().context("no port for a target")?;
        let server = Server::Shared(running);
        Ok(Self {
            server,
            haproxy_port,
        })
    }

    /// One for a single world, which scrapes `more` beside its HAProxy.
    ///
    /// # Errors
    /// When Prometheus does not start.
    pub async fn own(more: &[Targets]) -> anyhow::Result<Self> {
        let running = Running::start(1, more).await?;
        let haproxy_port = running.take_port().context("no port for a target")?;
        let server = Server::Own(Box::new(running));
        Ok(Self {
            server,
            haproxy_port,
        })
    }

    /// The port where it looks for the metrics of this world's HAProxy.
    pub fn haproxy_port(&self) -> u16 {
        self.haproxy_port
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        match &self.server {
            Server::Shared(running) => running.prometheus.url(),
            Server::Own(running) => running.prometheus.url(),
        }
    }

    /// Stops it.
    ///
    /// # Errors
    /// When other worlds use it, or it cannot be waited for.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match &mut self.server {
            Server::Own(running) => running.prometheus.stop().await,
            Server::Shared(_) => bail!("this Prometheus is shared with other worlds"),
        }
    }
}
