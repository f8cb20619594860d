//! What happened: the cause of one transition, as it stands in the history.

use std::fmt;

use jiff::Timestamp;
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
        /// Why freeze windows shall not hold it, when its maker broke the glass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        break_glass: Option<String>,
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
        /// From which address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
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
    /// A freeze window holds it at its step.
    Frozen {
        /// The window.
        window: String,
        /// When it ends.
        until: Timestamp,
        /// Why there is one.
        reason: String,
    },
    /// No freeze window holds it any more.
    Thawed {
        /// What held it.
        by: String,
    },
    /// Somebody decided that freeze windows shall not hold it.
    BrokeGlass {
        /// Who.
        by: String,
        /// Why, in their words.
        reason: String,
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
    /// Every word of [`Event::word`], in the order in which they come up.
    pub const WORDS: [&'static str; 17] = [
        "created",
        "started",
        "stepDone",
        "promoted",
        "promotedFully",
        "skipped",
        "approved",
        "paused",
        "resumed",
        "frozen",
        "thawed",
        "brokeGlass",
        "retried",
        "abortStarted",
        "succeeded",
        "rolledBack",
        "cancelled",
    ];

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
            Self::Frozen { .. } => "frozen",
            Self::Thawed { .. } => "thawed",
            Self::BrokeGlass { .. } => "brokeGlass",
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
            Self::Created {
                by,
                comment,
                break_glass,
            } => {
                let created = said(&format!("rollout of {candidate} created"), by, comment);
                match break_glass {
                    Some(reason) => format!("{created}; past freeze windows: \"{reason}\""),
                    None => created,
                }
            }
            Self::Started => format!("rollout of {candidate} started"),
            Self::StepDone { step } => format!("done: {step}"),
            Self::Promoted { by, comment } => said("promoted", by, comment),
            Self::PromotedFully { by, comment } => said("promoted to full traffic", by, comment),
            Self::Skipped { by, comment } => said("step skipped", by, comment),
            Self::Approved { by, comment, .. } => said("approved", by, comment),
            Self::Paused { by } => format!("paused by {by}"),
            Self::Resumed { by } => format!("resumed by {by}"),
            Self::Frozen {
                window,
                until,
                reason,
            } => format!("held until {until:.0} by freeze window {window}: {reason}"),
            Self::Thawed { by } => format!("goes on: {by} does not hold it any more"),
            Self::BrokeGlass { by, reason } => {
                format!("taken past freeze windows by {by}: \"{reason}\"")
            }
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
