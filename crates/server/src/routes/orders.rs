//! Orders and approvals. Who may give which order beyond the row's access is decided here.

use api::{Approve, CommandRequest, Decision, OrderWord, ProblemBody, RoleWord, RolloutView};
use axum::{Json, extract::State};
use rollout::{Command, Order, Plan, State as Standing, Step};
use store::Rollout;

use super::{
    Web, approval,
    extract::{Asked, Caller, JsonBody, Source},
    guard,
};
use crate::{auth::Principal, error::ServeError};

/// Orders a rollout about. An order that goes past an approval step needs the role operator.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/commands", tag = "rollouts",
    params(("id" = uuid::Uuid, Path)), request_body = CommandRequest,
    responses((status = 200, body = RolloutView),
        (status = 409, body = ProblemBody, description = "It is not legal now; the detail says why")))]
pub(super) async fn command(
    State(web): State<Web>,
    Caller(caller): Caller,
    Asked(rollout): Asked,
    Source(source): Source,
    body: JsonBody<CommandRequest>,
) -> Result<Json<RolloutView>, ServeError> {
    let CommandRequest { order, comment } = body.value;
    let order = order_of(order);
    let mut guard = None;
    may(&caller, &order, &rollout)?;
    if order == Order::Skip {
        // The step was looked at to allow this, so it must still be that step.
        let cursor = rollout.state.cursor;
        guard = Some((cursor.step, Some(cursor.attempt)));
    }
    let command = Command {
        order,
        by: caller.name.clone(),
        comment,
        from: Some(source.to_string()),
    };
    let rollout = web.service.order(rollout.id, command, guard).await?;
    Ok(Json(web.show(&rollout, true, &caller).await?))
}

/// Whether `caller` may give `order` to a rollout that is as it is now; not whether it is legal.
pub(super) fn may(caller: &Principal, order: &Order, rollout: &Rollout) -> Result<(), ServeError> {
    let project = Some(rollout.project.as_str());
    match order {
        Order::Approve | Order::Reject => {
            guard::approves(caller, &rollout.project)?;
            let refusal = approval::refusal(caller, rollout);
            refusal.map_or(Ok(()), |detail| Err(ServeError::Forbidden { detail }))
        }
        Order::BreakGlass => guard::has(caller, RoleWord::Operator, project),
        Order::Promote
        | Order::PromoteFull
        | Order::Abort
        | Order::Pause
        | Order::Resume
        | Order::Retry
        | Order::Skip
        | Order::Alert { .. }
        | Order::Supersede { .. } => match passes_approval(order, &rollout.plan, &rollout.state) {
            true => {
                guard::has(caller, RoleWord::Operator, project)?;
                approval::not_round_four_eyes(caller, rollout)
            }
            false => guard::has(caller, RoleWord::Deployer, project),
        },
    }
}

fn order_of(word: OrderWord) -> Order {
    match word {
        OrderWord::Promote => Order::Promote,
        OrderWord::PromoteFull => Order::PromoteFull,
        OrderWord::Abort => Order::Abort,
        OrderWord::Pause => Order::Pause,
        OrderWord::Resume => Order::Resume,
        OrderWord::Retry => Order::Retry,
        OrderWord::Skip => Order::Skip,
        OrderWord::BreakGlass => Order::BreakGlass,
    }
}

/// Whether an order would make a rollout go past approvals that were asked for: whoever may not
/// approve must not get the same by another word.
fn passes_approval(order: &Order, plan: &Plan, state: &Standing) -> bool {
    let asks = |step: &Step| step.behavior().approvals() > 0;
    let ahead = plan
        .list(state.cursor.track)
        .get(state.cursor.step..)
        .unwrap_or_default();
    match order {
        Order::Skip => ahead.first().is_some_and(asks),
        Order::PromoteFull => ahead.iter().any(asks),
        Order::Promote
        | Order::Abort
        | Order::Pause
        | Order::Resume
        | Order::Retry
        | Order::Approve
        | Order::Reject
        | Order::BreakGlass
        | Order::Alert { .. }
        | Order::Supersede { .. } => false,
    }
}

/// Decides on the approval step that a rollout waits at.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/approvals", tag = "rollouts",
    params(("id" = uuid::Uuid, Path)), request_body = Approve,
    responses((status = 200, body = RolloutView),
        (status = 403, body = ProblemBody, description = "Not a person, or not in the step's group"),
        (status = 409, body = ProblemBody,
            description = "It does not wait for approval, or not at that step and attempt any more")))]
pub(super) async fn approve(
    State(web): State<Web>,
    Caller(caller): Caller,
    Asked(rollout): Asked,
    Source(source): Source,
    body: JsonBody<Approve>,
) -> Result<Json<RolloutView>, ServeError> {
    let Approve {
        decision,
        step,
        attempt,
        comment,
    } = body.value;
    let cursor = rollout.state.cursor;
    may(&caller, &Order::Approve, &rollout)?;
    let stale =
        step.is_some_and(|it| it != cursor.step) || attempt.is_some_and(|it| it != cursor.attempt);
    if stale {
        return Err(ServeError::conflict(format!(
            "the rollout is at step {}, attempt {} now; look again before deciding",
            cursor.step, cursor.attempt
        )));
    }
    let order = match decision {
        Decision::Approve => Order::Approve,
        Decision::Reject => Order::Reject,
    };
    let command = Command {
        order,
        by: caller.name.clone(),
        comment,
        from: Some(source.to_string()),
    };
    // What was checked above holds for this step and attempt only.
    let guard = Some((cursor.step, Some(cursor.attempt)));
    let rollout = web.service.order(rollout.id, command, guard).await?;
    Ok(Json(web.show(&rollout, true, &caller).await?))
}
