//! Give all traffic back to stable: the first step of every abort.
//!
//! Stable is brought to full scale and asked to carry everything at the same time; how fast the
//! traffic follows is bounded by what is ready (see `target::routes`).

use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View, set_rule::rules_seen, share_seen, stable_ready};
use crate::{observation::Fact, plan::Plan, reason::WaitingOn, target::Target, weight::Weight};

/// All traffic to stable, at full scale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiveBack {}

impl Behavior for GiveBack {
    fn apply(&self, plan: &Plan, target: &mut Target) {
        if let Some(stable) = plan.stable {
            target.scales.insert(stable, plan.replicas);
            target.set_weights(plan, Weight::ZERO);
        }
        target.rules.clear();
    }

    fn status(&self, view: &View<'_>) -> Status {
        let Some(stable) = view.plan.stable else {
            return Status::Done;
        };
        if let Fact::Unknown { why } = &view.observation.workload {
            return Status::waiting(WaitingOn::WorkloadUnknown { why: why.clone() });
        }
        let seen = share_seen(view, stable, Weight::ALL);
        let ready = view.observation.ready(stable);
        // Traffic stays, or follows the instances that come back (see `target::routes`).
        let held = ready == 0
            || (ready < view.plan.replicas && view.state.base.scale(stable) < view.plan.replicas);
        match seen {
            Status::Waiting {
                on: WaitingOn::Routes { .. },
                ..
            } if held => stable_ready(view),
            Status::Done => rules_seen(view),
            Status::Waiting { .. } | Status::Failed(_) => seen,
        }
    }

    fn title(&self) -> String {
        "give traffic back to stable".to_owned()
    }
}
