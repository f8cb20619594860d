//! `sluice explain`: why a rollout is where it is, and what can be done now.

use api::Explanation;
use clap::Args;

use super::Session;
use crate::{exit::Exit, output::clean, target::Target};

/// Its arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluice explain checkout
  sluice explain 01980000-0000-7000-8000-000000000000")]
pub(crate) struct ExplainArgs {
    /// An app, or the id of a rollout
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Target,
}

/// Shows the explanation.
pub(crate) async fn run(session: &Session, args: &ExplainArgs) -> anyhow::Result<Exit> {
    let id = args.target.rollout(&session.client).await?;
    let explanation = session.client.explain(id).await?;
    session.output.show(&explanation, text)?;
    Ok(Exit::Succeeded)
}

fn text(it: &Explanation) -> String {
    let mut lines = vec![clean(&it.headline)];
    if !it.facts.is_empty() {
        lines.push("\nBecause:".to_owned());
        lines.extend(it.facts.iter().map(|fact| format!("  - {}", clean(fact))));
    }
    if !it.next.is_empty() {
        lines.push("\nYou can:".to_owned());
        lines.extend(it.next.iter().map(|next| format!("  - {}", clean(next))));
    }
    lines.join("\n")
}
