//! `sluice release`: an app's objects are given back to whoever owns them.

use api::ReleaseRequest;
use clap::Args;

use super::Session;
use crate::{exit::Exit, target::AppName};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
What Sluice left at the app's workload and router is taken away, so that both are as they were, and
the app is removed from Sluice. Nothing stops running, no traffic moves. An app with an active
rollout is refused.

Examples:
  sluice release checkout --dry-run
  sluice release shop/checkout")]
pub(crate) struct ReleaseArgs {
    /// The app: [project/]name
    #[arg(value_name = "APP")]
    pub(crate) app: AppName,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Gives the app back.
pub(crate) async fn run(session: &Session, args: &ReleaseArgs) -> anyhow::Result<Exit> {
    let AppName { project, app } = &args.app;
    let ask = ReleaseRequest {
        dry_run: args.dry_run,
    };
    let released = session.client.release(project, app, &ask).await?;
    session.output.show(&released, |it| {
        let first = match (it.dry_run, it.done.is_empty()) {
            (true, true) => format!(
                "{}: nothing of Sluice is left there; it would be removed here",
                args.app
            ),
            (true, false) => format!("{} would be removed, after this:", args.app),
            (false, _) => format!(
                "{} is released: it runs on as it did before Sluice",
                args.app
            ),
        };
        let lines = it.done.iter().map(|it| format!("  {it}"));
        std::iter::once(first)
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    Ok(Exit::Succeeded)
}
