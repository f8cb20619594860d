//! `sluice up`: a server on this machine and, where none is named, its own Postgres.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use clap::Args;
use local::postgres::{Options, Postgres};
use secrecy::{ExposeSecret as _, SecretString};

use super::serve::{self, RunArgs};
use crate::{data_dir::DataDir, exit::Exit, output, telemetry};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Listens on 127.0.0.1 only. Unless DATABASE_URL is set, a Postgres of its own is started from the
installed programs, and stopped at the end; its data stays in DIR/postgres. On the first start an
admin token is made: it is printed once and kept in DIR/admin-token, where the other verbs find it.
Ctrl-C stops it; instances that it runs stay up and are taken over at the next start.

Examples:
  sluice up
  sluice up --port 8081 --data ./sluice-data")]
pub(crate) struct UpArgs {
    /// The rest.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Runs it until it is told to stop.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<Exit> {
    args.run.people()?;
    telemetry::start(&args.run.log_level, args.run.log_format)?;
    let data = DataDir::find(args.run.data.as_deref())?;
    data.make()?;
    match serve::database_url_if_set()? {
        Some(url) => serve(url, &args, &data).await?,
        None => {
            let mut postgres = start_postgres(&data).await?;
            let served = serve(postgres.url().into(), &args, &data).await;
            // Also after a failure; the failure is what is reported then.
            let stopped = postgres.stop().await.context("stop the managed Postgres");
            served.and(stopped)?;
        }
    }
    Ok(Exit::Succeeded)
}

/// Ctrl-C while it starts ends it at once: it is dropped, which stops what was started.
async fn start_postgres(data: &DataDir) -> anyhow::Result<Postgres> {
    tracing::info!(directory = %data.postgres().display(), "starting a managed Postgres");
    let options = Options {
        durable: true,
        port: None,
    };
    Postgres::start(&data.postgres(), options)
        .await
        .context("start a managed Postgres")
}

async fn serve(url: SecretString, args: &UpArgs, data: &DataDir) -> anyhow::Result<()> {
    let applied = serve::migrate_database(&url).await?;
    tracing::info!(applied = applied.len(), "the database is up to date");
    let token = admin_token(&url, data).await?;
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, args.run.port));
    let welcome = |address| output::message(&welcome(address, token.as_ref(), data));
    serve::run(url, bind, (data, args.run.people()?), welcome).await
}

/// Makes and keeps the admin token, when there is none yet.
async fn admin_token(url: &SecretString, data: &DataDir) -> anyhow::Result<Option<SecretString>> {
    let place = data.token_place()?;
    match serve::first_admin_token(url).await? {
        Some(token) => {
            place.keep(&token)?;
            Ok(Some(token))
        }
        None => {
            place.give_up()?;
            Ok(None)
        }
    }
}

fn welcome(address: SocketAddr, token: Option<&SecretString>, data: &DataDir) -> String {
    let file = data.admin_token();
    let token = match token {
        Some(token) => format!(
            "{}\n               shown this once, and kept in {}",
            token.expose_secret(),
            file.display()
        ),
        None if file.exists() => format!("in {}", file.display()),
        None => format!(
            "made earlier, but {} is gone; give yours in SLUICE_TOKEN",
            file.display()
        ),
    };
    // The other verbs look at port 8080 unless told otherwise.
    let server = match address.port() {
        8080 => String::new(),
        _ => format!("\n  for others   export SLUICE_SERVER=http://{address}"),
    };
    format!(
        "Sluice is up at http://{address}: its dashboard in a browser, its API for programs\n  admin token  {token}\n  data         {}{server}\n\
         Next: sluice apply -f app.yaml. Ctrl-C stops it; processes of apps go on running and are\n\
         taken over at the next start.",
        data.path().display()
    )
}
