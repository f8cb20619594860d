//! Wait until enough distinct people approved this step of this attempt.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View};
use crate::{
    plan::Plan,
    reason::{Reason, WaitingOn},
    strategy::ApproveStep,
    target::Target,
    time,
};

/// Wait for approvals. Who may give one is checked where they come in, by these rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approve {
    /// Members of this group only.
    pub group: Option<String>,
    /// How many.
    pub count: u32,
    /// How long they may take, not counting holds. Then the rollout is taken back: what nobody wants
    /// to answer for must not stand half-way for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<SignedDuration>,
    /// Not by whoever asked for the rollout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_by_requester: bool,
    /// Also by machines' tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub machines_may: bool,
}

impl From<&ApproveStep> for Approve {
    fn from(step: &ApproveStep) -> Self {
        Self {
            group: step.group.clone(),
            count: step.count,
            expires: step.expires,
            not_by_requester: !step.requester_may_approve,
            machines_may: step.machines_may_approve,
        }
    }
}

impl Behavior for Approve {
    fn apply(&self, _: &Plan, _: &mut Target) {}

    fn status(&self, view: &View<'_>) -> Status {
        let given = u32::try_from(view.state.approvals.len()).unwrap_or(u32::MAX);
        if given >= self.count {
            return Status::Done;
        }
        let until = self.expires.map(|it| time::after(view.state.since, it));
        match self
            .expires
            .filter(|_| until.is_some_and(|it| it <= view.now))
        {
            Some(expires) => Status::Failed(Reason::ApprovalExpired {
                given,
                needed: self.count,
                after: time::words(expires),
            }),
            None => Status::Waiting {
                on: WaitingOn::Approval {
                    group: self.group.clone(),
                    given,
                    needed: self.count,
                    expires: until,
                },
                until,
            },
        }
    }

    fn title(&self) -> String {
        match &self.group {
            Some(group) => format!("approve by {} of {group}", self.count),
            None => format!("approve by {}", self.count),
        }
    }

    fn ends_on_skip(&self) -> bool {
        true
    }

    fn approvals(&self) -> u32 {
        self.count
    }
}
