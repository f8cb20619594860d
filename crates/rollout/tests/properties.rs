//! Random worlds, clocks, orders and crashes: whatever happens the invariants hold, an abort wins,
//! a wait has a reason, and once the world behaves every rollout ends.
//!
//! A case plays a list of random events against a simulated world which follows `target` and
//! `routes` with delays, then lets the world behave and waits for the end. proptest prints the
//! smallest case that fails, and keeps its seed beside this file.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};
use rollout::{
    Advance, Command, Delivery, Event, Fact, Freeze, Observation, Order, Outcome, Phase, Plan,
    Revision, Revisions, Running, State, Step, Target, Track, WaitingOn, Weight, advance, command,
    document,
    gate::{Gates, Measurement, NoDataCause, Reading, Verdict},
    invariants,
    observation::{InstanceProblem, ObservedRoutes, ProblemKind, RevisionStatus},
    refused_by_freeze, routes, rules, target,
};
use serde_json::{Value, json};

const STABLE: Revision = Revision(1);
const CANDIDATE: Revision = Revision(2);
/// Passes within which every rollout ends once the world behaves: some forty steps, each with a
/// few passes for its effect and a dozen measurements.
const PASSES_MAX: usize = 1500;

/// An instance of the simulated workload.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Instance {
    Starting(u8),
    Ready,
    Unready,
    Stopping(u8),
}

/// What happens next.
#[derive(Debug, Clone)]
enum Happening {
    Pass,
    /// A pass that dies between commit and ensure.
    Crash,
    Clock(u32),
    Unready(bool, u8),
    Recover(bool),
    Healthy(bool, bool),
    CrashLoop(bool),
    WorkloadKnown(bool),
    RouterKnown(bool),
    RouterLag(u8),
    RouterForgets,
    Measure(usize, i8),
    Given(usize, u8),
    Freeze(Option<bool>),
}

#[derive(Debug, Clone)]
struct Case {
    file: Value,
    replicas: u32,
    kind: Kind,
    coarse: bool,
    happenings: Vec<Happening>,
    /// What the gates read once the world behaves.
    good: bool,
    /// A freeze window goes on for ever then: what it holds is aborted.
    frozen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Update,
    Install,
    Undo,
}

fn duration() -> impl Strategy<Value = String> {
    prop_oneof![Just("5s"), Just("30s"), Just("1m"), Just("2m"), Just("10m")]
        .prop_map(str::to_owned)
}

fn canary_step(gated: bool) -> BoxedStrategy<Value> {
    let weight = prop_oneof![
        (0u32..=100).prop_map(|it| json!(it)),
        (0u32..=10_000).prop_map(|it| json!(f64::from(it) / 100.0)),
    ];
    let mut steps = vec![
        weight.prop_map(|it| json!({ "setWeight": it })).boxed(),
        (0u32..15).prop_map(|it| json!({ "setScale": it })).boxed(),
        (0u32..=100)
            .prop_map(|it| json!({ "setScale": format!("{it}%") }))
            .boxed(),
        duration().prop_map(|it| json!({ "pause": it })).boxed(),
        Just(json!({ "pause": {} })).boxed(),
        (1u32..=3)
            .prop_map(|it| json!({ "approve": { "count": it } }))
            .boxed(),
        (0u32..2, any::<bool>())
            .prop_map(|(it, there)| {
                let testers = json!([{ "headerName": "X-Tester", "headerValue": { "exact": "yes" } }]);
                json!({ "setHeaderRoute": { "name": format!("testers-{it}"), "match": there.then_some(testers) } })
            })
            .boxed(),
        (0u32..=100)
            .prop_map(|it| json!({ "setMirrorRoute": { "name": "copies", "percentage": it } }))
            .boxed(),
    ];
    if gated {
        steps.push(
            duration()
                .prop_map(|it| json!({ "gate": { "for": it } }))
                .boxed(),
        );
    }
    proptest::strategy::Union::new(steps).boxed()
}

