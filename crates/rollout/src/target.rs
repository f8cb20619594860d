//! What must hold now: computed from the committed plan and state, never remembered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    freeze::holds,
    observation::Observation,
    plan::Plan,
    revision::Revision,
    route_rule::RouteRule,
    state::{Phase, State, Track},
    weight::Weight,
};

/// What must hold: instances and share of traffic by revision, and whether gates are measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// How many instances each revision must have. A revision that is absent must have none.
    pub scales: BTreeMap<Revision, u32>,
    /// The share each revision is asked to carry; sums to all, or empty: nothing gets traffic.
    pub weights: BTreeMap<Revision, Weight>,
    /// What reaches the candidate beside its share, by the rule's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, RouteRule>,
    /// Whether the rollout's gates are measured now.
    pub measure: bool,
}

impl Target {
    /// An app at rest: one revision with all instances and all traffic.
    pub fn steady(revision: Revision, replicas: u32) -> Self {
        Self {
            scales: BTreeMap::from([(revision, replicas)]),
            weights: BTreeMap::from([(revision, Weight::ALL)]),
            rules: BTreeMap::new(),
            measure: false,
        }
    }

    /// The share asked for `revision`.
    pub fn weight(&self, revision: Revision) -> Weight {
        self.weights.get(&revision).copied().unwrap_or(Weight::ZERO)
    }

    /// The instances asked for `revision`.
    pub fn scale(&self, revision: Revision) -> u32 {
        self.scales.get(&revision).copied().unwrap_or(0)
    }

    pub(crate) fn set_weights(&mut self, plan: &Plan, candidate: Weight) {
        self.weights.clear();
        self.weights.insert(plan.candidate, candidate);
        if let Some(stable) = plan.stable {
            self.weights.insert(stable, candidate.rest());
        }
    }
}

/// What must hold for a rollout in `state`.
pub fn target(plan: &Plan, state: &State) -> Target {
    match state.phase {
        Phase::Pending | Phase::Cancelled => Target {
            measure: false,
            ..state.base.clone()
        },
        Phase::Succeeded => Target::steady(plan.candidate, plan.replicas),
        Phase::RolledBack => plan.before(),
        Phase::Progressing | Phase::Paused | Phase::Promoting | Phase::Aborting => {
            let mut target = state.base.clone();
            let steps = plan
                .list(state.cursor.track)
                .iter()
                .take(state.cursor.step + 1);
            steps.for_each(|step| step.behavior().apply(plan, &mut target));
            let current = plan.list(state.cursor.track).get(state.cursor.step);
            let asked = current.is_some_and(|it| it.behavior().gates().is_some());
            target.measure = state.cursor.track != Track::Abort
                && (asked || target.weight(plan.candidate) > Weight::ZERO)
                && plan.stable.is_some();
            target
        }
    }
}

/// The shares to give now, within what is ready; `None`: leave the routes as they are.
///
/// The capacity rule: the candidate never gets more than its ready instances can carry, so a
/// candidate that dies at 50 % hands its traffic back at once. If no stable instance is ready
/// traffic does not move: moving it could only break what still works (Flagger #1898 sent
/// everything to a broken primary).
pub fn routes(
    plan: &Plan,
    state: &State,
    target: &Target,
    observation: &Observation,
) -> Option<BTreeMap<Revision, Weight>> {
    observation.workload.known()?;
    match state.phase {
        // Not its turn, or it never was: the routes belong to another rollout.
        Phase::Pending | Phase::Cancelled => return None,
        Phase::Progressing
        | Phase::Paused
        | Phase::Promoting
        | Phase::Aborting
        | Phase::Succeeded
        | Phase::RolledBack => {}
    }
    if target.weights.is_empty() {
        return Some(BTreeMap::new());
    }
    let ready = observation.ready(plan.candidate);
    let alone = state.phase == Phase::Succeeded || plan.stable == Some(plan.candidate);
    let Some(stable) = plan.stable.filter(|_| !alone) else {
        // Nobody else serves, so freeze windows have nothing to protect.
        return (ready > 0).then(|| target.weights.clone());
    };
    let stable_ready = observation.ready(stable);
    let candidate = match state.cursor.track {
        Track::Main | Track::Promote => {
            let most = may_have(plan, target, ready, stable_ready);
            as_frozen(plan, state, observation, (most, stable_ready))?
        }
        Track::Abort => kept_while_returning(plan, state, observation)?,
    };
    if candidate < Weight::ALL && stable_ready == 0 {
        return None;
    }
    let shares = [(plan.candidate, candidate), (stable, candidate.rest())];
    Some(
        shares
            .into_iter()
            .filter(|(_, it)| *it > Weight::ZERO)
            .collect(),
    )
}

