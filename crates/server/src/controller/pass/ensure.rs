//! The effects of a pass: the target of the committed state goes to the router, then to the workload.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use drivers::{DriverError, Routes, RulesTo, workload::WorkloadTarget};
use rollout::{
    Observation, Phase, Plan, Reason, Revision, State, Target, Weight,
    observation::{Instance, InstanceState},
};
use store::PassInput;

use super::{Pass, Scene};
use crate::{
    controller::{
        crash_point::crash_point,
        observe,
        troubles::{Condition, Part},
    },
    live::Obstacle,
};

type Shares = BTreeMap<Revision, Weight>;

/// What the router is to give.
pub(super) struct Given {
    pub(super) shares: Shares,
    pub(super) rules: Option<RulesTo>,
}

impl Given {
    /// All to whom the app is at rest with.
    pub(super) fn shares(shares: Shares) -> Self {
        Self {
            shares,
            rules: None,
        }
    }
}

/// What the router is to give now; `None`: leave it as it is.
pub(super) fn given(
    plan: &Plan,
    state: &State,
    target: &Target,
    observation: &Observation,
) -> Option<Given> {
    let shares = rollout::routes(plan, state, target, observation)?;
    let rules = rollout::rules(plan, state, target, observation);
    let revision = plan.candidate;
    let rules = (!rules.is_empty()).then_some(RulesTo { revision, rules });
    Some(Given { shares, rules })
}

/// What became of a pass's effects.
#[derive(Default)]
pub(super) struct Ensured {
    /// The world does not show its target yet.
    pub(super) unseen: bool,
    /// What does not work.
    pub(super) obstacles: Vec<Obstacle>,
}

/// What keeps a part of the world from its target.
struct Hindrance {
    text: String,
    pending: bool,
}

impl Hindrance {
    fn unread(text: String) -> Self {
        Self {
            text,
            pending: false,
        }
    }

    fn condition(&self) -> Condition<'_> {
        match self.pending {
            true => Condition::Waits(&self.text),
            false => Condition::Fails(&self.text),
        }
    }
}

impl From<DriverError> for Hindrance {
    fn from(error: DriverError) -> Self {
        Self {
            text: error.to_string(),
            pending: error.pending,
        }
    }
}

impl Pass {
    /// Brings the world to the target, as far as it can be read.
    pub(super) async fn ensure(
        &self,
        input: &PassInput,
        scene: &Scene,
        target: &Target,
        given: Option<Given>,
    ) -> Ensured {
        // A replica that may have lost its lease writes nothing more (invariant I7).
        let may_act = || self.shared.service.leases.may_act_under(&input.fence);
        let mut router = scene.observation.routes.trouble().map(Hindrance::unread);
        let mut workload = scene.observation.workload.trouble().map(Hindrance::unread);
        let mut unseen = !may_act();
        if workload.is_none() && !unseen {
            let in_use = in_use(&scene.observation, given.as_ref());
            let mut fenced = false;
            if let Some(given) = given {
                unseen = !close(&scene.observation, &given);
                match self.ensure_routes(input, scene, target, given).await {
                    Ok(()) => fenced = true,
                    Err(error) => router = Some(error.into()),
                }
            }
            crash_point("after-routes");
            let wanted = WorkloadTarget {
                scales: target.scales.clone(),
                whole: scene.whole,
                held: held(scene, target, fenced),
                epoch: input.fence.epoch,
                revisions: Vec::new(),
                in_use,
            };
            unseen |= !wanted.held.is_empty();
            match may_act() {
                true => {
                    let ensured = self.ensure_instances(scene, &wanted).await;
                    workload = ensured.err().map(Hindrance::from);
                }
                false => unseen = true,
            }
        }
        let mut obstacles = Vec::new();
        for (part, hindrance) in [(Part::Router, &router), (Part::Workload, &workload)] {
            let now = hindrance
                .as_ref()
                .map_or(Condition::Works, Hindrance::condition);
            self.note(part, now);
            if let Condition::Fails(detail) = now {
                self.shared.service.metrics.driver_failed(part.word());
                obstacles.push(Obstacle {
                    part: part.word(),
                    detail: detail.to_owned(),
                });
            }
        }
        Ensured {
            unseen: unseen || router.is_some() || workload.is_some(),
            obstacles,
        }
    }

    async fn ensure_routes(
        &self,
        input: &PassInput,
        scene: &Scene,
        target: &Target,
        given: Given,
    ) -> Result<(), DriverError> {
        let instances = scene.observation.workload.known().into_iter().flatten();
        let instances: BTreeMap<_, _> = instances
            .map(|(revision, it)| (*revision, it.instances.clone()))
            .collect();
        let present = instances.keys().chain(target.scales.keys()).copied();
        let wanted = Routes {
            weights: given.shares,
            rules: given.rules,
            present: present.collect(),
            instances,
            epoch: input.fence.epoch,
        };
        let router = scene.bindings.traffic.driver();
        router
            .ensure(&self.shared.service.cx, &self.app, &wanted)
            .await
    }

    async fn ensure_instances(
        &self,
        scene: &Scene,
        wanted: &WorkloadTarget,
    ) -> Result<(), DriverError> {
        let mut ensured = Ok(());
        for (config, revisions) in observe::by_kind(&scene.specs) {
            let wanted = WorkloadTarget {
                revisions,
                ..wanted.clone()
            };
            let workload = config.driver();
            let one = workload
                .ensure(&self.shared.service.cx, &self.app, &wanted)
                .await;
            ensured = ensured.and(one);
        }
        ensured
    }

