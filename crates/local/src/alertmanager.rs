//! Alertmanager, run from `deploy/alertmanager/alertmanager.yml`: one route to
//! Sluice's hook.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::part::{Part, Spec};
use crate::render::replace_once;
use crate::{http, ports, programs};

/// The example this is rendered from.
pub const EXAMPLE: &str = include_str!("../../../deploy/alertmanager/alertmanager.yml");

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to accept an alert.
const POST_WITHIN: Duration = Duration::from_secs(5);
/// How long an alert fires when nobody repeats or resolves it.
const FIRES_FOR: SignedDuration = SignedDuration::from_mins(10);

/// What differs from the example.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its port; a free one if `None`.
    pub port: Option<u16>,
    /// The port on 127.0.0.1 where Sluice's hook is.
    pub hook_port: u16,
    /// The token for the hook; may be set later by [`Alertmanager::set_token`].
    pub hook_token: String,
}

/// A running Alertmanager. Dropping it kills it.
#[derive(Debug)]
pub struct Alertmanager {
    part: Part,
    token_path: PathBuf,
    port: u16,
    client: reqwest::Client,
}

impl Alertmanager {
    /// Writes its configuration into `dir` and runs it. Returns when it is ready.
    ///
    /// # Errors
    /// When Alertmanager is not installed, refuses its configuration or cannot bind.
    pub async fn start(dir: &Path, options: Options) -> anyhow::Result<Self> {
        let program = programs::find("prometheus-alertmanager")?;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("make directory {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find directory {}", dir.display()))?;
        let port = options
            .port
            .map_or_else(ports::free_port, Ok)
            .context("find a free port for Alertmanager")?;
        let (config, token_path) = (dir.join("alertmanager.yml"), dir.join("sluice-token"));
        write_secret(&token_path, &options.hook_token)?;
        let text = replace_once(
            EXAMPLE,
            "127.0.0.1:8080",
            &format!("127.0.0.1:{}", options.hook_port),
        )?;
        let text = replace_once(
            &text,
            "/etc/alertmanager/sluice-token",
            &token_path.display().to_string(),
        )?;
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        let spec = Spec::new("Alertmanager", program, dir.join("alertmanager.log")).arguments([
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", dir.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // No cluster: it would listen on every address.
            "--cluster.listen-address=".to_owned(),
            "--log.level=warn".to_owned(),
        ]);
        let part = Part::start(spec).await?;
        let mut alertmanager = Self {
            part,
            token_path,
            port,
            client: http::client(POST_WITHIN, 1)?,
        };
        alertmanager.wait_ready().await?;
        Ok(alertmanager)
    }

    /// Its base URL.
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

    /// Its log file.
    pub fn log_path(&self) -> &Path {
        self.part.log_path()
    }

    /// Replaces the token for the hook; the next notification carries it.
    ///
    /// # Errors
    /// When the token's file cannot be written.
    pub fn set_token(&self, token: &str) -> anyhow::Result<()> {
        write_secret(&self.token_path, token)
    }

    /// Makes an alert fire, as Prometheus would: from now until it is resolved,
    /// for ten minutes at most.
    ///
    /// # Errors
    /// When Alertmanager does not take it.
    pub async fn fire(
        &self,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let ends = now
            .checked_add(FIRES_FOR)
            .context("reckon the end of the alert")?;
        let alert = json!([{ "labels": labels, "annotations": annotations, "startsAt": now, "endsAt": ends }]);
        http::post(
            &self.client,
            &format!("{}/api/v2/alerts", self.url()),
            &alert,
        )
        .await
    }

    /// Resolves the alert with these labels.
    ///
    /// # Errors
    /// When Alertmanager does not take it.
    pub async fn resolve(&self, labels: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let alert = json!([{ "labels": labels, "endsAt": Timestamp::now() }]);
        http::post(
            &self.client,
            &format!("{}/api/v2/alerts", self.url()),
            &alert,
        )
        .await
    }

    /// Waits until it takes alerts.
    ///
    /// # Errors
    /// When it ended, with the end of its log, or is not ready in time.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/-/ready", self.url());
        crate::prometheus::ready(&mut self.part, &self.client, &url, READY_WITHIN).await
    }

    /// Stops it.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.part.stop(STOP_WITHIN).await?;
        Ok(())
    }

    /// Stops it and starts it again; also starts it after a stop.
    ///
    /// # Errors
    /// As [`Alertmanager::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.part.start_again().await?;
        self.wait_ready().await
    }
}

/// Writes a file that only we can read, by rename: it is read at any moment.
fn write_secret(path: &Path, secret: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let context = || format!("write {}", path.display());
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(context)?;
    file.write_all(secret.as_bytes()).with_context(context)?;
    std::fs::rename(&fresh, path).with_context(context)
}
