//! Send requests with certain headers, or copies of requests, to the candidate; or cease to.

use serde::{Deserialize, Serialize};

use super::{Behavior, Status, View, set_scale::instances_missing};
use crate::{
    observation::Fact, plan::Plan, reason::WaitingOn, revision::Role, route_rule::RouteRule,
    target::Target,
};

/// Have this rule under this name, or none; done when an instance of the candidate can answer and
/// the data plane was seen to have taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetRule {
    /// The rule's name within the rollout.
    pub name: String,
    /// The rule; `None`: it is taken away.
    pub rule: Option<RouteRule>,
}

impl Behavior for SetRule {
    fn apply(&self, _: &Plan, target: &mut Target) {
        match &self.rule {
            Some(rule) => target.rules.insert(self.name.clone(), rule.clone()),
            None => target.rules.remove(&self.name),
        };
    }

    fn status(&self, view: &View<'_>) -> Status {
        if let Fact::Unknown { why } = &view.observation.workload {
            return Status::waiting(WaitingOn::WorkloadUnknown { why: why.clone() });
        }
        let candidate = view.plan.candidate;
        if self.rule.is_some() && view.observation.ready(candidate) == 0 {
            return instances_missing(view, Role::Candidate, candidate, 1);
        }
        rules_seen(view)
    }

    fn title(&self) -> String {
        match &self.rule {
            Some(RouteRule::Mirror(share)) => format!("setMirrorRoute {} {share}", self.name),
            Some(rule @ RouteRule::Headers(_)) => format!("{} {}", rule.word(), self.name),
            None => format!("remove route {}", self.name),
        }
    }
}

/// Waits until the data plane has the rules that are asked for, and no other.
pub(super) fn rules_seen(view: &View<'_>) -> Status {
    let routes = match &view.observation.routes {
        Fact::Unknown { why } => {
            return Status::waiting(WaitingOn::RouterUnknown { why: why.clone() });
        }
        Fact::Known { value, .. } => value,
    };
    let asked = &view.target.rules;
    let missing = asked.keys().find(|it| !routes.rules.contains(*it));
    let left = || routes.rules.iter().find(|it| !asked.contains_key(*it));
    match (missing, left()) {
        (None, None) => Status::Done,
        (Some(name), _) => Status::waiting(WaitingOn::Rule {
            name: name.clone(),
            wanted: true,
        }),
        (None, Some(name)) => Status::waiting(WaitingOn::Rule {
            name: name.clone(),
            wanted: false,
        }),
    }
}
