//! Bring a role to so many instances.

use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View};
use crate::{
    observation::Fact,
    plan::Plan,
    reason::WaitingOn,
    revision::{Revision, Role},
    target::Target,
};

/// Bring `role` to `count` instances; done when that many are ready and no more are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetScale {
    /// Whose instances.
    pub role: Role,
    /// How many.
    pub count: u32,
}

impl SetScale {
    fn revision(&self, plan: &Plan) -> Option<Revision> {
        match self.role {
            Role::Stable => plan.stable,
            Role::Candidate => Some(plan.candidate),
        }
    }
}

impl Behavior for SetScale {
    fn apply(&self, plan: &Plan, target: &mut Target) {
        let Some(revision) = self.revision(plan) else {
            return;
        };
        match self.count {
            0 => target.scales.remove(&revision),
            count => target.scales.insert(revision, count),
        };
    }

    fn status(&self, view: &View<'_>) -> Status {
        let Some(revision) = self.revision(view.plan) else {
            return Status::Done;
        };
        if let Fact::Unknown { why } = &view.observation.workload {
            return Status::waiting(WaitingOn::WorkloadUnknown { why: why.clone() });
        }
        let status = view.observation.revision(revision).unwrap_or_default();
        if status.ready < self.count {
            return instances_missing(view, self.role, revision, self.count);
        }
        match status.total > self.count {
            true => Status::waiting(WaitingOn::InstancesGone {
                revision,
                total: status.total,
                wanted: self.count,
            }),
            false => Status::Done,
        }
    }

    fn title(&self) -> String {
        format!("setScale {} {}", self.role, self.count)
    }
}

/// Waits for `wanted` ready instances, with what is wrong with them.
pub(super) fn instances_missing(
    view: &View<'_>,
    role: Role,
    revision: Revision,
    wanted: u32,
) -> Status {
    let status = view.observation.revision(revision).unwrap_or_default();
    Status::waiting(WaitingOn::Instances {
        role,
        revision,
        ready: status.ready,
        wanted,
        problems: status.problems.iter().map(|it| it.detail.clone()).collect(),
    })
}
