//! `sluice promote`, `abort`, `pause`, `resume`, `retry`, `skip`: orders to a rollout.

use api::{CommandRequest, OrderWord};
use clap::Args;

use super::Session;
use crate::{exit::Exit, rollout_text, target::Target};

/// The arguments of most of them.
#[derive(Debug, Args)]
#[command(after_help = "\
The order is committed when this returns; `sluice status -w` shows what comes of it.

Examples (likewise for the other orders):
  sluice abort checkout --comment \"errors in the cart\"
  sluice pause shop/checkout
  sluice retry 01980000-0000-7000-8000-000000000000")]
pub(crate) struct OrderArgs {
    /// An app, or the id of a rollout
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Target,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

/// The arguments of `promote`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sluice promote checkout            go on from a pause
  sluice promote checkout --full     no more steps and gates: all traffic to the new revision")]
pub(crate) struct PromoteArgs {
    /// Go straight to full traffic
    #[arg(long)]
    pub(crate) full: bool,
    /// The rest.
    #[command(flatten)]
    pub(crate) order: PromoteTarget,
}

/// What `promote` shares with the other orders, without their examples.
#[derive(Debug, Args)]
pub(crate) struct PromoteTarget {
    /// An app, or the id of a rollout
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Target,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

/// The arguments of `break-glass`.
#[derive(Debug, Args)]
#[command(after_help = "\
For this rollout alone, and for as long as it lasts. The reason is kept in its history and in the
audit log, and told to its receivers.

Example:
  sluice break-glass checkout --reason \"the fix for incident 42\"")]
pub(crate) struct BreakGlassArgs {
    /// An app, or the id of a rollout
    #[arg(value_name = "APP|ROLLOUT")]
    pub(crate) target: Target,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Gives the order that takes a rollout past freeze windows.
pub(crate) async fn break_glass(session: &Session, args: BreakGlassArgs) -> anyhow::Result<Exit> {
    let order = OrderArgs {
        target: args.target,
        comment: Some(args.reason),
    };
    run(session, OrderWord::BreakGlass, order).await
}

/// Gives the order to promote.
pub(crate) async fn promote(session: &Session, args: PromoteArgs) -> anyhow::Result<Exit> {
    let PromoteTarget { target, comment } = args.order;
    let word = if args.full {
        OrderWord::PromoteFull
    } else {
        OrderWord::Promote
    };
    run(session, word, OrderArgs { target, comment }).await
}

/// Gives an order.
pub(crate) async fn run(
    session: &Session,
    order: OrderWord,
    args: OrderArgs,
) -> anyhow::Result<Exit> {
    let id = args.target.rollout(&session.client).await?;
    let command = CommandRequest {
        order,
        comment: args.comment,
    };
    let view = session.client.command(id, &command).await?;
    session.output.show(&view, rollout_text::line)?;
    Ok(Exit::Succeeded)
}
