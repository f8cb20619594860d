//! `sluice apps` and `sluice revisions`: what there is.

use api::{AppSummary, RevisionView};
use clap::Args;

use super::{Session, history::all};
use crate::{
    exit::Exit,
    output::{moment, or_dash, table},
    target::AppName,
};

/// Arguments of `apps`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluice apps
  sluice apps --project shop -o json")]
pub(crate) struct AppsArgs {
    /// Only this project's
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
}

/// Arguments of `revisions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluice revisions checkout
  sluice undo checkout --to r6      goes back to one of them")]
pub(crate) struct RevisionsArgs {
    /// The app, as [project/]name
    #[arg(value_name = "APP")]
    pub(crate) app: AppName,
}

/// Lists apps.
pub(crate) async fn apps(session: &Session, args: &AppsArgs) -> anyhow::Result<Exit> {
    let project = args.project.as_deref();
    let items = all(async |cursor| session.client.apps(project, cursor).await).await?;
    session.output.show(&items, |it| apps_text(it))?;
    Ok(Exit::Succeeded)
}

/// Lists revisions.
pub(crate) async fn revisions(session: &Session, args: &RevisionsArgs) -> anyhow::Result<Exit> {
    let page = session
        .client
        .revisions(&args.app.project, &args.app.app)
        .await?;
    session.output.show(&page.items, |it| revisions_text(it))?;
    Ok(Exit::Succeeded)
}

/// Apps with what goes on in them.
pub(super) fn apps_text(items: &[AppSummary]) -> String {
    if items.is_empty() {
        return "no apps yet; make one with `sluice apply -f app.yaml`".to_owned();
    }
    let rows = items.iter().map(|it| {
        let name = format!("{}/{}", it.project, it.app);
        let stable = or_dash(it.stable.as_deref());
        match &it.rollout {
            None => [name, stable, "-".to_owned(), String::new(), String::new()],
            Some(rollout) => {
                let what = format!("{} {}", rollout.candidate, rollout.phase);
                let waiting = rollout.waiting.clone().unwrap_or_default();
                [name, stable, what, rollout.step.clone(), waiting]
            }
        }
    });
    table(&["APP", "STABLE", "ROLLOUT", "STEP", "NOW"], rows)
}

fn revisions_text(items: &[RevisionView]) -> String {
    let rows = items.iter().map(|it| {
        let digest = it.digest.as_deref().map(|it| it.get(..19).unwrap_or(it));
        let (at, by) = (moment(it.created_at), it.created_by.clone());
        [
            it.revision.clone(),
            it.artifact.clone(),
            or_dash(digest),
            at,
            by,
        ]
    });
    table(&["REVISION", "ARTIFACT", "DIGEST", "MADE", "BY"], rows)
}
