//! What an app file asks for that its router or its workload cannot do.

use rollout::{
    Strategy,
    document::Problem,
    strategy::{Canary, CanaryStep, Rolling},
};

use super::AppFile;

impl AppFile {
    /// Every such thing, with the way out.
    pub(crate) fn impossible(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.bindings.workload.driver().capabilities().surge {
            problems.extend(self.beyond_its_places());
            problems.extend(self.shares_past_instances());
        }
        if problems.is_empty() {
            problems.extend(self.shares_of_all_or_nothing());
        }
        problems.extend(self.rules_of_a_router_without());
        problems
    }

    fn shares_of_all_or_nothing(&self) -> Option<Problem> {
        let router = self.bindings.traffic.driver();
        let shares = self.delivery.strategy.needs_shares();
        (shares && !router.capabilities().weights).then(|| Problem {
            pointer: "/strategy".to_owned(),
            detail: format!(
                "{} cannot give shares of the traffic, only all or nothing: use blueGreen or recreate, or another router",
                router.place()
            ),
        })
    }

    /// Header and mirror routes, where the router has none.
    fn rules_of_a_router_without(&self) -> Vec<Problem> {
        let router = self.bindings.traffic.driver();
        let Strategy::Canary(canary) = &self.delivery.strategy else {
            return Vec::new();
        };
        if router.capabilities().rules {
            return Vec::new();
        }
        let rule = |(index, step): (usize, &CanaryStep)| match step {
            CanaryStep::SetRule(it) => it.rule.as_ref().map(|rule| Problem {
                pointer: format!("/strategy/canary/steps/{index}/{}", rule.word()),
                detail: format!(
                    "{} has no header and mirror routes: use gatewayApi, or leave the step out",
                    router.place()
                ),
            }),
            CanaryStep::SetWeight(_)
            | CanaryStep::SetScale(_)
            | CanaryStep::Pause(_)
            | CanaryStep::Gate(_)
            | CanaryStep::Approve(_) => None,
        };
        canary.steps.iter().enumerate().filter_map(rule).collect()
    }

    /// What needs more instances than there are places, where each is replaced in its own.
    fn beyond_its_places(&self) -> Option<Problem> {
        let (field, what) = match &self.delivery.strategy {
            Strategy::BlueGreen(_) => (
                "blueGreen",
                "blueGreen runs two full sets of instances".to_owned(),
            ),
            Strategy::Canary(Canary { bake: Some(_), .. }) => (
                "canary/bake",
                "bake keeps the old revision ready beside the new one".to_owned(),
            ),
            Strategy::Rolling(Rolling { max_surge, .. }) if !max_surge.is_zero() => (
                "rolling/maxSurge",
                format!("maxSurge {max_surge} runs more instances than replicas"),
            ),
            Strategy::Canary(_) | Strategy::Rolling(_) | Strategy::Recreate(_) => return None,
        };
        Some(Problem {
            pointer: format!("/strategy/{field}"),
            detail: format!(
                "{what}, and this workload replaces each pod in its place: use canary without bake, rolling with maxSurge: 0, or recreate"
            ),
        })
    }

    fn shares_past_instances(&self) -> Option<Problem> {
        let router = self.bindings.traffic.driver();
        (!router.capabilities().follows_instances).then(|| Problem {
            pointer: "/traffic".to_owned(),
            detail: format!(
                "{} gives shares whatever the numbers of instances are, and this workload replaces each pod in its place: use replicaRatio, whose shares follow the pods",
                router.place()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refused(strategy: &Value, traffic: &Value) -> Vec<String> {
        let file = AppFile::read(&json!({
            "app": "db",
            "workload": { "kubernetes": { "namespace": "shop", "statefulSet": "db" } },
            "traffic": traffic,
            "strategy": strategy,
        }));
        let problems = file.unwrap().impossible();
        problems.into_iter().map(|it| it.pointer).collect()
    }

    #[test]
    fn a_stateful_set_is_brought_out_in_its_places_only() {
        let ratio = || json!({ "replicaRatio": { "namespace": "shop", "service": "db" } });
        let service = || json!({ "service": { "namespace": "shop", "service": "db" } });
        let canary = || json!({ "canary": { "steps": [{ "setWeight": 50 }] } });
        assert_eq!(refused(&canary(), &ratio()), Vec::<String>::new());
        assert_eq!(
            refused(&json!({ "recreate": {} }), &ratio()),
            Vec::<String>::new()
        );
        let rolling = json!({ "rolling": { "maxSurge": 0, "maxUnavailable": 1 } });
        assert_eq!(refused(&rolling, &ratio()), Vec::<String>::new());
        assert_eq!(
            refused(&json!({ "rolling": {} }), &ratio()),
            ["/strategy/rolling/maxSurge"]
        );
        let bake = json!({ "canary": { "bake": "1m" } });
        assert_eq!(refused(&bake, &ratio()), ["/strategy/canary/bake"]);
        let both = ["/strategy/blueGreen", "/traffic"];
        assert_eq!(refused(&json!({ "blueGreen": {} }), &service()), both);
    }
}
