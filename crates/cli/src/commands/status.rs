//! `sluice status`: where apps, or one rollout, stand.

use api::{AppView, RolloutView};
use clap::Args;
use serde::Serialize;

use super::{Session, history::all, list::apps_text};
use crate::{
    exit::Exit,
    follow,
    output::{clean, moment},
    rollout_text,
    target::{AppName, Target, newest},
};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
With -w it tells how the rollout goes until it has ended; the exit code then is that of
`sluice deploy --wait`.

Examples:
  sluice status                     all apps
  sluice status checkout            an app and its active or newest rollout
  sluice status shop/checkout -w
  sluice status checkout -o json | jq .rollout.phase")]
pub(crate) struct StatusArgs {
    /// An app, or the id of a rollout; default: all apps
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Option<Target>,
    /// Watch until the rollout has ended
    #[arg(short, long, requires = "target")]
    pub(crate) watch: bool,
}

/// An app with its active or newest rollout in full.
#[derive(Debug, Serialize)]
struct AppStatus {
    app: AppView,
    rollout: Option<RolloutView>,
}

/// Shows where things stand.
pub(crate) async fn run(session: &Session, args: &StatusArgs) -> anyhow::Result<Exit> {
    let target = match &args.target {
        Some(target) => target,
        None => return everything(session).await,
    };
    if args.watch {
        let id = target.rollout(&session.client).await?;
        let view = session.client.rollout(id).await?;
        return follow::to_the_end(session, view, follow::Until::Ended).await;
    }
    match target {
        Target::Rollout(id) => {
            let view = session.client.rollout(*id).await?;
            session.output.show(&view, rollout_text::full)?;
        }
        Target::App(name) => app(session, name).await?,
    }
    Ok(Exit::Succeeded)
}

async fn everything(session: &Session) -> anyhow::Result<Exit> {
    let items = all(async |cursor| session.client.apps(None, cursor).await).await?;
    session.output.show(&items, |it| apps_text(it))?;
    Ok(Exit::Succeeded)
}

async fn app(session: &Session, name: &AppName) -> anyhow::Result<()> {
    let client = &session.client;
    let rollout = match newest(client, name).await? {
        Some(id) => Some(client.rollout(id).await?),
        None => None,
    };
    let app = client.app(&name.project, &name.app).await?;
    let status = AppStatus { app, rollout };
    session.output.show(&status, |it| text(name, it))
}

fn text(name: &AppName, status: &AppStatus) -> String {
    let stable = match &status.app.stable {
        Some(it) => format!(
            "{} ({}), made {}",
            it.revision,
            it.artifact,
            moment(it.created_at)
        ),
        None => "nothing is installed yet".to_owned(),
    };
    let head = clean(&format!("{name}  stable: {stable}"));
    match &status.rollout {
        Some(rollout) => format!("{head}\n\n{}", rollout_text::full(rollout)),
        None => {
            format!("{head}\n\nno rollout yet; start one with `sluice deploy {name} --artifact …`")
        }
    }
}