fn count() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0u32..=13).prop_map(|it| json!(it)),
        (0u32..=100).prop_map(|it| json!(format!("{it}%"))),
    ]
}

fn strategy(gated: bool) -> BoxedStrategy<Value> {
    let gate = || match gated {
        true => prop::option::of(duration().prop_map(|it| json!({ "for": it }))).boxed(),
        false => Just(None).boxed(),
    };
    let bake = || prop::option::of(duration());
    let canary = (prop::option::of(vec(canary_step(gated), 1..9)), bake())
        .prop_map(|(steps, bake)| json!({ "canary": { "steps": steps, "bake": bake } }));
    let blue_green = (any::<bool>(), prop::option::of(1u32..=2), gate(), bake()).prop_map(
        |(auto, approve, gate, bake)| {
            let approve = approve.map(|it| json!({ "count": it }));
            json!({ "blueGreen": { "autoPromote": auto, "approve": approve, "gate": gate, "bake": bake } })
        },
    );
    let rolling = (count(), count(), gate()).prop_map(|(surge, unavailable, gate)| {
        json!({ "rolling": { "maxSurge": surge, "maxUnavailable": unavailable, "gate": gate } })
    });
    let recreate = gate().prop_map(|it| json!({ "recreate": { "gate": it } }));
    prop_oneof![4 => canary, 2 => blue_green, 4 => rolling, 1 => recreate].boxed()
}

