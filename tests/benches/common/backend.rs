//! What every benchmark measures on: durable Postgres, and servers of the binary that is measured.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::{Client, Deploy};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use local::part::{Part, Spec};
use local::postgres::{Options, Postgres};
use local::{ports, wait};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// The project of every app.
pub(crate) const PROJECT: &str = "default";
/// How long any state may take to come about; a broken part must not hang the whole.
pub(crate) const WITHIN: Duration = Duration::from_secs(90);
/// The first database of a managed Postgres.
const DATABASE: &str = "sluice";
/// Requests at a time while a part is prepared.
pub(crate) const AT_A_TIME: usize = 4;

/// Alertmanager's first pause before it posts again what was refused; each is half as long again.
const REPEATED_AFTER: Duration = Duration::from_millis(500);

/// The binary to measure.
///
/// # Errors
/// When none has been built.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        // Instances are started elsewhere, by the full path.
        return PathBuf::from(&path)
            .canonicalize()
            .with_context(|| format!("find {}", path.display()));
    }
    let own = std::env::current_exe().context("find this benchmark")?;
    // target/release/deps/NAME-0123456789abcdef
    let target = own.ancestors().nth(3).context("find the build directory")?;
    let release = target.join("release/sluice");
    if release.is_file() {
        return Ok(release);
    }
    let debug = target.join("debug/sluice");
    ensure!(
        debug.is_file(),
        "there is no {}: cargo build --release -p cli first",
        release.display()
    );
    eprintln!("notice: there is no release build; these are figures of a debug build");
    Ok(debug)
}

/// The parts, dropped in this order.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The servers; each with a data directory of its own.
    pub(crate) servers: Vec<Server>,
    /// The typed client of the first server.
    pub(crate) client: Client,
    /// The admin token.
    pub(crate) token: String,
    postgres: Postgres,
    environment: Vec<(String, String)>,
    directory: TempDir,
}

/// A running `sluice server`.
#[derive(Debug)]
pub(crate) struct Server {
    /// The process.
    pub(crate) part: Part,
    /// Its address.
    pub(crate) url: String,
}

impl Backend {
    /// Posts an alert about an app to the hook, behind so many in the same payload that no rollout has
    /// a rule for; again while the server has too much to do, as Alertmanager does. When it was sent
    /// first.
    ///
    /// # Errors
    /// When it is not accepted in time, or nothing was done about it.
    pub(crate) async fn alert(
        &self,
        http: &reqwest::Client,
        app: &str,
        noise_before: usize,
    ) -> anyhow::Result<Instant> {
        let url = format!("{}/api/v1/hooks/alertmanager", self.client.base());
        let alert = |labels: Value, fingerprint: &str| {
            json!({
                "status": "firing", "labels": labels, "startsAt": Timestamp::now(),
                "fingerprint": fingerprint,
                "annotations": { "summary": "more requests fail than the objective allows" },
            })
        };
        let noise = |number: usize| {
            let labels = json!({
                "alertname": "NodeUnreachable", "cluster": "eu-central-1", "severity": "critical",
                "instance": format!("node-{number}.example:9100"), "job": "node",
            });
            alert(labels, &format!("{number:016x}"))
        };
        let mut alerts: Vec<Value> = (0..noise_before).map(noise).collect();
        let about = json!({ "alertname": "Errors", "app": app, "severity": "critical" });
        alerts.push(alert(about, app));
        let body = json!({ "version": "4", "receiver": "bench", "alerts": alerts }).to_string();
        let (began, mut pause) = (Instant::now(), REPEATED_AFTER);
        loop {
            let asked = http.post(&url).bearer_auth(&self.token);
            let asked = asked
                .header("content-type", "application/json")
                .body(body.clone());
            let answer = asked.send().await.context("post the alert")?;
            let (status, text) = (answer.status(), answer.text().await?);
            if status.is_success() {
                // One that was refused before may have been acted on all the same.
                let acted = !text.contains("\"acted\":[]") || pause > REPEATED_AFTER;
                ensure!(acted, "the alert did nothing: {text}");
                return Ok(began);
            }
            let again = status.is_server_error() && began.elapsed() < WITHIN;
            ensure!(again, "the alert was not accepted: {status} {text}");
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.5);
        }
    }

    /// Starts a server with these variables beside the usual ones.
    pub(crate) async fn start(environment: Vec<(String, String)>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("sluice-bench-").tempdir()?;
        // Postgres' own user must be able to pass through.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o711))?;
        let options = Options {
            durable: true,
            port: None,
        };
        let postgres = Postgres::start(&directory.path().join("pg"), options).await?;
        command(&postgres, &["migrate"]).await?;
        let said = command(&postgres, &["token", "bootstrap"]).await?;
        let token = said
            .split(|it: char| it.is_whitespace() || it == '"')
            .find(|it| it.starts_with("sluice_"))
            .context("no token on the standard output")?
            .to_owned();
        let server = server(&directory, &postgres, &environment, 0).await?;
        Ok(Self {
            client: Client::new(&server.url, Some(token.clone().into()))?,
            servers: vec![server],
            token,
            postgres,
            environment,
            directory,
        })
    }

    /// Starts one more server on the same database, with a data directory of its own.
    pub(crate) async fn add_server(&mut self) -> anyhow::Result<()> {
        let number = self.servers.len();
        let server = server(&self.directory, &self.postgres, &self.environment, number).await?;
        self.servers.push(server);
        Ok(())
    }

    /// The directory of its files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Applies an app for each name.
    pub(crate) async fn apply(
        &self,
        apps: &[String],
        document: impl Fn(&str) -> Value,
    ) -> anyhow::Result<()> {
        let documents: Vec<(&String, Value)> = apps.iter().map(|it| (it, document(it))).collect();
        futures::stream::iter(&documents)
            .map(|(app, document)| {
                retrying(async || self.client.put_app(PROJECT, app, document, None).await)
            })
            .buffer_unordered(AT_A_TIME)
            .try_for_each(async |_| Ok(()))
            .await
            .context("apply the apps")
    }

    /// Asks for a rollout of `artifact` of each app.
    pub(crate) async fn deploy(
        &self,
        apps: &[String],
        artifact: &str,
        at_a_time: usize,
    ) -> anyhow::Result<()> {
        let deploy = Deploy {
            artifact: Some(artifact.to_owned()),
            ..Deploy::default()
        };
        futures::stream::iter(apps)
            .map(|app| {
                let key = Uuid::now_v7().to_string();
                let (deploy, client) = (&deploy, &self.client);
                retrying(async move || client.deploy(PROJECT, app, deploy, &key).await)
            })
            .buffer_unordered(at_a_time)
            .try_for_each(async |_| Ok(()))
            .await
            .with_context(|| format!("deploy {artifact}"))
    }

    /// Runs SQL in the database; one line a row, columns parted by `|`.
    pub(crate) async fn sql(&self, sql: &str) -> anyhow::Result<String> {
        Ok(self
            .postgres
            .execute(DATABASE, sql)
            .await?
            .trim()
            .to_owned())
    }

    /// Postgres' log, as it is now.
    pub(crate) fn postgres_log(&self) -> anyhow::Result<String> {
        let log = std::fs::read(self.postgres.log_path()).context("read Postgres' log")?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Waits until `count` rollouts are in `phase`.
    pub(crate) async fn until(&self, phase: &str, count: usize) -> anyhow::Result<()> {
        let condition = format!("phase = '{phase}'");
        self.until_that(&condition, phase, count).await
    }

    /// Waits until `count` rollouts wait for somebody to promote them.
    pub(crate) async fn until_held(&self, count: usize) -> anyhow::Result<()> {
        let condition = "waiting::text LIKE '%promotion%'";
        self.until_that(condition, "held", count).await
    }

    pub(crate) async fn until_that(
        &self,
        condition: &str,
        word: &str,
        count: usize,
    ) -> anyhow::Result<()> {
        let sql = format!("SELECT count(*) FROM rollout WHERE {condition}");
        let what = format!("{count} rollouts to be {word}");
        let outcome = wait::until(WITHIN, &what, || async {
            let found = self.sql(&sql).await.map_err(|it| format!("{it:#}"))?;
            match found.parse::<usize>() {
                Ok(found) if found >= count => Ok(()),
                _ => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Err(found)
                }
            }
        });
        if let Err(late) = outcome.await {
            let sql = "SELECT phase, waiting, count(*) FROM rollout GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 9";
            let found = self.sql(sql).await.unwrap_or_default();
            return Err(anyhow::Error::from(late).context(found));
        }
        Ok(())
    }

    /// The text of the first server's `/metrics`.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let url = format!("{}/metrics", self.client.base());
        let asked = reqwest::Client::new().get(url).bearer_auth(&self.token);
        let answer = asked.send().await.context("read the metrics")?;
        ensure!(answer.status().is_success(), "metrics: {}", answer.status());
        Ok(answer.text().await?)
    }
}

