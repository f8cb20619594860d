//! Wait until enough distinct people approved this step of this attempt.

use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View};
use crate::{plan::Plan, reason::WaitingOn, strategy::ApproveStep, target::Target};

/// Wait for approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approve {
    /// Members of this group only.
    pub group: Option<String>,
    /// How many.
    pub count: u32,
}

impl From<&ApproveStep> for Approve {
    fn from(step: &ApproveStep) -> Self {
        Self {
            group: step.group.clone(),
            count: step.count,
        }
    }
}

impl Behavior for Approve {
    fn apply(&self, _: &Plan, _: &mut Target) {}

    fn status(&self, view: &View<'_>) -> Status {
        let given = u32::try_from(view.state.approvals.len()).unwrap_or(u32::MAX);
        match given >= self.count {
            true => Status::Done,
            false => Status::waiting(WaitingOn::Approval {
                group: self.group.clone(),
                given,
                needed: self.count,
            }),
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
