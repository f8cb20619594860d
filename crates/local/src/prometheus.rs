//! Prometheus, run from `deploy/prometheus`.
//!
//! ```text
//!   dir/prometheus.yml   scrapes HAProxy, and whatever the target files list
//!   dir/rules.yml        the example's rules
//!   dir/targets/*.json   instances to scrape; replaced while it runs
//!   dir/data             its database
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::part::{Part, Spec};
use crate::render::replace_once;
use crate::{http, ports, programs, wait};

/// The example configuration this is rendered from.
pub const EXAMPLE: &str = include_str!("../../../deploy/prometheus/prometheus.yml");
/// The example's rules, used as they are.
pub const RULES: &str = include_str!("../../../deploy/prometheus/rules.yml");

/// How long it may take to be ready; it replays its log after a restart.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long a stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long a query may take before it is an error.
const QUERY_WITHIN: Duration = Duration::from_secs(10);

/// What differs from the example.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its port; a free one if `None`.
    pub port: Option<u16>,
    /// Time between scrapes and between evaluations of rules, at least 1 ms.
    pub scrape_interval: Duration,
    /// The port of HAProxy's metrics.
    pub haproxy_port: u16,
    /// Where Alertmanager listens; without it alerts go nowhere.
    pub alertmanager_port: Option<u16>,
    /// Instances to scrape from the start.
    pub targets: Vec<Targets>,
}

/// Instances to scrape, with labels for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// `host:port` of each.
    pub targets: Vec<String>,
    /// Labels added to every series of theirs.
    pub labels: BTreeMap<String, String>,
}

/// A running Prometheus. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus {
    part: Part,
    dir: PathBuf,
    port: u16,
    client: reqwest::Client,
}

impl Prometheus {
    /// Writes its files into `dir` and runs it. Returns when it is ready.
    ///
    /// # Errors
    /// When Prometheus is not installed, refuses its files or cannot bind.
    pub async fn start(dir: &Path, options: Options) -> anyhow::Result<Self> {
        let program = programs::find("prometheus")?;
        std::fs::create_dir_all(dir.join("targets"))
            .with_context(|| format!("make directory {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find directory {}", dir.display()))?;
        let port = options
            .port
            .map_or_else(ports::free_port, Ok)
            .context("find a free port for Prometheus")?;
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, rendered(&options)?)
            .with_context(|| format!("write {}", config.display()))?;
        std::fs::write(dir.join("rules.yml"), RULES).context("write Prometheus' rules")?;
        set_targets(&dir, "targets", &options.targets)?;
        let spec = Spec::new("Prometheus", program, dir.join("prometheus.log")).arguments([
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            "--storage.tsdb.retention.time=6h".to_owned(),
            "--storage.tsdb.retention.size=512MB".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".to_owned(),
            // It repeats a firing alert once a minute otherwise, so that a first
            // notification can be a minute late.
            "--rules.alert.resend-delay=1s".to_owned(),
            "--log.level=warn".to_owned(),
        ]);
        let part = Part::start(spec).await?;
        let mut prometheus = Self {
            part,
            dir,
            port,
            client: http::client(QUERY_WITHIN, 4)?,
        };
        prometheus.wait_ready().await?;
        Ok(prometheus)
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

