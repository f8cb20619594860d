//! Where a rollout stands. Everything that `target` and `advance` need besides the plan and the
//! world, and nothing that can be recomputed from them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{reason::Reason, target::Target};

/// The phase of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Waits for the app's active rollout to end.
    Pending,
    /// Goes through the plan's main list.
    Progressing,
    /// Held by a person, or by a gate whose policy is to pause.
    Paused,
    /// Goes to full traffic without waiting for gates, on a person's order.
    Promoting,
    /// Takes the traffic back to stable.
    Aborting,
    /// Ended: the candidate is the new stable revision.
    Succeeded,
    /// Ended: stable has all traffic again.
    RolledBack,
    /// Ended before it began: a newer one took its place, or it was aborted while pending.
    Cancelled,
}

impl Phase {
    /// Every phase, for tables and tests.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Progressing,
        Self::Paused,
        Self::Promoting,
        Self::Aborting,
        Self::Succeeded,
        Self::RolledBack,
        Self::Cancelled,
    ];

    /// Whether the rollout has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::RolledBack | Self::Cancelled => true,
            Self::Pending | Self::Progressing | Self::Paused | Self::Promoting | Self::Aborting => {
                false
            }
        }
    }

    /// The word for it, as in JSON and in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Progressing => "progressing",
            Self::Paused => "paused",
            Self::Promoting => "promoting",
            Self::Aborting => "aborting",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolledBack",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RolledBack => "rolled back",
            other => other.word(),
        })
    }
}

/// Which of the plan's lists is being walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Track {
    /// The strategy as written.
    Main,
    /// Straight to full traffic.
    Promote,
    /// Back to stable.
    Abort,
}

/// One attempt at one step: what measurements, approvals and passes are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// The list.
    pub track: Track,
    /// Index into the list.
    pub step: usize,
    /// Counts from 1; a retry is a new attempt.
    pub attempt: u32,
}

/// One approval, bound to the step and attempt it was given in (it is cleared with them).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Who approved.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// In their words.
    pub comment: Option<String>,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Somebody's word that freeze windows shall not hold a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlass {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, in their words.
    pub reason: String,
}

/// A hold by a person, a gate or a freeze window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Who holds it: a principal, `gate errors`, or `freeze window weekend`.
    pub by: String,
    /// Since when; timers stand still meanwhile.
    pub at: Timestamp,
    /// The phase to go back to.
    pub resume: Phase,
}

impl Hold {
    const GATE: &str = "gate ";
    const FREEZE: &str = "freeze window ";

    /// Who holds it, when a gate does.
    pub(crate) fn by_gate(gate: &str) -> String {
        format!("{}{gate}", Self::GATE)
    }

    /// Whether a gate holds it, and not a person.
    pub(crate) fn is_by_gate(&self) -> bool {
        self.by.starts_with(Self::GATE)
    }

    /// Who holds it, when a freeze window does.
    pub(crate) fn by_freeze(window: &str) -> String {
        format!("{}{window}", Self::FREEZE)
    }

    /// Whether a freeze window holds it, so that it ends by itself.
    pub fn is_by_freeze(&self) -> bool {
        self.by.starts_with(Self::FREEZE)
    }
}

/// Why and from where a rollout was aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
    /// Where the rollout stood.
    pub from: Cursor,
}

/// The state of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Counts the transitions: 0 when created, one more each.
    pub generation: u64,
    /// The phase.
    pub phase: Phase,
    /// The step being worked on.
    pub cursor: Cursor,
    /// When this step and attempt was entered, moved forward by the time spent on hold.
    pub since: Timestamp,
    /// What held when the current list was entered; the list's steps are applied to it.
    pub base: Target,
    /// A person's order to be done with the current step.
    pub finish_step: Option<String>,
    /// Approvals of the current step and attempt.
    pub approvals: Vec<Approval>,
    /// Set while paused.
    pub hold: Option<Hold>,
    /// Set from the moment of an abort on.
    pub abort: Option<Abort>,
    /// Set once freeze windows shall not hold it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

impl State {
    /// A new rollout that waits for its turn.
    pub fn new(now: Timestamp) -> Self {
        Self {
            generation: 0,
            phase: Phase::Pending,
            cursor: Cursor {
                track: Track::Main,
                step: 0,
                attempt: 1,
            },
            since: now,
            base: Target::default(),
            finish_step: None,
            approvals: Vec::new(),
            hold: None,
            abort: None,
            break_glass: None,
        }
    }
}
