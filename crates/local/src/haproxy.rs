//! HAProxy, run from `deploy/haproxy/haproxy.cfg`, and its own account of the
//! traffic: the counters of its stats socket and its log of every request.
//!
//! The counters of a server are lost when that server is removed, and all are
//! lost in a restart. The request log is lost in neither, so proof of what users
//! were answered comes from [`HaProxy::requests`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::part::{Part, Spec};
use crate::render::{replace_between, replace_once};
use crate::{ports, programs, wait};

mod log;
mod stats;

pub use log::{NO_SERVER, Request, RequestLog, Tally, tally};
pub use stats::{FrontendErrors, Kind, Row, ServerTotals};

/// The example this is rendered from.
pub const EXAMPLE: &str = include_str!("../../../deploy/haproxy/haproxy.cfg");
/// The line that begins the servers Sluice manages.
const SERVERS_BEGIN: &str = "# sluice servers begin";
/// The line that ends them.
const SERVERS_END: &str = "# sluice servers end";
/// The frontend's and the backend's name in the example.
pub const PROXY: &str = "shop";

/// How long it may take to open its socket.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long a stop may take. HAProxy ends at once on SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// A limit on one answer of the stats socket: far above a thousand servers.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How long one command on the stats socket may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);

/// One server of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name, e.g. `r1-1`.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight, 0 to 256.
    pub weight: u16,
}

/// What differs from the example.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The port users come to; a free one if `None`.
    pub frontend_port: Option<u16>,
    /// The port of the metrics for Prometheus; a free one if `None`.
    pub exporter_port: Option<u16>,
    /// The servers to begin with; may be none.
    pub servers: Vec<Server>,
}

/// A running HAProxy. Dropping it kills it.
#[derive(Debug)]
pub struct HaProxy {
    part: Part,
    config: PathBuf,
    socket: PathBuf,
    frontend_port: u16,
    exporter_port: u16,
}