    /// Replaces one target file, `targets/<file>.json`, while it runs or not. The
    /// change is seen at once, or within 5 s where file events are not to be had.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_targets(&self, file: &str, targets: &[Targets]) -> anyhow::Result<()> {
        set_targets(&self.dir, file, targets)
    }

    /// The directory of the target files, for others to write into by rename.
    pub fn targets_directory(&self) -> PathBuf {
        self.dir.join("targets")
    }

    /// Asks an instant query and returns the `data` of the answer:
    /// `{"resultType": …, "result": …}`. Values are strings, as Prometheus gives them.
    ///
    /// # Errors
    /// When it does not answer, or answers with an error, which is included.
    pub async fn query(&self, promql: &str) -> anyhow::Result<serde_json::Value> {
        let context = || format!("query Prometheus: {promql}");
        let request = self
            .client
            .get(format!("{}/api/v1/query", self.url()))
            .query(&[("query", promql)]);
        let answer = request.send().await.with_context(context)?;
        let mut body: serde_json::Value = answer.json().await.with_context(context)?;
        let status = body.get("status").and_then(serde_json::Value::as_str);
        ensure!(status == Some("success"), "{}: {body}", context());
        Ok(body
            .get_mut("data")
            .map(serde_json::Value::take)
            .unwrap_or_default())
    }

    /// The one number that a query gives: a scalar, or a vector of one series.
    /// `None` if the vector is empty.
    ///
    /// # Errors
    /// As [`Prometheus::query`], and when there is more than one series.
    pub async fn number(&self, promql: &str) -> anyhow::Result<Option<f64>> {
        let data = self.query(promql).await?;
        let result = data.get("result").cloned().unwrap_or_default();
        let value = if data.get("resultType").and_then(serde_json::Value::as_str) == Some("scalar")
        {
            result.get(1).cloned()
        } else {
            let series = result.as_array().map_or(0, Vec::len);
            ensure!(
                series <= 1,
                "query Prometheus: {promql}: {series} series, where one was expected"
            );
            result.pointer("/0/value/1").cloned()
        };
        let Some(value) = value else { return Ok(None) };
        let text = value
            .as_str()
            .with_context(|| format!("query Prometheus: {promql}: no number: {value}"))?;
        text.parse()
            .map(Some)
            .with_context(|| format!("query Prometheus: {promql}: no number: {text}"))
    }

    /// Waits until it answers queries.
    ///
    /// # Errors
    /// When it ended, with the end of its log, or is not ready in time.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/-/ready", self.url());
        ready(&mut self.part, &self.client, &url, READY_WITHIN).await
    }

    /// Stops it; its data stays.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.part.stop(STOP_WITHIN).await?;
        Ok(())
    }

    /// Stops it and starts it again with its data; also starts it after a stop.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.part.start_again().await?;
        self.wait_ready().await
    }
}

/// Waits until `url` answers with a success, or the part has ended.
pub(crate) async fn ready(
    part: &mut Part,
    client: &reqwest::Client,
    url: &str,
    within: Duration,
) -> anyhow::Result<()> {
    let what = format!("{} to be ready", part.name());
    let outcome = wait::until(within, &what, || {
        let ended = part.check().err();
        async move {
            match ended {
                Some(ended) => Ok(Err(ended)),
                None => http::answers(client, url).await.map(Ok),
            }
        }
    });
    Ok(outcome.await??)
}

fn set_targets(dir: &Path, file: &str, targets: &[Targets]) -> anyhow::Result<()> {
    let (fresh, place) = (
        dir.join(format!("targets/.{file}.new")),
        dir.join(format!("targets/{file}.json")),
    );
    let text = serde_json::to_vec_pretty(targets).context("print targets")?;
    // By rename: Prometheus may read at any moment.
    std::fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
    std::fs::rename(&fresh, &place).with_context(|| format!("write {}", place.display()))
}

/// The example with these values put in.
fn rendered(options: &Options) -> anyhow::Result<String> {
    let interval = format!("{}ms", options.scrape_interval.as_millis().max(1));
    let mut text = EXAMPLE.to_owned();
    for name in ["scrape_interval", "scrape_timeout", "evaluation_interval"] {
        text = replace_once(
            &text,
            &format!("  {name}: 1s\n"),
            &format!("  {name}: {interval}\n"),
        )?;
    }
    text = replace_once(
        &text,
        "\"127.0.0.1:8405\"",
        &format!("\"127.0.0.1:{}\"", options.haproxy_port),
    )?;
    let alertmanager = options
        .alertmanager_port
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .unwrap_or_default();
    replace_once(&text, "\"127.0.0.1:9093\"", &alertmanager)
}
