//! Let requests in flight end before the instances that serve them go.
//!
//! What goes next has no traffic any more, and what carries the traffic is able to: a candidate
//! that died while it was baked must not be left alone with it.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{
    Behavior, Status, View, carriers, set_scale::instances_missing, share_seen, stable_is_down,
    stable_ready, stop_traffic::nothing_served, time_passed,
};
use crate::{
    observation::Fact, plan::Plan, reason::WaitingOn, revision::Role, target::Target, time,
};

/// Keep a revision without traffic for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// For how long.
    #[serde(rename = "for")]
    pub hold: SignedDuration,
}

impl Drain {
    /// Whether the traffic is where it is asked to be, and can be carried there.
    fn settled(view: &View<'_>) -> Status {
        if view.target.weights.is_empty() {
            return nothing_served(view);
        }
        if let Fact::Unknown { why } = &view.observation.workload {
            return Status::waiting(WaitingOn::WorkloadUnknown { why: why.clone() });
        }
        let candidate = view.plan.candidate;
        let wanted = carriers(view);
        if view.observation.ready(candidate) < wanted {
            return instances_missing(view, Role::Candidate, candidate, wanted);
        }
        if stable_is_down(view) {
            return stable_ready(view);
        }
        share_seen(view, candidate, view.target.weight(candidate))
    }
}

impl Behavior for Drain {
    fn apply(&self, _: &Plan, _: &mut Target) {}

    fn status(&self, view: &View<'_>) -> Status {
        match Self::settled(view) {
            Status::Done => time_passed(view, "drain", self.hold),
            unsettled => unsettled,
        }
    }

    fn title(&self) -> String {
        format!("drain {}", time::words(self.hold))
    }

    fn lasts(&self) -> SignedDuration {
        self.hold
    }
}