    /// How long an alert took to reach the router: noted by the pass that found the candidate with
    /// traffic and took it away.
    pub(super) fn note_alert(&self, plan: &Plan, state: &State, observation: &Observation) {
        let Some(abort) = state.abort.as_ref() else {
            return;
        };
        let had = observation
            .share(plan.candidate)
            .is_some_and(|it| it > Weight::ZERO);
        if had && state.phase == Phase::Aborting && matches!(abort.reason, Reason::Alert { .. }) {
            let latency = self.shared.service.leases.now().duration_since(abort.at);
            self.shared
                .service
                .metrics
                .alert_routed(Duration::try_from(latency).unwrap_or_default());
        }
    }
}

/// Whether an app at rest is as it should be: every instance ready and routed to. Until then the
/// drivers go on watching it.
pub(super) fn settled(observation: &Observation, stable: Revision, replicas: u32) -> bool {
    let Some(routes) = observation.routes.known() else {
        return false;
    };
    let status = observation.revision(stable).unwrap_or_default();
    let routed = |it: &Instance| {
        let address = it.address.as_ref();
        routes.in_use.contains(&it.name) || address.is_some_and(|it| routes.in_use.contains(it))
    };
    let well = |it: &Instance| it.state == InstanceState::Ready && routed(it);
    status.ready >= replicas && status.instances.iter().all(well)
}

/// The revisions that must not get their first instance yet: by merely existing it would get
/// traffic, and the router has not fenced it off (`fenced`: it just has).
fn held(scene: &Scene, target: &Target, fenced: bool) -> BTreeSet<Revision> {
    let isolates = scene.bindings.traffic.driver().capabilities().isolates;
    if isolates || fenced {
        return BTreeSet::new();
    }
    let status = |revision| scene.observation.revision(revision).unwrap_or_default();
    let none_yet = |revision: &&Revision| status(**revision).total == 0;
    target.scales.keys().filter(none_yet).copied().collect()
}

/// What may get requests while the instances are brought to their numbers: what the data plane
/// routed to when it was read, and what it was told since to route to. `None`: not known.
fn in_use(observation: &Observation, given: Option<&Given>) -> Option<BTreeSet<String>> {
    let mut in_use: BTreeSet<String> = observation.routes.known()?.in_use.iter().cloned().collect();
    let shares = given.into_iter().flat_map(|it| &it.shares);
    let shares = shares.filter(|(_, weight)| **weight > Weight::ZERO);
    let ruled = given.and_then(|it| it.rules.as_ref());
    let gains = shares.map(|(revision, _)| *revision);
    for revision in gains.chain(ruled.map(|it| it.revision)) {
        let status = observation.revision(revision).unwrap_or_default();
        let routed = status.instances.into_iter().filter(|it| match it.state {
            InstanceState::Starting | InstanceState::Ready | InstanceState::NotReady => true,
            InstanceState::Draining | InstanceState::Exited => false,
        });
        in_use.extend(routed.map(|it| it.name));
    }
    Some(in_use)
}

/// Whether the routes seen are those wanted, shares within the router's granularity.
fn close(observation: &Observation, given: &Given) -> bool {
    let Some(routes) = observation.routes.known() else {
        return false;
    };
    let rules = given.rules.iter().flat_map(|it| it.rules.keys());
    if !routes.rules.iter().eq(rules) {
        return false;
    }
    let wanted = &given.shares;
    let of = |shares: &Shares, revision| shares.get(revision).copied().unwrap_or(Weight::ZERO);
    let revisions: BTreeSet<&Revision> = routes.shares.keys().chain(wanted.keys()).collect();
    revisions.into_iter().all(|revision| {
        let (seen, wanted) = (of(&routes.shares, revision), of(wanted, revision));
        let exact = wanted == Weight::ZERO || wanted == Weight::ALL;
        seen == wanted || (!exact && seen.distance(wanted) <= routes.tolerance)
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rollout::{
        Fact,
        observation::{ObservedRoutes, RevisionStatus},
    };

    use super::*;

    #[test]
    fn what_was_just_given_traffic_is_in_use_before_it_is_seen_to_be() {
        let instance = |name: &str, state| Instance {
            name: name.to_owned(),
            address: None,
            state,
            restarts: 0,
        };
        let known = |instances| RevisionStatus {
            instances,
            ..RevisionStatus::default()
        };
        let (stable, candidate) = (Revision(1), Revision(2));
        let workload = BTreeMap::from([
            (stable, known(vec![instance("r1-1", InstanceState::Ready)])),
            (
                candidate,
                known(vec![
                    instance("r2-1", InstanceState::Ready),
                    instance("r2-2", InstanceState::Draining),
                ]),
            ),
        ]);
        let routes = ObservedRoutes {
            shares: BTreeMap::from([(stable, Weight::ALL)]),
            tolerance: Weight::ZERO,
            in_use: vec!["r1-1".to_owned()],
            foreign: Vec::new(),
            rules: BTreeSet::new(),
        };
        let observed_at = Timestamp::UNIX_EPOCH;
        let mut observation = Observation {
            workload: Fact::Known {
                value: workload,
                observed_at,
            },
            routes: Fact::Known {
                value: routes,
                observed_at,
            },
            gates: BTreeMap::new(),
            readable_since: None,
            freezes: Vec::new(),
        };
        let names = |it: Option<BTreeSet<String>>| it.map(|it| it.into_iter().collect::<Vec<_>>());
        let some = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        let gives = Given::shares(Shares::from([(candidate, Weight::ALL)]));
        assert_eq!(names(in_use(&observation, None)), some(&["r1-1"]));
        let both = some(&["r1-1", "r2-1"]);
        assert_eq!(names(in_use(&observation, Some(&gives))), both);
        assert!(!close(&observation, &gives));
        observation.routes = Fact::Unknown { why: String::new() };
        assert_eq!(in_use(&observation, Some(&gives)), None);
    }
}
