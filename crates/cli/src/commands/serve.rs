//! `sluice server` and `sluice migrate`: everything that calls the server and the store directly.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::Context as _;
use api::FieldProblem;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use server::{Config, People};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    app_file::AppDocument,
    data_dir::DataDir,
    exit::{Exit, Usage},
    output,
    telemetry::{self, LogFormat},
};

/// What `server` and `up` share.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Where files are kept; default: ~/.local/share/sluice, for root /var/lib/sluice
    #[arg(long, env = "SLUICE_DATA", hide_env_values = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The port to listen on
    #[arg(long, env = "PORT", hide_env_values = true, default_value_t = 8080)]
    pub(crate) port: u16,
    /// What is logged: error, warn, info, debug, trace, or e.g. info,sqlx=warn
    #[arg(long, env = "LOG_LEVEL", hide_env_values = true)]
    #[arg(default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,
    /// How the log looks
    #[arg(
        long,
        env = "LOG_FORMAT",
        hide_env_values = true,
        value_enum,
        default_value = "text",
        value_name = "FORM"
    )]
    pub(crate) log_format: LogFormat,
    /// Who may come in, and from where: see docs/people.md; without it, by API tokens only
    #[arg(
        long,
        env = "SLUICE_CONFIG",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
}

impl RunArgs {
    /// The settings in the file, or none.
    pub(crate) fn people(&self) -> anyhow::Result<People> {
        let Some(path) = &self.config else {
            return Ok(People::default());
        };
        let document = AppDocument::open(path)?;
        let read = People::read(document.value());
        read.map_err(|problems| {
            let problems = problems.into_iter().map(|it| FieldProblem {
                pointer: it.pointer,
                detail: it.detail,
            });
            let problems: Vec<FieldProblem> = problems.collect();
            document.problems(&problems).into()
        })
    }
}

/// Arguments of `server`.
#[derive(Debug, Args)]
#[command(after_help = "\
The database must be up to date (`sluice migrate`). Several servers may share one database: they
share the work. SIGTERM or Ctrl-C stops it gracefully within 20 s; rollouts go on where another
server runs, or when this one is started again.

Environment:
  DATABASE_URL   postgres://user:password@host/database; required

Examples:
  DATABASE_URL=postgres://sluice@db/sluice sluice migrate
  DATABASE_URL=postgres://sluice@db/sluice sluice server --port 8080
  DATABASE_URL=postgres://sluice@db/sluice sluice server --config people.yaml
  DATABASE_URL=postgres://sluice@db/sluice sluice token bootstrap    the first admin token")]
pub(crate) struct ServerArgs {
    /// The address to listen on; 127.0.0.1 for this machine only
    #[arg(long, env = "SLUICE_BIND", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    #[arg(hide_env_values = true, value_name = "ADDRESS")]
    pub(crate) bind: IpAddr,
    /// The rest.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Arguments of `migrate`: none, the database is named by the environment.
#[derive(Debug, Args)]
#[command(after_help = "\
Safe to run again, and by several at once: what is there already stays.

Environment:
  DATABASE_URL   postgres://user:password@host/database; required

Example:
  DATABASE_URL=postgres://sluice@db/sluice sluice migrate")]
pub(crate) struct MigrateArgs {}

/// Runs a server until it is told to stop.
pub(crate) async fn server(args: ServerArgs) -> anyhow::Result<Exit> {
    let database_url = database_url()?;
    let people = args.run.people()?;
    telemetry::start(&args.run.log_level, args.run.log_format)?;
    let data = DataDir::find(args.run.data.as_deref())?;
    data.make()?;
    let bind = SocketAddr::new(args.bind, args.run.port);
    let ready = |address| tracing::info!(%address, "ready");
    run(database_url, bind, (&data, people), ready).await?;
    Ok(Exit::Succeeded)
}

/// Brings the database up to date.
pub(crate) async fn migrate(_: &MigrateArgs) -> anyhow::Result<Exit> {
    for name in migrate_database(&database_url()?).await? {
        output::message(&format!("applied {name}"));
    }
    output::message("the database is up to date");
    Ok(Exit::Succeeded)
}

/// Runs a server on `database_url`; SIGTERM and Ctrl-C stop it gracefully.
pub(super) async fn run(
    database_url: SecretString,
    bind: SocketAddr,
    (data, people): (&DataDir, People),
    on_ready: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let config = Config {
        database_url,
        bind,
        data_dir: data.server(),
        stop_within: Config::STOP_WITHIN,
        people,
    };
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let asked = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        // The server ends by itself from here on.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = server::run(config, shutdown, on_ready) => Ok(ended?),
        () = asked => Ok(()),
    }
}

/// Brings the database at `url` up to date; gives the names of what was applied.
pub(super) async fn migrate_database(url: &SecretString) -> anyhow::Result<Vec<String>> {
    store::Store::migrate(url.expose_secret())
        .await
        .context("bring the database up to date")
}

/// The text of a new admin token when there is none yet.
pub(super) async fn first_admin_token(url: &SecretString) -> anyhow::Result<Option<SecretString>> {
    Ok(server::prepare_admin_token(url).await?)
}

/// `DATABASE_URL`, when it is set.
pub(super) fn database_url_if_set() -> anyhow::Result<Option<SecretString>> {
    let Some(url) = std::env::var("DATABASE_URL")
        .ok()
        .filter(|it| !it.is_empty())
    else {
        return Ok(None);
    };
    match url.starts_with("postgres://") || url.starts_with("postgresql://") {
        true => Ok(Some(url.into())),
        // Its text may hold a password, so it is not repeated.
        false => Err(Usage::error(
            "DATABASE_URL is not a Postgres address: postgres://user:password@host/database",
        )),
    }
}

/// `DATABASE_URL`, or what to do about it.
pub(super) fn database_url() -> anyhow::Result<SecretString> {
    database_url_if_set()?.ok_or_else(|| {
        Usage::error(
            "DATABASE_URL is not set: give the address of a Postgres, \
             postgres://user:password@host/database; or run `sluice up`, which brings its own",
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn people(config: &std::path::Path) -> anyhow::Result<People> {
        let config = config.display().to_string();
        let line = Line::try_parse_from(["sluice", "--config", &config])?;
        line.run.people()
    }

    #[test]
    fn the_example_is_read() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let people = people(&root.join("deploy/people/people.yaml")).unwrap();
        assert_eq!(people.ci.len(), 2);
        assert_eq!(people.oidc.unwrap().roles.len(), 4);
    }

    #[test]
    fn mistakes_are_shown_at_their_lines() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("people.yaml");
        let text = "publicUrl: http://sluice.example.com\npeople:\n  oidcc: {}\n";
        std::fs::write(&path, text).unwrap();
        let error = people(&path).unwrap_err();
        assert_eq!(Exit::of_error(&error), Exit::Usage);
        let words = format!("{error:#}");
        for part in [
            "2 problems in",
            ":1:12: must begin with https://",
            ":3:3: unknown key \"oidcc\", did you mean \"oidc\"?",
            "oidcc: {}",
        ] {
            assert!(words.contains(part), "{words}");
        }
        let missing = people(&place.path().join("none.yaml")).unwrap_err();
        assert_eq!(Exit::of_error(&missing), Exit::Usage);
    }
}
