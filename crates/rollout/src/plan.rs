//! Plans: a strategy compiled to lists of steps when a rollout starts, immutable from then on.
//! Editing the app file never changes a running plan.

mod calibrated;
mod in_place;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    gate::Gate,
    revision::{Revision, Role},
    state::{State, Track},
    steps::{
        Step, approve::Approve, bake::Bake, drain::Drain, gates::Gates, give_back::GiveBack,
        pause::Pause, set_scale::SetScale, set_weight::SetWeight, stop_traffic::StopTraffic,
    },
    strategy::{BlueGreen, Canary, CanaryStep, Delivery, GateStep, Recreate, Rolling, Strategy},
    target::Target,
    time,
    weight::Weight,
};

/// What a rollout is going to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The revision that has the traffic; `None` for the first installation.
    pub stable: Option<Revision>,
    /// The revision being rolled out.
    pub candidate: Revision,
    /// Instances that carry the whole traffic.
    pub replicas: u32,
    /// The strategy's word, or `install` or `undo`.
    pub strategy: String,
    /// The way forward.
    pub main: Vec<Step>,
    /// Straight to full traffic.
    pub promote: Vec<Step>,
    /// Back to stable.
    pub abort: Vec<Step>,
    /// The gates, by which steps and measurements are judged.
    pub gates: Vec<Gate>,
    /// How long a step may wait for instances.
    pub progress_deadline: SignedDuration,
}

/// What a plan is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    /// The revision that has the traffic, if any.
    pub stable: Option<Revision>,
    /// The revision being rolled out.
    pub candidate: Revision,
    /// Instances that carry the whole traffic.
    pub replicas: u32,
    /// Back to a revision that was stable before: no steps and no gates on the way, because the
    /// users of Argo Rollouts learnt that an undo must not be slower than the damage (#2953).
    pub undo: bool,
}

impl Plan {
    /// Compiles the plan that brings out a candidate.
    ///
    /// A candidate that is stable already has nothing to do and ends at once: its two roles would
    /// work against each other, and the last step would stop the only instances there are.
    pub fn compile(delivery: &Delivery, revisions: Revisions) -> Self {
        if revisions.stable == Some(revisions.candidate) {
            return Self::nothing(delivery, revisions);
        }
        let drain = Drain {
            hold: delivery.drain,
        };
        // A service that cannot run twice cannot on the way back or in a hurry either.
        let alone =
            revisions.stable.is_some() && matches!(delivery.strategy, Strategy::Recreate(_));
        let straight = match alone {
            true => one_at_a_time(revisions.replicas, drain),
            false => straight(revisions, drain),
        };
        let (strategy, main) = match (revisions.stable, revisions.undo) {
            (None, _) => ("install", straight.clone()),
            (Some(_), true) => (UNDO, straight.clone()),
            (Some(_), false) => (
                delivery.strategy.word(),
                main(&delivery.strategy, revisions, drain),
            ),
        };
        // Gates measure the damage that an undo repairs: they would fail it.
        let gates = match strategy {
            UNDO => Vec::new(),
            _ => delivery.gates.clone(),
        };
        let plan = Self {
            stable: revisions.stable,
            candidate: revisions.candidate,
            replicas: revisions.replicas,
            strategy: strategy.to_owned(),
            main,
            promote: straight,
            abort: back(revisions, alone, drain),
            gates: Vec::new(),
            progress_deadline: delivery.progress_deadline,
        };
        let gates = gates.into_iter().map(|it| plan.fitted(it)).collect();
        Self { gates, ..plan }
    }

    /// A gate with what the plan decides of its policy: how many exact tests share the part of α that
    /// is kept for them, and whether it may have to do without stable's requests.
    fn fitted(&self, gate: Gate) -> Gate {
        let mut target = self.before();
        let mut looks = 0;
        let mut alone = false;
        for step in &self.main {
            step.behavior().apply(self, &mut target);
            let chosen = step.behavior().gates();
            if chosen.is_some_and(|it| it.is_empty() || it.contains(&gate.name)) {
                looks += 1;
                alone |= target.weight(self.candidate) == Weight::ALL;
            }
        }
        gate.fitted(looks, alone)
    }

    /// As [`Plan::compile`], for a workload that replaces each instance in its place. Gates are asked as
    /// often, and as far on the way, as there.
    pub fn compile_in_place(delivery: &Delivery, revisions: Revisions) -> Self {
        in_place::adapted(Self::compile(delivery, revisions), delivery, revisions)
    }

