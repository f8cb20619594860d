//! Give the candidate a share of the traffic.

use serde::{Deserialize, Serialize};

use super::{
    Behavior, Status, View, carriers, set_rule::rules_seen, set_scale::instances_missing,
    share_seen, stable_is_down, stable_ready,
};
use crate::{
    observation::Fact, plan::Plan, reason::WaitingOn, revision::Role, target::Target,
    weight::Weight,
};

/// Give the candidate this share; done when its instances can carry it and the data plane was
/// seen to give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetWeight {
    /// The share.
    pub candidate: Weight,
}

impl Behavior for SetWeight {
    fn apply(&self, plan: &Plan, target: &mut Target) {
        target.set_weights(plan, self.candidate);
        // With all of the traffic there is nothing left beside it.
        if self.candidate == Weight::ALL {
            target.rules.clear();
        }
    }

    fn status(&self, view: &View<'_>) -> Status {
        if let Fact::Unknown { why } = &view.observation.workload {
            return Status::waiting(WaitingOn::WorkloadUnknown { why: why.clone() });
        }
        let candidate = view.plan.candidate;
        let wanted = carriers(view);
        if view.observation.ready(candidate) < wanted {
            return instances_missing(view, Role::Candidate, candidate, wanted);
        }
        match share_seen(view, candidate, self.candidate) {
            Status::Waiting { .. } if stable_is_down(view) => stable_ready(view),
            Status::Done if self.candidate == Weight::ALL => rules_seen(view),
            seen => seen,
        }
    }

    fn title(&self) -> String {
        format!("setWeight {}", self.candidate.percent())
    }
}