/// The route rules to have now: none on the way back or straight ahead, and none while nobody of the
/// candidate can answer.
pub fn rules(
    plan: &Plan,
    state: &State,
    target: &Target,
    observation: &Observation,
) -> BTreeMap<String, RouteRule> {
    let forward = match state.phase {
        Phase::Progressing | Phase::Paused => state.cursor.track == Track::Main,
        Phase::Pending
        | Phase::Promoting
        | Phase::Aborting
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Cancelled => false,
    };
    let two = plan.stable.is_some_and(|it| it != plan.candidate);
    match forward && two && observation.ready(plan.candidate) > 0 {
        true if is_frozen(plan, state, observation) => had(&target.rules, observation),
        true => target.rules.clone(),
        false => BTreeMap::new(),
    }
}

/// The rules that the data plane has already: none begins in a freeze window.
fn had(
    rules: &BTreeMap<String, RouteRule>,
    observation: &Observation,
) -> BTreeMap<String, RouteRule> {
    let seen = observation.routes.known();
    let has = |name: &String| seen.is_some_and(|it| it.rules.contains(name));
    let kept = rules.iter().filter(|(name, _)| has(name));
    kept.map(|(name, it)| (name.clone(), it.clone())).collect()
}

/// What the candidate may have on the way forward: what is asked for it, as far as it can carry
/// that. Once stable is to have no instances nobody else can carry the rest.
fn may_have(plan: &Plan, target: &Target, ready: u32, stable_ready: u32) -> Weight {
    let asked = target.weight(plan.candidate);
    let stable_goes = plan.stable.is_none_or(|it| target.scale(it) == 0);
    if ready > 0 && asked == Weight::ALL && (stable_goes || stable_ready == 0) {
        return Weight::ALL;
    }
    asked.min(capacity(plan, target, ready))
}

fn is_frozen(plan: &Plan, state: &State, observation: &Observation) -> bool {
    !state.phase.is_terminal() && holds(plan, state, &observation.freezes).is_some()
}

/// While a freeze window is on that holds rollouts, whoever else holds this one, its candidate gets
/// no more than it has, though its step asks for more: it may have been on the way there when the
/// window began. Were stable gone, there would be nobody else to serve. `None`: what it has cannot
/// be read.
fn as_frozen(
    plan: &Plan,
    state: &State,
    observation: &Observation,
    (most, stable_ready): (Weight, u32),
) -> Option<Weight> {
    match is_frozen(plan, state, observation) && stable_ready > 0 && most > Weight::ZERO {
        true => observation.share(plan.candidate).map(|it| it.min(most)),
        false => Some(most),
    }
}

/// What the candidate keeps during an abort. Nothing, once stable can carry the app; when the plan
/// had scaled stable down (rolling), the candidate keeps what the returning stable instances
/// cannot carry yet: never more than the plan had given it, than it can carry, or than the data
/// plane says it has. `None`: it would keep something, and what it has cannot be read.
fn kept_while_returning(plan: &Plan, state: &State, observation: &Observation) -> Option<Weight> {
    let was_scaled_down = plan
        .stable
        .is_some_and(|it| state.base.scale(it) < plan.replicas);
    let returning = state.cursor.step == 0;
    let ready = observation.ready(plan.candidate);
    if !was_scaled_down || !returning || ready == 0 {
        return Some(Weight::ZERO);
    }
    let stable_ready = plan.stable.map_or(0, |it| observation.ready(it));
    let missing = Weight::of(u64::from(stable_ready), u64::from(plan.replicas)).rest();
    let had = state.base.weight(plan.candidate);
    let kept = had.min(missing).min(capacity(plan, &state.base, ready));
    match kept {
        Weight::ZERO => Some(Weight::ZERO),
        kept => observation.share(plan.candidate).map(|it| it.min(kept)),
    }
}

/// The share that `ready` candidate instances can carry: their part of the app's replicas, or of
/// the instances to which the plan itself gives more. (A rolling update without surge asks the
/// replicas less one to carry everything while the last one is exchanged.)
pub(crate) fn capacity(plan: &Plan, target: &Target, ready: u32) -> Weight {
    let of_replicas = Weight::of(u64::from(ready), u64::from(plan.replicas));
    let asked = u64::from(target.weight(plan.candidate).hundredths());
    let scale = u64::from(target.scale(plan.candidate)).max(1);
    let part = u64::from(ready).min(scale) * asked / scale;
    let of_plan = Weight::from_hundredths(u32::try_from(part).unwrap_or(u32::MAX));
    of_replicas.max(of_plan)
}
