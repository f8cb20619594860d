//! Plans for workloads that replace each instance in its place: there are never more instances than
//! replicas, so stable gives up what the candidate gets.

use super::{Plan, Revisions, UNDO, gate, one_at_a_time, scale, weight};
use crate::{
    revision::Role,
    steps::{Step, approve::Approve, drain::Drain, pause::Pause},
    strategy::{Canary, CanaryStep, Delivery, Strategy},
    weight::Weight,
};

/// `plan` for such a workload. A rolling update without surge and a recreate are for it as they are.
pub(super) fn adapted(mut plan: Plan, delivery: &Delivery, revisions: Revisions) -> Plan {
    let nothing = plan.stable.is_none_or(|it| it == plan.candidate);
    if nothing || matches!(delivery.strategy, Strategy::Recreate(_)) {
        return plan;
    }
    let drain = Drain {
        hold: delivery.drain,
    };
    plan.promote = straight(revisions.replicas, drain);
    plan.main = match &delivery.strategy {
        _ if plan.strategy == UNDO => plan.promote.clone(),
        Strategy::Canary(it) => canary(it, revisions.replicas, drain),
        Strategy::BlueGreen(_) | Strategy::Rolling(_) | Strategy::Recreate(_) => plan.main,
    };
    plan
}

/// All instances but the last, then the traffic, then the last.
fn straight(replicas: u32, drain: Drain) -> Vec<Step> {
    if replicas <= 1 {
        return one_at_a_time(replicas, drain);
    }
    vec![
        scale(Role::Stable, 1),
        scale(Role::Candidate, replicas - 1),
        weight(Weight::ALL),
        Step::Drain(drain),
        scale(Role::Stable, 0),
        scale(Role::Candidate, replicas),
    ]
}

fn canary(canary: &Canary, replicas: u32, drain: Drain) -> Vec<Step> {
    let mut steps = Vec::new();
    // The last one stays stable's until all traffic has left it.
    let most = replicas.saturating_sub(1);
    let (mut replaced, mut floor, mut given, mut ended) = (0, 0, 0, false);
    let bring = |steps: &mut Vec<Step>, replaced: &mut u32, wanted: u32| {
        if wanted != *replaced {
            steps.push(scale(Role::Stable, replicas - wanted));
            steps.push(scale(Role::Candidate, wanted));
            *replaced = wanted;
        }
    };
    let share = |count: u32| weight(Weight::of(u64::from(count), u64::from(replicas.max(1))));
    for step in &canary.steps {
        match step {
            CanaryStep::SetWeight(to) if *to == Weight::ALL => {
                if !ended {
                    steps.extend(straight(replicas, drain));
                }
                ended = true;
            }
            CanaryStep::SetWeight(to) => {
                let less = to.instances(replicas).min(most);
                // Going down, instances go back only after their traffic.
                if less < given {
                    steps.push(share(less));
                }
                bring(&mut steps, &mut replaced, less.max(floor));
                if less > given {
                    steps.push(share(less));
                }
                given = less;
            }
            CanaryStep::SetScale(count) => {
                floor = count.up(replicas).min(most);
                bring(&mut steps, &mut replaced, given.max(floor));
            }
            CanaryStep::Pause(hold) => steps.push(Step::Pause(Pause { hold: *hold })),
            CanaryStep::Gate(it) => steps.push(gate(it)),
            CanaryStep::Approve(it) => steps.push(Step::Approve(Approve::from(it))),
            // No router whose shares follow the instances has rules; the app file is refused.
            CanaryStep::SetRule(it) => steps.push(Step::SetRule(it.clone())),
        }
    }
    if !ended {
        steps.extend(straight(replicas, drain));
    }
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{document, revision::Revision};

    fn told(strategy: &Value, replicas: u32, undo: bool) -> Vec<String> {
        let file = json!({ "strategy": strategy });
        let read = document::read(&file, |it| Delivery::read(&it.object(&Delivery::KEYS)?));
        let revisions = Revisions {
            stable: Some(Revision(1)),
            candidate: Revision(2),
            replicas,
            undo,
        };
        let plan = Plan::compile_in_place(&read.unwrap(), revisions);
        let title = |it: &Step| it.behavior().title();
        plan.main.iter().map(title).collect()
    }

    #[test]
    fn stable_gives_up_what_the_candidate_gets() {
        let canary = json!({ "canary": { "steps": [
            { "setWeight": 5 }, { "pause": "1m" }, { "setWeight": 50 }, { "setWeight": 25 }, { "setWeight": 100 },
        ] } });
        let told = told(&canary, 4, false);
        let expected = [
            "setScale stable 3",
            "setScale candidate 1",
            "setWeight 25",
            "pause 1m",
            "setScale stable 2",
            "setScale candidate 2",
            "setWeight 50",
            "setWeight 25",
            "setScale stable 3",
            "setScale candidate 1",
            "setScale stable 1",
            "setScale candidate 3",
            "setWeight 100",
            "drain 5s",
            "setScale stable 0",
            "setScale candidate 4",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn there_are_never_more_instances_than_replicas() {
        let strategies = [
            json!({ "canary": {} }),
            json!({ "canary": { "steps": [{ "setScale": 2 }, { "setWeight": 1 }, { "setWeight": 99 }] } }),
            json!({ "rolling": { "maxSurge": 0, "maxUnavailable": 1 } }),
        ];
        for strategy in strategies {
            for (replicas, undo) in [(1, false), (2, false), (3, true), (7, false), (7, true)] {
                let file = json!({ "strategy": strategy });
                let read = document::read(&file, |it| Delivery::read(&it.object(&Delivery::KEYS)?));
                let revisions = Revisions {
                    stable: Some(Revision(1)),
                    candidate: Revision(2),
                    replicas,
                    undo,
                };
                let plan = Plan::compile_in_place(&read.unwrap(), revisions);
                for list in [&plan.main, &plan.promote] {
                    let mut target = plan.before();
                    for step in list {
                        step.behavior().apply(&plan, &mut target);
                        let (stable, candidate) =
                            (target.scale(Revision(1)), target.scale(Revision(2)));
                        let all = stable + candidate;
                        // Between the two halves of a move back, the pods are stable's already.
                        let moving = step.behavior().title().starts_with("setScale stable");
                        assert!(all <= replicas || moving, "{strategy} {replicas}: {all}");
                    }
                    assert_eq!(target.scale(Revision(2)), replicas, "{strategy}");
                    assert_eq!(target.scale(Revision(1)), 0, "{strategy}");
                }
            }
        }
    }
}
