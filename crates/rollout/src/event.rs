//! What happened: the cause of one transition, as it stands in the history.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{reason::Reason, revision::Revision};

/// The cause of a transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
pub enum Event {
    /// It was asked for.
    Created {
        /// By whom.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Its turn came.
    Started,
    /// A step's effect was seen to hold.
    StepDone {
        /// The step's title.
        step: String,
    },
    /// Somebody ordered the current step to end.
    Promoted {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Somebody ordered it straight to full traffic.
    PromotedFully {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Somebody skipped the current step.
    Skipped {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Somebody approved.
    Approved {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Somebody, or a gate, holds it.
    Paused {
        /// Who.
        by: String,
    },
    /// Somebody let it go on.
    Resumed {
        /// Who.
        by: String,
    },
    /// Somebody began a new attempt.
    Retried {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// It is being taken back.
    AbortStarted {
        /// Why.
        reason: Reason,
    },
    /// It ended; the candidate is stable now.
    Succeeded,
    /// It ended; stable has all traffic.
    RolledBack,
    /// It ended before it began.
    Cancelled {
        /// Why.
        reason: Reason,
    },
}

impl Event {
    /// The word for it, as in JSON; also the type of the notice, after `rollout.`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Started => "started",
            Self::StepDone { .. } => "stepDone",
            Self::Promoted { .. } => "promoted",
            Self::PromotedFully { .. } => "promotedFully",
            Self::Skipped { .. } => "skipped",
            Self::Approved { .. } => "approved",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Retried { .. } => "retried",
            Self::AbortStarted { .. } => "abortStarted",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolledBack",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// One sentence, which names the candidate where that helps.
    pub fn sentence(&self, candidate: Revision) -> String {
        let said = |verb: &str, by: &String, comment: &Option<String>| match comment {
            Some(comment) => format!("{verb} by {by}: \"{comment}\""),
            None => format!("{verb} by {by}"),
        };
        match self {
            Self::Created { by, comment } => {
                said(&format!("rollout of {candidate} created"), by, comment)
            }
            Self::Started => format!("rollout of {candidate} started"),
            Self::StepDone { step } => format!("done: {step}"),
            Self::Promoted { by, comment } => said("promoted", by, comment),
            Self::PromotedFully { by, comment } => said("promoted to full traffic", by, comment),
            Self::Skipped { by, comment } => said("step skipped", by, comment),
            Self::Approved { by, comment } => said("approved", by, comment),
            Self::Paused { by } => format!("paused by {by}"),
            Self::Resumed { by } => format!("resumed by {by}"),
            Self::Retried { by, comment } => said("new attempt begun", by, comment),
            Self::AbortStarted { reason } => format!("rollback begun: {reason}"),
            Self::Succeeded => format!("{candidate} is stable now"),
            Self::RolledBack => format!("rolled back: {candidate} has no traffic any more"),
            Self::Cancelled { reason } => format!("cancelled: {reason}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
