//! Who may approve: the rules of the step that a rollout waits at, asked of whoever wants to, and
//! told to whoever looks.

use api::{ApprovalView, GivenApproval};
use rollout::{Phase, Step, steps::approve::Approve};
use store::Rollout;

use crate::{
    auth::{Principal, may_approve},
    error::ServeError,
};

/// The approval step that a rollout stands at.
fn step(rollout: &Rollout) -> Option<&Approve> {
    let state = &rollout.state;
    match rollout.plan.list(state.cursor.track).get(state.cursor.step) {
        Some(Step::Approve(step)) if !state.phase.is_terminal() => Some(step),
        Some(_) | None => None,
    }
}

/// Why the step's own rules refuse `caller`, beside the role that the route asks for; `None`: they
/// do not, or it stands at no approval step.
pub(super) fn refusal(caller: &Principal, rollout: &Rollout) -> Option<String> {
    let step = step(rollout)?;
    let name = &caller.name;
    if !caller.person && !step.machines_may {
        return Some(format!(
            "only people approve, and {name} is a machine's token"
        ));
    }
    if step.not_by_requester && rollout.created_by == *name {
        return Some(format!(
            "{name} asked for this rollout, so somebody else must approve"
        ));
    }
    match &step.group {
        Some(group) if !caller.groups.contains(group) => Some(format!(
            "this step is for members of {group}, {name} is not one"
        )),
        Some(_) | None => None,
    }
}

/// Refuses an order that would go past approvals which whoever asked for the rollout must not give:
/// they must not get the same by another word.
pub(super) fn not_round_four_eyes(caller: &Principal, rollout: &Rollout) -> Result<(), ServeError> {
    let cursor = rollout.state.cursor;
    let ahead = rollout.plan.list(cursor.track).get(cursor.step..);
    let strict = |it: &Step| matches!(it, Step::Approve(step) if step.not_by_requester);
    let asked = rollout.created_by == caller.name;
    match asked && ahead.unwrap_or_default().iter().any(strict) {
        true => Err(ServeError::Forbidden {
            detail: format!(
                "{} asked for this rollout, so somebody else must let it past its approvals",
                caller.name
            ),
        }),
        false => Ok(()),
    }
}

/// The approval step that a rollout waits at, as `caller` sees it.
pub(super) fn view(caller: &Principal, rollout: &Rollout) -> Option<ApprovalView> {
    let step = step(rollout)?;
    let state = &rollout.state;
    let name = &caller.name;
    let paused = state.phase == Phase::Paused
        && !state.hold.as_ref().is_some_and(rollout::Hold::is_by_freeze);
    let why_not = if !caller.roles(Some(&rollout.project)).any(may_approve) {
        Some(format!(
            "{name} has neither the role approver nor admin here"
        ))
    } else if state.approvals.iter().any(|it| it.by == *name) {
        Some(format!("{name} has approved already"))
    } else if paused {
        Some("it is paused: somebody must resume it first".to_owned())
    } else {
        refusal(caller, rollout)
    };
    Some(ApprovalView {
        group: step.group.clone(),
        needed: step.count,
        given: state
            .approvals
            .iter()
            .map(|it| GivenApproval {
                by: it.by.clone(),
                at: it.at,
                comment: it.comment.clone(),
                from: it.from.clone(),
            })
            .collect(),
        expires_at: step.expires.map(|it| rollout::time::after(state.since, it)),
        may_i: why_not.is_none(),
        why_not,
    })
}
