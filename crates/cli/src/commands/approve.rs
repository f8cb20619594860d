//! `sluice approve` and `sluice reject`: a person's word on the approval step a rollout waits at.

use api::{Approve, Decision};
use clap::Args;

use super::Session;
use crate::{exit::Exit, rollout_text, target::Target};

/// Their arguments.
#[derive(Debug, Args)]
#[command(after_help = "\
The decision is meant for the step that the rollout waits at now. To be sure that it is the one
you looked at, name it with --step and --attempt (as `sluice status -o json` shows them).

Examples:
  sluice approve checkout --comment \"dashboards look fine\"
  sluice reject shop/checkout --comment \"wait for the fix of the cart\"")]
pub(crate) struct DecideArgs {
    /// An app, or the id of a rollout
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Target,
    /// The step it is meant for, counted from 0
    #[arg(long)]
    pub(crate) step: Option<usize>,
    /// The attempt it is meant for, counted from 1
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

/// Gives the decision.
pub(crate) async fn run(
    session: &Session,
    decision: Decision,
    args: DecideArgs,
) -> anyhow::Result<Exit> {
    let id = args.target.rollout(&session.client).await?;
    let seen = session.client.rollout(id).await?;
    // What was seen is what is decided on: a step that comes up meanwhile is not approved unseen.
    let decision = Approve {
        decision,
        step: Some(args.step.unwrap_or(seen.step_index)),
        attempt: Some(args.attempt.unwrap_or(seen.attempt)),
        comment: args.comment,
    };
    let view = session.client.approve(id, &decision).await?;
    session.output.show(&view, rollout_text::line)?;
    Ok(Exit::Succeeded)
}