    fn nothing(delivery: &Delivery, revisions: Revisions) -> Self {
        Self {
            stable: revisions.stable,
            candidate: revisions.candidate,
            replicas: revisions.replicas,
            strategy: match revisions.undo {
                true => UNDO.to_owned(),
                false => delivery.strategy.word().to_owned(),
            },
            main: Vec::new(),
            promote: Vec::new(),
            abort: Vec::new(),
            gates: Vec::new(),
            progress_deadline: delivery.progress_deadline,
        }
    }

    /// The steps of a list.
    pub fn list(&self, track: Track) -> &[Step] {
        match track {
            Track::Main => &self.main,
            Track::Promote => &self.promote,
            Track::Abort => &self.abort,
        }
    }

    /// What held before the rollout: stable with everything, or nothing at all.
    pub fn before(&self) -> Target {
        self.stable
            .map_or_else(Target::default, |it| Target::steady(it, self.replicas))
    }

    /// Whether it goes back to a revision that was stable before.
    pub fn is_undo(&self) -> bool {
        self.strategy == UNDO
    }

    /// Whether the step that is walked is a gate step that asks this gate, and its time is over at
    /// `at`.
    pub fn is_over(&self, state: &State, gate: &str, at: Timestamp) -> bool {
        let step = self.list(state.cursor.track).get(state.cursor.step);
        step.is_some_and(|step| {
            let behavior = step.behavior();
            let chosen = behavior.gates();
            chosen.is_some_and(|it| it.is_empty() || it.iter().any(|it| it == gate))
                && at >= time::after(state.since, behavior.lasts())
        })
    }

    /// The gate named `name`.
    pub fn gate(&self, name: &str) -> Option<&Gate> {
        self.gates.iter().find(|it| it.name == name)
    }
}

/// The word of a plan that goes back to a revision that was stable before.
const UNDO: &str = "undo";

fn scale(role: Role, count: u32) -> Step {
    Step::SetScale(SetScale { role, count })
}

fn weight(candidate: Weight) -> Step {
    Step::SetWeight(SetWeight { candidate })
}

fn gate(step: &GateStep) -> Step {
    Step::Gate(Gates {
        hold: step.hold,
        gates: step.gates.clone(),
    })
}

/// The end of every way forward: the old revision has no traffic any more and goes.
fn retire(revisions: Revisions, drain: Drain) -> Vec<Step> {
    match revisions.stable {
        Some(_) => vec![Step::Drain(drain), scale(Role::Stable, 0)],
        None => Vec::new(),
    }
}

fn straight(revisions: Revisions, drain: Drain) -> Vec<Step> {
    let mut steps = vec![
        scale(Role::Candidate, revisions.replicas),
        weight(Weight::ALL),
    ];
    steps.extend(retire(revisions, drain));
    steps
}

/// Back to stable. That all of its instances are ready again is no part of it: an app whose old
/// revision has lost an instance must still be able to end a rollout and begin the next.
fn back(revisions: Revisions, alone: bool, drain: Drain) -> Vec<Step> {
    let stop = Step::StopTraffic(StopTraffic {});
    match revisions.stable {
        Some(_) if alone => vec![
            stop,
            Step::Drain(drain),
            scale(Role::Candidate, 0),
            Step::GiveBack(GiveBack {}),
        ],
        Some(_) => vec![
            Step::GiveBack(GiveBack {}),
            Step::Drain(drain),
            scale(Role::Candidate, 0),
        ],
        None => vec![stop, scale(Role::Candidate, 0)],
    }
}

/// The old is stopped before the new is started.
fn one_at_a_time(replicas: u32, drain: Drain) -> Vec<Step> {
    vec![
        Step::StopTraffic(StopTraffic {}),
        Step::Drain(drain),
        scale(Role::Stable, 0),
        scale(Role::Candidate, replicas),
        weight(Weight::ALL),
    ]
}

fn main(strategy: &Strategy, revisions: Revisions, drain: Drain) -> Vec<Step> {
    let mut steps = match strategy {
        Strategy::Canary(it) => canary(it, revisions.replicas),
        Strategy::BlueGreen(it) => blue_green(it, revisions.replicas),
        Strategy::Rolling(it) => rolling(it, revisions.replicas, drain),
        Strategy::Recreate(it) => recreate(it, revisions.replicas, drain),
    };
    if !steps.contains(&scale(Role::Stable, 0)) {
        steps.extend(retire(revisions, drain));
    }
    steps
}

