//! `sluice undo`: back to an earlier revision, straight, without steps and gates.

use api::Deploy;
use clap::Args;

use super::{
    Session,
    deploy::{self, WaitArgs},
};
use crate::{exit::Exit, target::AppName};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Goes back to the revision that was stable before, or to the one named. This is for a revision
that turned out bad after its rollout had ended; `sluice abort` takes back one that is under way.

Examples:
  sluice undo checkout --wait
  sluice undo checkout --to r6 --comment \"r7 loses carts\"")]
pub(crate) struct UndoArgs {
    /// The app, as [project/]name
    #[arg(value_name = "APP")]
    pub(crate) app: AppName,
    /// The revision to go back to; `sluice revisions` lists them
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    pub(crate) to: Option<String>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Whether and how long to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

fn revision(text: &str) -> Result<String, String> {
    let number = text.strip_prefix('r').unwrap_or(text);
    match number.parse::<u32>() {
        Ok(number) => Ok(format!("r{number}")),
        Err(_) => Err(format!("\"{text}\" is not a revision such as r6")),
    }
}

/// Asks for the way back.
pub(crate) async fn run(session: &Session, args: UndoArgs) -> anyhow::Result<Exit> {
    let deploy = Deploy {
        undo: args.to.is_none(),
        undo_to: args.to,
        comment: args.comment,
        artifact: None,
        break_glass: None,
    };
    deploy::start(session, &args.app, &deploy, None, args.wait).await
}
