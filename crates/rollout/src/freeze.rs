//! Freeze windows that cover the present moment, and whom they hold. Which windows those are is for
//! the shell to say: this crate knows no calendar.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    command::{Order, Rejection},
    plan::Plan,
    reason::WaitingOn,
    state::{Phase, State, Track},
};

/// What a window asks of rollouts that run when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Running {
    /// They hold at their step until it ends.
    Hold,
    /// They finish; only what has not started waits.
    Finish,
}

/// A freeze window that covers the present moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freeze {
    /// Its name.
    pub window: String,
    /// Why there is one, in its maker's words.
    pub reason: String,
    /// When it ends.
    pub until: Timestamp,
    /// What it asks of rollouts that run.
    pub running: Running,
}

impl Freeze {
    pub(crate) fn waiting(&self) -> WaitingOn {
        WaitingOn::Frozen {
            window: self.window.clone(),
            until: self.until,
            reason: self.reason.clone(),
        }
    }
}

/// Going back is never frozen, nor is a rollout whose glass was broken.
fn is_exempt(plan: &Plan, state: &State) -> bool {
    plan.is_undo() || state.break_glass.is_some() || state.cursor.track == Track::Abort
}

/// The window that keeps a rollout from starting: the one that lasts longest.
pub(crate) fn keeps_from_starting<'a>(
    plan: &Plan,
    state: &State,
    freezes: &'a [Freeze],
) -> Option<&'a Freeze> {
    let all = freezes.iter().filter(|_| !is_exempt(plan, state));
    all.max_by_key(|it| it.until)
}

/// The window that holds a rollout which runs: the one that lasts longest.
pub(crate) fn holds<'a>(plan: &Plan, state: &State, freezes: &'a [Freeze]) -> Option<&'a Freeze> {
    let holding = freezes.iter().filter(|it| it.running == Running::Hold);
    holding
        .filter(|_| !is_exempt(plan, state))
        .max_by_key(|it| it.until)
}

/// Why `order` must not be given while `freezes` cover the present moment: it would send traffic to
/// the candidate at once. `None`: the windows do not mind; what takes traffic back always may.
pub fn refused_by_freeze(
    plan: &Plan,
    state: &State,
    order: &Order,
    freezes: &[Freeze],
) -> Option<Rejection> {
    let window = match (order, state.phase) {
        // It begins the rollout anew.
        (Order::Retry, Phase::RolledBack) => freezes
            .iter()
            .filter(|_| !plan.is_undo())
            .max_by_key(|it| it.until),
        (Order::PromoteFull, _) => holds(plan, state, freezes),
        (
            Order::Promote
            | Order::Abort
            | Order::Pause
            | Order::Resume
            | Order::Retry
            | Order::Skip
            | Order::Approve
            | Order::Reject
            | Order::BreakGlass
            | Order::Alert { .. }
            | Order::Supersede { .. },
            _,
        ) => None,
    }?;
    let way_out = match state.phase {
        Phase::RolledBack => "deploy it again, with a reason to break the glass",
        _ => "wait, or break the glass with a reason",
    };
    Some(Rejection(format!(
        "cannot {}: freeze window {} is on until {:.0} ({}); {way_out}",
        order.word(),
        window.window,
        window.until,
        window.reason
    )))
}