/// Scale before weight, always: traffic never meets instances that are not there yet.
fn canary(canary: &Canary, replicas: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut scaled, mut floor, mut given) = (0, 0, Weight::ZERO);
    let scale_to = |steps: &mut Vec<Step>, scaled: &mut u32, wanted: u32| {
        if wanted != *scaled {
            steps.push(scale(Role::Candidate, wanted));
            *scaled = wanted;
        }
    };
    let give = |steps: &mut Vec<Step>, scaled: &mut u32, to: Weight, floor: u32| {
        let wanted = to.instances(replicas).max(floor);
        let more = wanted.max(*scaled);
        scale_to(steps, scaled, more);
        steps.push(weight(to));
        // Going down, instances leave only after their traffic.
        scale_to(steps, scaled, wanted);
    };
    // While a route rule names the candidate, somebody of it must be there to answer.
    let mut ruled = BTreeSet::new();
    let least = |floor: u32, ruled: &BTreeSet<&String>| floor.max(u32::from(!ruled.is_empty()));
    for step in &canary.steps {
        match step {
            CanaryStep::SetWeight(to) => {
                give(&mut steps, &mut scaled, *to, least(floor, &ruled));
                given = *to;
                if given == Weight::ALL {
                    ruled.clear();
                }
            }
            CanaryStep::SetScale(count) => {
                floor = count.up(replicas);
                scale_to(
                    &mut steps,
                    &mut scaled,
                    given.instances(replicas).max(least(floor, &ruled)),
                );
            }
            CanaryStep::Pause(hold) => steps.push(Step::Pause(Pause { hold: *hold })),
            CanaryStep::Gate(it) => steps.push(gate(it)),
            CanaryStep::Approve(it) => steps.push(Step::Approve(Approve::from(it))),
            CanaryStep::SetRule(it) => {
                match &it.rule {
                    Some(_) => ruled.insert(&it.name),
                    None => ruled.remove(&it.name),
                };
                if it.rule.is_some() && scaled == 0 {
                    scale_to(&mut steps, &mut scaled, 1);
                }
                steps.push(Step::SetRule(it.clone()));
            }
        }
    }
    if given < Weight::ALL {
        give(&mut steps, &mut scaled, Weight::ALL, 0);
    }
    steps.extend(canary.bake.map(|hold| Step::Bake(Bake { hold })));
    steps
}

fn blue_green(it: &BlueGreen, replicas: u32) -> Vec<Step> {
    let mut steps = vec![scale(Role::Candidate, replicas)];
    steps.extend(it.approve.iter().map(|it| Step::Approve(Approve::from(it))));
    if !it.auto_promote {
        steps.push(Step::Pause(Pause { hold: None }));
    }
    steps.push(weight(Weight::ALL));
    steps.extend(it.gate.iter().map(gate));
    steps.extend(it.bake.map(|hold| Step::Bake(Bake { hold })));
    steps
}

/// Batches as Kubernetes makes them: never more than replicas + surge instances, never fewer than
/// replicas - unavailable of them ready. Weight follows the instances.
fn rolling(rolling: &Rolling, replicas: u32, drain: Drain) -> Vec<Step> {
    let surge = rolling.max_surge.up(replicas);
    let unavailable = rolling.max_unavailable.down(replicas).min(replicas);
    // Percentages can both round to nothing; Kubernetes then allows one unavailable.
    let unavailable = if surge == 0 {
        unavailable.max(1)
    } else {
        unavailable
    };
    let (mut stable, mut candidate) = (replicas, 0);
    let mut steps = Vec::new();
    while candidate < replicas {
        let most = replicas.saturating_add(surge);
        let room = most.saturating_sub(stable.saturating_add(candidate));
        let up = room.min(replicas - candidate);
        if up > 0 {
            candidate += up;
            steps.push(scale(Role::Candidate, candidate));
            steps.push(weight(Weight::of(
                u64::from(candidate),
                u64::from(replicas),
            )));
            steps.extend(rolling.gate.iter().map(gate));
        }
        if candidate == replicas {
            break;
        }
        // The last stable instance carries its share until all traffic has left it.
        let keep = replicas.saturating_sub(unavailable.saturating_add(candidate));
        let keep = keep.max(1);
        if keep < stable {
            stable = keep;
            steps.push(scale(Role::Stable, stable));
        } else if up == 0 {
            // Without surge the last one must go before the last candidate can come.
            match candidate {
                0 => steps.push(Step::StopTraffic(StopTraffic {})),
                _ => steps.push(weight(Weight::ALL)),
            }
            stable = 0;
            steps.extend([Step::Drain(drain), scale(Role::Stable, 0)]);
        }
    }
    steps
}

fn recreate(recreate: &Recreate, replicas: u32, drain: Drain) -> Vec<Step> {
    let mut steps = one_at_a_time(replicas, drain);
    steps.extend(recreate.gate.iter().map(gate));
    steps
}
