//! `sluice server` as a child process: killed, started again, and its log read back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use local::part::{Part, Signal, Spec};
use local::wait;

use crate::binary;

/// How long a start may take, with a busy machine in mind.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The documented limit of a graceful stop, and a little for the process itself.
const STOP_WITHIN: Duration = Duration::from_secs(22);

/// A server process; dropping it kills it. The instances that it started live on.
#[derive(Debug)]
pub struct Server {
    part: Part,
    port: u16,
    directory: PathBuf,
    database_url: String,
    environment: Vec<(String, String)>,
}

impl Server {
    /// Starts it on a free port, with its files and its log below `directory`, and waits until it
    /// is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time, with the end of its log.
    pub async fn start(directory: &Path, database_url: &str) -> anyhow::Result<Self> {
        Self::start_with(directory, database_url, &[]).await
    }

    /// [`Server::start`] with these variables beside the usual ones, at every start.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(
        directory: &Path,
        database_url: &str,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let port = local::ports::free_port()?;
        Self::start_at(port, directory, database_url, environment).await
    }

    /// [`Server::start_with`] on this port, for what must know it before.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_at(
        port: u16,
        directory: &Path,
        database_url: &str,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let spec = spec(directory, database_url, port)?;
        let part = Part::start(with(spec, environment)).await?;
        let mut server = Self {
            part,
            port,
            directory: directory.to_path_buf(),
            database_url: database_url.to_owned(),
            environment: environment.to_vec(),
        };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.part.pid()
    }

    /// Where it keeps its files.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(&self.directory)
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.part.kill9()?;
        Ok(())
    }

    /// Whether it has ended by itself (or was killed).
    pub fn has_ended(&mut self) -> bool {
        self.part.check().is_err()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn wait_ended(&mut self, within: Duration) -> anyhow::Result<()> {
        let part = &mut self.part;
        wait::until_now(within, "the server to end", || match part.check() {
            Err(_) => Ok(()),
            Ok(()) => Err("it runs"),
        })
        .await?;
        Ok(())
    }

    /// Asks it to stop and gives how long that took.
    ///
    /// # Errors
    /// When it does not stop by itself in the documented time, or not well.
    pub async fn stop(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let status = self.part.stop_with(Signal::TERM, STOP_WITHIN).await?;
        let status = status.context("the server was not running")?;
        ensure!(
            status.success(),
            "the server stopped with {status} after {:?}\n{}",
            began.elapsed(),
            self.log_tail(40)
        );
        Ok(began.elapsed())
    }

    /// Sends it a signal, e.g. `STOP`.
    pub fn signal(&mut self, signal: Signal) {
        self.part.signal(signal);
    }

    /// Starts it again on the same port, with these variables beside the usual ones, and waits
    /// until it is ready; kills it first if it runs.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_again(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        self.begin_again(environment).await?;
        self.wait_ready().await
    }

    /// [`Server::start_again`] without waiting: for a server that may die at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn begin_again(&mut self, environment: &[(&str, &str)]) -> anyhow::Result<()> {
        self.kill9()?;
        let spec = spec(&self.directory, &self.database_url, self.port)?;
        let spec = with(spec, &self.environment);
        self.part = Part::start(with(spec, environment)).await?;
        Ok(())
    }

    /// Waits until `/ready` answers 200.
    ///
    /// # Errors
    /// When it has ended or is not ready in time.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/ready", self.url());
        let client = crate::world::http()?;
        let part = &mut self.part;
        let ready = wait::until(READY_WITHIN, "the server to be ready", || {
            let ended = part.check().err();
            let sent = client.get(&url).send();
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(ended));
                }
                match sent.await {
                    Ok(answer) if answer.status().is_success() => Ok(Ok(())),
                    Ok(answer) => Err(format!("status {}", answer.status())),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        let outcome = ready.await;
        outcome.with_context(|| format!("log:\n{}", self.log_tail(40)))??;
        Ok(())
    }

    /// Its whole log, over all starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.part.log_path()).unwrap_or_default()
    }

    /// The last `lines` of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.get(from..).unwrap_or_default().join("\n")
    }

    /// Warnings and errors in its log that contain none of `allowed`.
    pub fn complaints(&self, allowed: &[&str]) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| {
            let level = line.split_whitespace().nth(1);
            matches!(level, Some("WARN" | "ERROR")) || line.contains("panicked at")
        });
        let unknown = lines.filter(|line| !allowed.iter().any(|it| line.contains(it)));
        unknown.map(str::to_owned).collect()
    }
}

fn data_dir(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn with<T: AsRef<str>>(mut spec: Spec, environment: &[(T, T)]) -> Spec {
    for (name, value) in environment {
        spec = spec.environment(name.as_ref(), value.as_ref());
    }
    spec
}

fn spec(directory: &Path, database_url: &str, port: u16) -> anyhow::Result<Spec> {
    let log = directory.join("server.log");
    let spec = Spec::new("sluice server", binary::sluice()?, log);
    Ok(spec
        .arguments(["server"])
        .environment("DATABASE_URL", database_url)
        .environment("PORT", port.to_string())
        .environment("SLUICE_DATA", data_dir(directory))
        .environment("SLUICE_BIND", "127.0.0.1")
        .environment("LOG_LEVEL", "info")
        .environment("NO_COLOR", "1"))
}
