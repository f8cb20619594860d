//! Take the traffic from everybody: the first step of `recreate`, and of giving up an installation.

use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View};
use crate::{
    observation::Fact, plan::Plan, reason::WaitingOn, revision::Revision, state::Track,
    target::Target, weight::Weight,
};

/// No revision gets traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopTraffic {}

impl Behavior for StopTraffic {
    fn apply(&self, _: &Plan, target: &mut Target) {
        target.weights.clear();
        target.rules.clear();
    }

    fn status(&self, view: &View<'_>) -> Status {
        nothing_served(view)
    }

    fn title(&self) -> String {
        "stopTraffic".to_owned()
    }
}

/// Waits until the data plane reports that nobody gets traffic.
pub(super) fn nothing_served(view: &View<'_>) -> Status {
    // On the way back the candidate's instances go next; stable may still have its traffic.
    let back = view.state.cursor.track == Track::Abort;
    let matters = |one: &Revision| !back || *one == view.plan.candidate;
    match &view.observation.routes {
        Fact::Unknown { why } => Status::waiting(WaitingOn::RouterUnknown { why: why.clone() }),
        Fact::Known { value, .. } => {
            match value
                .shares
                .iter()
                .find(|(one, it)| matters(one) && **it > Weight::ZERO)
            {
                None => Status::Done,
                Some((revision, observed)) => Status::waiting(WaitingOn::Routes {
                    revision: *revision,
                    asked: Weight::ZERO,
                    observed: *observed,
                }),
            }
        }
    }
}