impl HaProxy {
    /// Writes `dir/haproxy.cfg` and runs it. Returns when the stats socket
    /// answers. The log is `dir/haproxy.log`, the socket `dir/haproxy.sock`.
    ///
    /// # Errors
    /// When HAProxy is not installed, refuses its configuration or cannot bind.
    pub async fn start(dir: &Path, config: Config) -> anyhow::Result<Self> {
        let program = programs::find("haproxy")?;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("make directory {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find directory {}", dir.display()))?;
        let (path, socket) = (dir.join("haproxy.cfg"), dir.join("haproxy.sock"));
        // HAProxy binds a temporary name a little longer; the kernel's limit is 107.
        ensure!(
            socket.as_os_str().len() <= 90,
            "start HAProxy: the path {} is too long for a Unix socket; choose a shorter directory",
            socket.display()
        );
        let port = |wanted: Option<u16>| wanted.map_or_else(ports::free_port, Ok);
        let frontend_port = port(config.frontend_port).context("find a free port for HAProxy")?;
        let exporter_port =
            port(config.exporter_port).context("find a free port for HAProxy's metrics")?;
        let text = rendered(&socket, frontend_port, exporter_port, &config.servers)?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        // -db: stay in the foreground, one process.
        let spec = Spec::new("HAProxy", program, dir.join("haproxy.log"))
            .arguments(["-db", "-f"])
            .arguments([&path]);
        let part = Part::start(spec).await?;
        let mut haproxy = Self {
            part,
            config: path,
            socket,
            frontend_port,
            exporter_port,
        };
        haproxy.answer_on_socket().await?;
        Ok(haproxy)
    }

    /// Where users go.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.frontend_port)
    }

    /// The port users come to.
    pub fn frontend_port(&self) -> u16 {
        self.frontend_port
    }

    /// The port of `/metrics`, for Prometheus.
    pub fn exporter_port(&self) -> u16 {
        self.exporter_port
    }

    /// The stats socket, level admin.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The configuration on disk, which a restart reads.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// Its output: the request log among reports of its own.
    pub fn log_path(&self) -> &Path {
        self.part.log_path()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.part.pid()
    }

    /// Stops it; connections are cut.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.part.stop(STOP_WITHIN).await?;
        Ok(())
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.part.kill9()?;
        Ok(())
    }

    /// Kills it and starts it from the configuration on disk: servers and
    /// weights set at run time are gone. Also starts it after a stop or a kill.
    ///
    /// # Errors
    /// As [`HaProxy::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.part.start_again().await?;
        self.answer_on_socket().await
    }

    /// Sends one command to the stats socket and returns the answer.
    ///
    /// # Errors
    /// When the socket cannot be reached or the answer does not end in time.
    pub async fn command(&self, command: &str) -> anyhow::Result<String> {
        tokio::time::timeout(COMMAND_WITHIN, command_on(&self.socket, command))
            .await
            .with_context(|| {
                format!("run `{command}` on HAProxy's socket: no answer within {COMMAND_WITHIN:?}")
            })?
    }

    /// HAProxy's counters since it started, one row a frontend, backend and server.
    ///
    /// # Errors
    /// When the socket cannot be reached or answers something else.
    pub async fn stats(&self) -> anyhow::Result<Vec<Row>> {
        stats::parse(&self.command("show stat").await?)
    }

    /// Requests that HAProxy answered by itself with an error, by its counters;
    /// see [`FrontendErrors`] for the sum and for when it holds.
    ///
    /// # Errors
    /// As [`HaProxy::stats`].
    pub async fn frontend_errors(&self) -> anyhow::Result<FrontendErrors> {
        FrontendErrors::of(&self.stats().await?, PROXY)
    }

    /// What each server that is there now has answered, by HAProxy's counters.
    ///
    /// # Errors
    /// As [`HaProxy::stats`].
    pub async fn server_totals(&self) -> anyhow::Result<Vec<ServerTotals>> {
        Ok(stats::server_totals(&self.stats().await?, PROXY))
    }

    /// Every request so far, over all restarts, from HAProxy's log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<Request>> {
        let mut requests = Vec::new();
        self.request_log().read(|request| requests.push(request))?;
        Ok(requests)
    }

    /// A reader of the request log from its beginning, to follow it as it grows.
    pub fn request_log(&self) -> RequestLog {
        RequestLog::new(self.log_path())
    }

    async fn answer_on_socket(&mut self) -> anyhow::Result<()> {
        let Self { part, socket, .. } = self;
        let pid = part.pid();
        let ready = wait::until(READY_WITHIN, "HAProxy to answer on its socket", || {
            let ended = part.check().err();
            let socket = &*socket;
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(ended));
                }
                // A socket file of a process that was killed may still be there;
                // and the pid tells this process from any other.
                let info = command_on(socket, "show info")
                    .await
                    .map_err(|error| format!("{error:#}"))?;
                let ours = info.lines().find_map(|line| line.strip_prefix("Pid: "));
                if ours.and_then(|text| text.trim().parse().ok()) == pid {
                    Ok(Ok(()))
                } else {
                    Err(format!("socket of process {ours:?}"))
                }
            }
        });
        Ok(ready.await??)
    }
}

/// The example with these values put in.
fn rendered(
    socket: &Path,
    frontend: u16,
    exporter: u16,
    servers: &[Server],
) -> anyhow::Result<String> {
    let text = replace_once(
        EXAMPLE,
        "/run/haproxy/sluice.sock",
        &socket.display().to_string(),
    )?;
    let text = replace_once(
        &text,
        "bind 127.0.0.1:8000",
        &format!("bind 127.0.0.1:{frontend}"),
    )?;
    let text = replace_once(
        &text,
        "bind 127.0.0.1:8405",
        &format!("bind 127.0.0.1:{exporter}"),
    )?;
    let lines: String = servers
        .iter()
        .map(|server| {
            format!(
                "    server {} {} weight {} check\n",
                server.name, server.address, server.weight
            )
        })
        .collect();
    replace_between(&text, SERVERS_BEGIN, SERVERS_END, &lines)
}

async fn command_on(socket: &Path, command: &str) -> anyhow::Result<String> {
    let context = || format!("run `{command}` on HAProxy's socket {}", socket.display());
    let mut stream = UnixStream::connect(socket).await.with_context(context)?;
    stream
        .write_all(format!("{command}\n").as_bytes())
        .await
        .with_context(context)?;
    let mut answer = String::new();
    // One command a connection: HAProxy closes it after the answer.
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut answer)
        .await
        .with_context(context)?;
    Ok(answer)
}
