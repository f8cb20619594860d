//! Orders, and what they come to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{event::Event, revision::Revision, state::State};

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// What is ordered.
    pub order: Order,
    /// Who orders it: a principal, or the source of an alert.
    pub by: String,
    /// In their words.
    pub comment: Option<String>,
    /// The address it came from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Be done with the step that waits for a time, a verdict or a person.
    Promote,
    /// Go straight to full traffic, without waiting for gates or people. A gate that fails and asks
    /// for a rollback is still heard.
    PromoteFull,
    /// Take the traffic back to stable.
    Abort,
    /// Hold where it stands. Gates and alerts still take it back.
    Pause,
    /// Go on after a hold.
    Resume,
    /// Begin a new attempt: of the current step, or of a rollout that was taken back.
    Retry,
    /// Be done with the current gate, approval, pause or bake.
    Skip,
    /// Agree to the current approval step.
    Approve,
    /// Refuse the current approval step: takes the traffic back.
    Reject,
    /// Freeze windows shall not hold it any more; the comment says why.
    BreakGlass,
    /// An alert that the app's rules answer with a rollback. An undo does not hear it: what fires is
    /// the damage that it repairs.
    Alert {
        /// Its name.
        name: String,
        /// Its summary or labels.
        detail: String,
        /// Its identity.
        fingerprint: String,
    },
    /// A newer rollout wants to begin.
    Supersede {
        /// The newer rollout's candidate.
        revision: Revision,
    },
}

impl Order {
    /// The orders a person can give; alerts and newer rollouts give theirs by themselves.
    pub const OF_PEOPLE: [Self; 10] = [
        Self::Promote,
        Self::PromoteFull,
        Self::Abort,
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Skip,
        Self::Approve,
        Self::Reject,
        Self::BreakGlass,
    ];

    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::PromoteFull => "promoteFull",
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::BreakGlass => "breakGlass",
            Self::Alert { .. } => "alert",
            Self::Supersede { .. } => "supersede",
        }
    }
}

/// What an order comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A transition.
    Changed(Box<State>, Event),
    /// It is already so: giving the order again is harmless.
    Unchanged,
}

/// An order that is not legal now, with a sentence that says what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection(pub String);

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