/// `count` names, e.g. `a007`.
pub(crate) fn names(letter: char, count: usize) -> Vec<String> {
    (0..count).map(|it| format!("{letter}{it:03}")).collect()
}

/// Tries again while the server says that this token asks too often, or that its database is busy:
/// what is prepared is not what is measured.
async fn retrying<T>(
    mut call: impl AsyncFnMut() -> Result<T, api::ClientError>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error)
                if began.elapsed() < WITHIN
                    && error
                        .problem()
                        .is_some_and(|it| matches!(it.status, 429 | 503)) =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => {
                let problem = format!("{:?}", error.problem());
                return Err(anyhow::Error::from(error).context(problem));
            }
        }
    }
}

async fn command(postgres: &Postgres, arguments: &[&str]) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(binary()?)
        .args(arguments)
        .env("DATABASE_URL", postgres.url())
        .output()
        .await
        .context("run sluice")?;
    ensure!(
        output.status.success(),
        "sluice {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn server(
    directory: &TempDir,
    postgres: &Postgres,
    environment: &[(String, String)],
    number: usize,
) -> anyhow::Result<Server> {
    let port = ports::free_port()?;
    let place = directory.path();
    let log = place.join(format!("server-{number}.log"));
    let mut spec = Spec::new("sluice server", binary()?, log)
        .arguments(["server"])
        .environment("DATABASE_URL", postgres.url())
        .environment("PORT", port.to_string())
        .environment("SLUICE_DATA", place.join(format!("data-{number}")))
        .environment("SLUICE_BIND", "127.0.0.1")
        .environment("LOG_LEVEL", "info");
    for (name, value) in environment {
        spec = spec.environment(name, value);
    }
    let mut part = Part::start(spec).await?;
    let url = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::new();
    wait::until(WITHIN, "the server to be ready", || {
        let asked = client.get(format!("{url}/ready")).send();
        let ended = part.check().err();
        async move {
            if let Some(ended) = ended {
                return Ok(Err(ended));
            }
            match asked.await {
                Ok(answer) if answer.status().is_success() => Ok(Ok(())),
                Ok(answer) => Err(answer.status().to_string()),
                Err(error) => Err(error.to_string()),
            }
        }
    })
    .await??;
    Ok(Server { part, url })
}