fn gates() -> impl Strategy<Value = Vec<Value>> {
    let policy = || prop_oneof![Just("rollback"), Just("pause")];
    let gate = (policy(), policy(), policy(), 1u32..3, 1u32..3);
    vec(gate, 0..3).prop_map(|gates| {
        let gates = gates.into_iter().enumerate();
        gates
            .map(|(index, (fail, inconclusive, no_data, fail_after, pass_after))| {
                json!({
                    "name": format!("gate-{index}"), "interval": "10s",
                    "onFail": fail, "onInconclusive": inconclusive, "onNoData": no_data,
                    "threshold": {
                        "query": "q", "below": 0.5, "failAfter": fail_after, "passAfter": pass_after,
                    },
                })
            })
            .collect()
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => Just(Happening::Pass),
        2 => Just(Happening::Crash),
        4 => (1u32..130).prop_map(Happening::Clock),
        1 => (1u32..200_000).prop_map(Happening::Clock),
        2 => (any::<bool>(), 1u8..6).prop_map(|(stable, count)| Happening::Unready(stable, count)),
        2 => any::<bool>().prop_map(Happening::Recover),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(stable, it)| Happening::Healthy(stable, it)),
        1 => prop::bool::weighted(0.3).prop_map(Happening::CrashLoop),
        1 => any::<bool>().prop_map(Happening::WorkloadKnown),
        1 => any::<bool>().prop_map(Happening::RouterKnown),
        1 => (0u8..4).prop_map(Happening::RouterLag),
        1 => Just(Happening::RouterForgets),
        5 => (0usize..3, -1i8..2).prop_map(|(gate, reading)| Happening::Measure(gate, reading)),
        2 => prop::option::of(any::<bool>()).prop_map(Happening::Freeze),
        4 => (0usize..12, 0u8..3).prop_map(|(order, by)| Happening::Given(order, by)),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let kind =
        prop_oneof![8 => Just(Kind::Update), 1 => Just(Kind::Install), 1 => Just(Kind::Undo)];
    (
        gates(),
        duration(),
        kind,
        1u32..=12,
        any::<(bool, bool)>(),
        any::<bool>(),
    )
        .prop_flat_map(
            |(gates, deadline, kind, replicas, (coarse, good), frozen)| {
                (strategy(!gates.is_empty()), vec(happening(), 0..80)).prop_map(
                    move |(strategy, happenings)| Case {
                        file: json!({
                            "strategy": strategy, "gates": gates, "progressDeadline": deadline,
                        }),
                        replicas,
                        kind,
                        coarse,
                        happenings,
                        good,
                        frozen,
                    },
                )
            },
        )
}

/// Goes through JSON, as through the database, and must come out the same.
fn reloaded<T>(value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_string(value).unwrap();
    let back: T = serde_json::from_str(&json).unwrap();
    assert_eq!(&back, value, "{json}");
    back
}

/// What a router has.
type Table = (BTreeMap<Revision, Weight>, BTreeSet<String>);

/// The world, the committed state, and what the checks remember.
#[derive(Debug)]
struct World {
    plan: Plan,
    state: State,
    gates: Gates,
    now: Timestamp,
    instances: BTreeMap<Revision, Vec<Instance>>,
    unhealthy: BTreeSet<Revision>,
    crash_loop: bool,
    shares: BTreeMap<Revision, Weight>,
    rules: BTreeSet<String>,
    written: Option<(Table, u8)>,
    lag: u8,
    coarse: bool,
    workload_known: bool,
    router_known: bool,
    aborted: bool,
    /// The most that the candidate can still get to have after an abort.
    ceiling: Weight,
    freeze: Option<Running>,
    /// What the candidate had when a window began to hold it.
    frozen_at: Option<Weight>,
}

impl World {
    fn new(case: &Case) -> Option<Self> {
        let read = |it: &document::Reader<'_>| Delivery::read(&it.object(&Delivery::KEYS)?);
        let delivery = document::read(&case.file, read).ok()?;
        let plan = Plan::compile(
            &delivery,
            Revisions {
                stable: (case.kind != Kind::Install).then_some(STABLE),
                candidate: CANDIDATE,
                replicas: case.replicas,
                undo: case.kind == Kind::Undo,
            },
        );
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let before = plan.before();
        let instances = before.scales.iter();
        let instances = instances
            .map(|(revision, count)| (*revision, vec![Instance::Ready; *count as usize]))
            .collect();
        Some(Self {
            plan: reloaded(&plan),
            state: State::new(now),
            gates: Gates::default(),
            now,
            instances,
            unhealthy: BTreeSet::new(),
            crash_loop: false,
            shares: before.weights,
            rules: BTreeSet::new(),
            written: None,
            lag: 0,
            coarse: case.coarse,
            workload_known: true,
            router_known: true,
            aborted: false,
            ceiling: Weight::ALL,
            freeze: None,
            frozen_at: None,
        })
    }

    fn status(&self, revision: Revision) -> RevisionStatus {
        let instances = self.instances.get(&revision).cloned().unwrap_or_default();
        let count = |it: &dyn Fn(&Instance) -> bool| {
            u32::try_from(instances.iter().filter(|one| it(one)).count()).unwrap()
        };
        let looping = self.crash_loop && revision == CANDIDATE && !instances.is_empty();
        let problem = looping.then(|| InstanceProblem {
            kind: ProblemKind::CrashLoop,
            instance: None,
            detail: "exit code 1".to_owned(),
        });
        RevisionStatus {
            desired: count(&|_| true),
            total: count(&|_| true),
            ready: count(&|it| *it == Instance::Ready),
            instances: Vec::new(),
            problems: problem.into_iter().collect(),
        }
    }

    fn observe(&self) -> Observation {
        let unknown = || "it does not answer".to_owned();
        let workload = match self.workload_known {
            true => Fact::Known {
                value: self
                    .instances
                    .keys()
                    .map(|it| (*it, self.status(*it)))
                    .collect(),
                observed_at: self.now,
            },
            false => Fact::Unknown { why: unknown() },
        };
        let routes = match self.router_known {
            true => Fact::Known {
                value: ObservedRoutes {
                    shares: self.shares.clone(),
                    tolerance: Weight::from_hundredths(if self.coarse { 100 } else { 0 }),
                    in_use: Vec::new(),
                    foreign: Vec::new(),
                    rules: self.rules.clone(),
                },
                observed_at: self.now,
            },
            false => Fact::Unknown { why: unknown() },
        };
        Observation {
            workload,
            routes,
            gates: self.gates.at(self.state.cursor).states,
            readable_since: None,
            freezes: self.freezes(),
        }
    }

    fn freezes(&self) -> Vec<Freeze> {
        let freeze = self.freeze.map(|running| Freeze {
            window: "weekend".to_owned(),
            reason: "nobody is on call".to_owned(),
            until: self.now + SignedDuration::from_hours(1),
            running,
        });
        freeze.into_iter().collect()
    }

    /// Whether a window must keep the candidate from getting more than it has.
    fn is_frozen(&self) -> bool {
        let moves = !self.state.phase.is_terminal() && self.state.phase != Phase::Pending;
        let exempt = self.plan.is_undo() || self.state.break_glass.is_some() || self.aborted;
        self.freeze == Some(Running::Hold) && moves && !exempt
    }

    fn share(&self, revision: Revision) -> Weight {
        self.shares.get(&revision).copied().unwrap_or(Weight::ZERO)
    }

    /// One pass, as the server's. Gives the decision.
    fn pass(&mut self, dies: bool) -> Advance {
        self.time_passes();
        let observation = self.observe();
        let decision = advance(&self.plan, &self.state, &observation, self.now);
        match &decision {
            Advance::Next(next, event) => {
                self.check_step(next, event, &observation);
                self.commit(next, event);
            }
            Advance::Wait { on, look_again_at } => {
                assert_eq!(
                    on.is_none(),
                    self.state.phase.is_terminal(),
                    "I10: {:?}",
                    self.state
                );
                assert!(
                    look_again_at.is_none_or(|it| it > self.now),
                    "a timer in the past"
                );
                assert!(on.as_ref().is_none_or(|it| it.to_string().len() > 10));
            }
        }
        let target = target(&self.plan, &self.state);
        let mut broken = invariants::check(&self.plan, &self.state, &target);
        let shares = routes(&self.plan, &self.state, &target, &observation);
        if let Some(shares) = &shares {
            broken.extend(invariants::check_routes(
                &self.plan,
                &self.state,
                shares,
                &observation,
            ));
        }
        assert_eq!(broken, [], "{:#?}\n{observation:#?}", self.state);
        if !dies {
            let names = rules(&self.plan, &self.state, &target, &observation).into_keys();
            self.ensure(&target, shares.map(|it| (it, names.collect())));
        }
        decision
    }

    fn commit(&mut self, next: &State, event: &Event) {
        assert_eq!(next.generation, self.state.generation + 1);
        match event {
            Event::AbortStarted { .. } => {
                self.aborted = true;
                self.ceiling = self.most();
            }
            Event::Retried { .. } if self.state.phase == Phase::RolledBack => self.aborted = false,
            _ => {}
        }
        if self.aborted {
            let phase = next.phase;
            assert!(
                matches!(phase, Phase::Aborting | Phase::RolledBack),
                "an abort wins: {phase}"
            );
        }
        let walked = next.cursor.step == self.state.cursor.step + 1;
        let same_list = next.cursor.track == self.state.cursor.track;
        let same = next.cursor.step == self.state.cursor.step;
        let entered = next.cursor.step == 0;
        assert!(
            same_list && (walked || same) || entered,
            "a step was skipped: {event:?}"
        );
        self.state = reloaded(next);
        self.gates = reloaded(&self.gates.at(self.state.cursor));
    }

    /// A step is done only for what was seen, and nothing that has traffic is taken away.
    fn check_step(&self, next: &State, event: &Event, observation: &Observation) {
        let (before, after) = (target(&self.plan, &self.state), target(&self.plan, next));
        let began = matches!(event, Event::Started);
        for (revision, _) in before.scales.iter().filter(|_| !began) {
            if after.scale(*revision) == 0 {
                let share = observation.share(*revision);
                assert_eq!(share, Some(Weight::ZERO), "I12: {revision} goes, {event:?}");
                let ruled = *revision == CANDIDATE
                    && observation
                        .routes
                        .known()
                        .is_some_and(|it| !it.rules.is_empty());
                assert!(
                    !ruled,
                    "I12: {revision} goes, and routes name it, {event:?}"
                );
            }
        }
        let Event::StepDone { .. } = event else {
            return;
        };
        let cursor = self.state.cursor;
        let step = &self.plan.list(cursor.track)[cursor.step];
        let ordered = self.state.finish_step.is_some();
        match step {
            Step::SetWeight(it) => {
                let seen = observation.share(CANDIDATE).unwrap();
                let away = seen.distance(it.candidate);
                assert!(
                    away <= Weight::from_hundredths(100),
                    "{seen} for {}",
                    it.candidate
                );
                assert!(observation.ready(CANDIDATE) > 0 || it.candidate == Weight::ZERO);
            }
            Step::SetScale(it) => {
                let revision = match it.role {
                    rollout::Role::Stable => STABLE,
                    rollout::Role::Candidate => CANDIDATE,
                };
                assert!(observation.ready(revision) >= it.count);
            }
            Step::Gate(_) if !ordered => {
                let verdict = |it: &String| observation.gates.get(it).map(|it| it.verdict);
                let mut names = self.plan.gates.iter().map(|it| &it.name);
                assert!(names.all(|it| verdict(it) == Some(Verdict::Pass)), "I8, I9");
            }
            Step::Approve(it) if !ordered => {
                let people: BTreeSet<&String> =
                    self.state.approvals.iter().map(|it| &it.by).collect();
                assert!(people.len() >= it.count as usize, "I4");
            }
            _ => {}
        }
    }

    /// The most that the candidate has or is about to have.
    fn most(&self) -> Weight {
        let written = self
            .written
            .as_ref()
            .and_then(|((it, _), _)| it.get(&CANDIDATE).copied());
        self.share(CANDIDATE).max(written.unwrap_or(Weight::ZERO))
    }

    fn ensure(&mut self, target: &Target, table: Option<Table>) {
        if !self.workload_known || matches!(self.state.phase, Phase::Pending | Phase::Cancelled) {
            return;
        }
        // Were stable gone, there would be nobody else to serve.
        let served = self.plan.stable.is_some() && self.status(STABLE).ready > 0;
        if self.is_frozen() && served {
            let asked = table.as_ref().and_then(|it| it.0.get(&CANDIDATE).copied());
            let had = self.frozen_at.unwrap_or_else(|| self.most());
            assert!(
                asked.is_none_or(|it| it <= had),
                "a frozen candidate's share rises from {had} to {asked:?}"
            );
            self.frozen_at = Some(had.max(self.share(CANDIDATE)));
        } else {
            self.frozen_at = None;
        }
        if let Some(table) = table {
            assert!(
                table.1.is_empty() || !self.aborted,
                "I2: after an abort {:?}",
                table.1
            );
            self.written = Some((table, self.lag));
        }
        if self.aborted {
            assert!(
                self.most() <= self.ceiling,
                "after an abort the candidate's share rises"
            );
            self.ceiling = self.most();
        }
        let revisions: Vec<Revision> = self
            .instances
            .keys()
            .chain(target.scales.keys())
            .copied()
            .collect();
        for revision in revisions {
            let unhealthy = self.unhealthy.contains(&revision);
            let instances = self.instances.entry(revision).or_default();
            let wanted = target.scale(revision) as usize;
            let stays = |it: &Instance| !matches!(it, Instance::Stopping(_));
            let mut alive = instances.iter().filter(|it| stays(it)).count();
            while alive < wanted {
                instances.push(if unhealthy {
                    Instance::Unready
                } else {
                    Instance::Starting(1)
                });
                alive += 1;
            }
            for instance in instances.iter_mut().rev().filter(|it| stays(it)) {
                if alive > wanted {
                    *instance = Instance::Stopping(1);
                    alive -= 1;
                }
            }
        }
    }

    fn time_passes(&mut self) {
        for (revision, instances) in &mut self.instances {
            let healthy = !self.unhealthy.contains(revision);
            instances.retain(|it| *it != Instance::Stopping(0));
            for it in instances {
                *it = match *it {
                    Instance::Starting(0) if healthy => Instance::Ready,
                    Instance::Starting(0) => Instance::Unready,
                    Instance::Starting(more) => Instance::Starting(more - 1),
                    Instance::Stopping(more) => Instance::Stopping(more.saturating_sub(1)),
                    other => other,
                };
            }
        }
        self.written = match self.written.take() {
            Some(((shares, rules), 0)) => {
                self.shares = self.rounded(shares);
                self.rules = rules;
                None
            }
            Some((table, lag)) => Some((table, lag - 1)),
            None => None,
        };
    }

    /// A coarse router knows whole percents only.
    fn rounded(&self, shares: BTreeMap<Revision, Weight>) -> BTreeMap<Revision, Weight> {
        let candidate = shares.get(&CANDIDATE).copied().unwrap_or(Weight::ZERO);
        if !self.coarse || shares.is_empty() || self.plan.stable.is_none() {
            return shares;
        }
        let candidate = Weight::from_hundredths(candidate.hundredths() / 100 * 100);
        BTreeMap::from([(CANDIDATE, candidate), (STABLE, candidate.rest())])
    }

    fn order(&mut self, order: Order, by: u8) {
        let command_given = Command {
            order,
            by: format!("person-{by}"),
            comment: Some("because".to_owned()),
            from: None,
        };
        let freezes = self.freezes();
        let order = &command_given.order;
        if refused_by_freeze(&self.plan, &self.state, order, &freezes).is_some() {
            return;
        }
        let abort = matches!(command_given.order, Order::Abort);
        match command(&self.plan, &self.state, &command_given, self.now) {
            Ok(Outcome::Changed(next, event)) => self.commit(&next, &event),
            Ok(Outcome::Unchanged) => {}
            Err(rejection) => assert!(rejection.0.starts_with("cannot "), "{rejection}"),
        }
        let phase = self.state.phase;
        assert!(
            !abort || phase == Phase::Aborting || phase.is_terminal(),
            "an abort is heard"
        );
    }

    fn measure(&mut self, gate: usize, reading: i8) {
        let Some(gate) = self.plan.gates.get(gate).cloned() else {
            return;
        };
        let reading = match reading {
            0 => Reading::Value { value: 0.1 },
            1 => Reading::Value { value: 0.9 },
            _ => Reading::NoData {
                cause: NoDataCause::Empty,
                detail: "no series".to_owned(),
            },
        };
        let measurement = Measurement {
            at: self.now,
            reading,
        };
        self.gates = self
            .gates
            .at(self.state.cursor)
            .fold(&gate, &measurement, false);
    }

    fn happens(&mut self, happening: &Happening) {
        let revision = |stable: &bool| if *stable { STABLE } else { CANDIDATE };
        match happening {
            Happening::Pass => drop(self.pass(false)),
            Happening::Crash => drop(self.pass(true)),
            Happening::Clock(seconds) => self.now += SignedDuration::from_secs(i64::from(*seconds)),
            Happening::Unready(stable, count) => {
                let instances = self.instances.entry(revision(stable)).or_default();
                let ready = instances.iter_mut().filter(|it| **it == Instance::Ready);
                ready
                    .take(usize::from(*count))
                    .for_each(|it| *it = Instance::Unready);
            }
            Happening::Recover(stable) => self.recover(revision(stable)),
            Happening::Healthy(stable, true) => drop(self.unhealthy.remove(&revision(stable))),
            Happening::Healthy(stable, false) => drop(self.unhealthy.insert(revision(stable))),
            Happening::CrashLoop(it) => self.crash_loop = *it,
            Happening::WorkloadKnown(it) => self.workload_known = *it,
            Happening::RouterKnown(it) => self.router_known = *it,
            Happening::RouterLag(it) => self.lag = *it,
            Happening::RouterForgets => {
                self.shares.clear();
                self.rules.clear();
            }
            Happening::Freeze(it) => {
                let running = |hold| if hold { Running::Hold } else { Running::Finish };
                self.freeze = it.map(running);
            }
            Happening::Measure(gate, reading) => self.measure(*gate, *reading),
            Happening::Given(order, by) => {
                let order = orders().swap_remove(*order);
                self.order(order, *by);
            }
        }
    }

    fn recover(&mut self, revision: Revision) {
        for it in self.instances.entry(revision).or_default() {
            if *it == Instance::Unready {
                *it = Instance::Ready;
            }
        }
    }

    /// From here on the world behaves: instances get ready, the router obeys, gates answer, people
    /// decide. Every rollout ends.
    fn behaves(&mut self, good: bool, frozen: bool) {
        self.freeze = frozen.then_some(Running::Hold);
        self.unhealthy.clear();
        self.crash_loop = false;
        (self.workload_known, self.router_known, self.lag) = (true, true, 0);
        self.recover(STABLE);
        self.recover(CANDIDATE);
        for pass in 0..PASSES_MAX {
            let (on, look_again_at) = match self.pass(false) {
                Advance::Next(..) => continue,
                Advance::Wait { on, look_again_at } => (on, look_again_at),
            };
            match on {
                None => return self.has_ended(),
                Some(WaitingOn::Promotion | WaitingOn::Decision { .. }) => {
                    self.order(Order::Promote, 0)
                }
                Some(WaitingOn::Approval { given, .. }) => {
                    let by = u8::try_from(given).unwrap();
                    (0..=by).for_each(|it| self.order(Order::Approve, it + 10));
                }
                Some(WaitingOn::Frozen { .. }) => {
                    assert!(frozen && !self.plan.is_undo(), "frozen without a window");
                    self.order(Order::Abort, 0);
                }
                Some(WaitingOn::Held { .. }) if good => self.order(Order::Resume, 0),
                Some(WaitingOn::Held { .. }) => self.order(Order::Abort, 0),
                Some(_) => {}
            }
            let soon = self.now + SignedDuration::from_secs(10);
            let timed = look_again_at.filter(|_| pass % 3 == 2);
            self.now = timed.map_or(soon, |it| it.min(soon).max(self.now));
            if target(&self.plan, &self.state).measure {
                let reading = i8::from(!good);
                (0..self.plan.gates.len()).for_each(|it| self.measure(it, reading));
            }
        }
        panic!("it does not end: {:#?}\n{:#?}", self.state, self.observe());
    }

    fn has_ended(&mut self) {
        let phase = self.state.phase;
        assert!(phase.is_terminal());
        if phase == Phase::Cancelled {
            return;
        }
        for _ in 0..6 {
            self.pass(false);
        }
        let ends = match phase {
            Phase::Succeeded => Target::steady(CANDIDATE, self.plan.replicas),
            _ => self.plan.before(),
        };
        let carries = |it: &BTreeMap<Revision, Weight>| -> BTreeMap<Revision, Weight> {
            let some = it.iter().filter(|(_, it)| **it > Weight::ZERO);
            some.map(|(revision, it)| (*revision, *it)).collect()
        };
        assert_eq!(carries(&self.shares), carries(&ends.weights), "{phase}");
        assert_eq!(self.rules, BTreeSet::new(), "{phase}");
        for revision in [STABLE, CANDIDATE] {
            assert_eq!(
                self.status(revision).ready,
                ends.scale(revision),
                "{phase} {revision}"
            );
            assert_eq!(
                self.status(revision).total,
                ends.scale(revision),
                "{phase} {revision}"
            );
        }
    }
}

fn orders() -> Vec<Order> {
    let others = [
        Order::Alert {
            name: "HighErrors".to_owned(),
            detail: "errors above 5 %".to_owned(),
            fingerprint: "f".to_owned(),
        },
        Order::Supersede {
            revision: Revision(3),
        },
    ];
    Order::OF_PEOPLE.into_iter().chain(others).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_it_ends(case in case()) {
        let Some(mut world) = World::new(&case) else { return Ok(()) };
        for happening in &case.happenings {
            world.happens(happening);
        }
        world.behaves(case.good, case.frozen);
    }

    /// A world without trouble and with good gates ends well, whatever the strategy.
    #[test]
    fn a_good_candidate_in_a_good_world_becomes_stable(case in case()) {
        let Some(mut world) = World::new(&case) else { return Ok(()) };
        world.coarse = false;
        world.behaves(true, false);
        prop_assert_eq!(world.state.phase, Phase::Succeeded);
    }

    /// No plan takes more instances or fewer than the rolling strategy's two limits allow, and
    /// traffic never lacks somebody to carry it unless the plan says `stopTraffic`.
    #[test]
    fn rolling_plans_keep_their_limits(replicas in 1u32..=40, surge in 0u32..=12, unavailable in 0u32..=12) {
        let file = json!({ "strategy": { "rolling": { "maxSurge": surge, "maxUnavailable": unavailable } } });
        let case = Case {
            file, replicas, kind: Kind::Update, coarse: false, happenings: Vec::new(), good: true,
            frozen: false,
        };
        let Some(world) = World::new(&case) else { return Ok(()) };
        let plan = world.plan;
        let mut state = world.state;
        state.phase = Phase::Progressing;
        state.base = plan.before();
        for step in 0..plan.main.len() {
            state.cursor.step = step;
            let target = target(&plan, &state);
            prop_assert_eq!(invariants::check(&plan, &state, &target), []);
            let total = target.scale(STABLE) + target.scale(CANDIDATE);
            prop_assert!(total <= replicas + surge, "{} of {} at step {}", total, replicas, step);
            prop_assert!(total + unavailable.max(u32::from(surge == 0)) >= replicas);
        }
        prop_assert_eq!(state.cursor.track, Track::Main);
        prop_assert!(plan.main.len() <= 6 * replicas as usize + 8, "{} steps", plan.main.len());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let known = prop::sample::select(vec![
        "strategy",
        "canary",
        "blueGreen",
        "rolling",
        "recreate",
        "steps",
        "setWeight",
        "setScale",
        "pause",
        "gate",
        "approve",
        "setHeaderRoute",
        "setMirrorRoute",
        "headerValue",
        "for",
        "gates",
        "name",
        "threshold",
        "webhook",
        "query",
        "below",
        "alerts",
        "match",
        "do",
        "drain",
        "progressDeadline",
        "bake",
        "count",
        "maxSurge",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["5s", "10%", "rollback", "-1s", "P9999Y", "999999999h"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(known.clone(), inner.clone(), 0..5).prop_map(|it| it
                .into_iter()
                .map(|(key, it)| (key.to_owned(), it))
                .collect()),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..3)
                .prop_map(|it| it.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_the_reader_panic(document in any_json()) {
        let read = |it: &document::Reader<'_>| Delivery::read(&it.object(&Delivery::KEYS)?);
        for document in [document.clone(), json!({ "strategy": document.clone() }), json!({ "strategy": { "canary": {} }, "gates": document })] {
            match document::read(&document, read) {
                Ok(delivery) => {
                    prop_assert_eq!(&reloaded(&delivery), &delivery);
                }
                Err(problems) => prop_assert!(!problems.is_empty()),
            }
        }
    }
}
