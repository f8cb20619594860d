//! Two tables a person can check: every phase and step under every order, and every step under
//! every observation. A change of behaviour shows as a changed line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::{SignedDuration, Timestamp};
use rollout::{
    Advance, Command, Delivery, Event, Fact, Observation, Order, Outcome, Phase, Plan, Revision,
    Revisions, State, Step, Track, Weight, advance, command, document,
    gate::{GateState, Measurement, NoDataCause, Reading, Verdict},
    invariants,
    observation::{InstanceProblem, ObservedRoutes, ProblemKind, RevisionStatus},
    target,
};
use serde_json::{Value, json};

const STABLE: Revision = Revision(1);
const CANDIDATE: Revision = Revision(2);
const REPLICAS: u32 = 4;

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn plan_for(strategy: &Value, stable: Option<Revision>, undo: bool, policy: &str) -> Plan {
    let file = json!({
        "strategy": strategy,
        "gates": [{
            "name": "errors", "interval": "10s",
            "onFail": policy, "onInconclusive": policy, "onNoData": policy,
            "threshold": { "query": "q", "below": 0.05 },
        }],
    });
    let delivery =
        document::read(&file, |it| Delivery::read(&it.object(&Delivery::KEYS)?)).unwrap();
    Plan::compile(
        &delivery,
        Revisions {
            stable,
            candidate: CANDIDATE,
            replicas: REPLICAS,
            undo,
        },
    )
}

/// A canary with every kind of step that a canary can have.
fn canary(policy: &str) -> Plan {
    let strategy = json!({ "canary": { "steps": [
        { "setWeight": 50 },
        { "pause": "10m" },
        { "pause": {} },
        { "gate": { "for": "1m" } },
        { "approve": { "count": 2 } },
    ], "bake": "30m" } });
    plan_for(&strategy, Some(STABLE), false, policy)
}

fn recreate() -> Plan {
    plan_for(&json!({ "recreate": {} }), Some(STABLE), false, "rollback")
}

fn install() -> Plan {
    plan_for(&json!({ "canary": {} }), None, false, "rollback")
}

fn undo() -> Plan {
    plan_for(&json!({ "canary": {} }), Some(STABLE), true, "rollback")
}

fn order(plan: &Plan, state: &State, order: Order, now: Timestamp) -> State {
    let command = Command {
        order,
        by: "ana".to_owned(),
        comment: None,
        from: None,
    };
    match rollout::command(plan, state, &command, now).unwrap() {
        Outcome::Changed(state, _) => *state,
        Outcome::Unchanged => panic!("nothing changed"),
    }
}

/// A rollout at a step of its main list.
fn progressing(plan: &Plan, step: usize) -> State {
    let blind = Observation {
        workload: Fact::Unknown { why: String::new() },
        routes: Fact::Unknown { why: String::new() },
        gates: BTreeMap::new(),
        readable_since: None,
        freezes: Vec::new(),
    };
    let mut state = match advance(plan, &State::new(start()), &blind, start()) {
        Advance::Next(state, _) => *state,
        Advance::Wait { .. } => panic!("it must start"),
    };
    state.cursor.step = step;
    state
}

fn title(plan: &Plan, state: &State) -> String {
    let step = plan.list(state.cursor.track).get(state.cursor.step);
    step.map(|it| it.behavior().title()).unwrap_or_default()
}

fn ended(plan: &Plan, phase: Phase) -> State {
    let mut state = progressing(plan, plan.main.len() - 1);
    if phase == Phase::RolledBack {
        state = order(plan, &state, Order::Abort, at(60));
        state.cursor.step = plan.abort.len() - 1;
    }
    state.phase = phase;
    state
}

/// Every phase, with a state for each kind of step in it.
fn states() -> Vec<(String, Plan, State)> {
    let plan = canary("rollback");
    let mut states = vec![("pending".to_owned(), plan.clone(), State::new(start()))];
    for step in 0..plan.main.len() {
        let state = progressing(&plan, step);
        let name = format!("progressing, {}", title(&plan, &state));
        states.push((name, plan.clone(), state));
    }
    let recreate = recreate();
    states.push((
        "progressing, stopTraffic".to_owned(),
        recreate.clone(),
        progressing(&recreate, 0),
    ));
    let install = install();
    states.push((
        "progressing, install".to_owned(),
        install.clone(),
        progressing(&install, 0),
    ));
    let undo = undo();
    states.push((
        "progressing, undo".to_owned(),
        undo.clone(),
        progressing(&undo, 0),
    ));
    let mut approved = progressing(&plan, 5);
    approved = order(&plan, &approved, Order::Approve, at(10));
    states.push((
        "progressing, approve, ana did".to_owned(),
        plan.clone(),
        approved,
    ));
    for step in [2, 4, 5, plan.main.len() - 1] {
        let state = order(&plan, &progressing(&plan, step), Order::Pause, at(30));
        let name = format!("paused by a person, {}", title(&plan, &state));
        states.push((name, plan.clone(), state));
    }
    let mut held = order(&plan, &progressing(&plan, 4), Order::Pause, at(30));
    held.hold.as_mut().unwrap().by = "gate errors".to_owned();
    states.push(("paused by a gate, gate 1m".to_owned(), plan.clone(), held));
    let promoting = order(&plan, &progressing(&plan, 2), Order::PromoteFull, at(30));
    states.push(("promoting".to_owned(), plan.clone(), promoting.clone()));
    let held = order(&plan, &promoting, Order::Pause, at(40));
    states.push((
        "paused by a person, promoting".to_owned(),
        plan.clone(),
        held,
    ));
    let aborting = order(&plan, &progressing(&plan, 2), Order::Abort, at(30));
    states.push(("aborting".to_owned(), plan.clone(), aborting));
    for phase in [Phase::Succeeded, Phase::RolledBack, Phase::Cancelled] {
        states.push((phase.to_string(), plan.clone(), ended(&plan, phase)));
    }
    let seen: Vec<Phase> = states.iter().map(|(_, _, state)| state.phase).collect();
    assert!(
        Phase::ALL.iter().all(|it| seen.contains(it)),
        "a phase is missing"
    );
    states
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

#[test]
fn every_order_in_every_phase() {
    let mut told = String::new();
    for (name, plan, state) in states() {
        writeln!(told, "\n{name}").unwrap();
        for order in orders() {
            let word = order.word();
            let given = Command {
                order,
                by: "ana".to_owned(),
                comment: None,
                from: None,
            };
            let outcome = match command(&plan, &state, &given, at(60)) {
                Err(rejection) => format!("refused   {rejection}"),
                Ok(Outcome::Unchanged) => "no change".to_owned(),
                Ok(Outcome::Changed(next, event)) => {
                    let target = target(&plan, &next);
                    let broken = invariants::check(&plan, &next, &target);
                    assert_eq!(broken, [], "{name}, {word}");
                    assert_eq!(next.generation, state.generation + 1, "{name}, {word}");
                    became(&plan, &state, &next, &event)
                }
            };
            writeln!(told, "    {word:<12} {outcome}").unwrap();
        }
    }
    insta::assert_snapshot!(told);
}

/// What an order made of a state, in one line.
fn became(plan: &Plan, state: &State, next: &State, event: &Event) -> String {
    let mut notes = vec![];
    if next.cursor.attempt != state.cursor.attempt {
        notes.push(format!("attempt {}", next.cursor.attempt));
    }
    if let Some(by) = &next.finish_step {
        notes.push(format!("the step ends by order of {by}"));
    }
    if next.since != state.since {
        let shift = next.since.duration_since(start());
        notes.push(format!("timer from {shift:#}"));
    }
    if next.approvals.len() != state.approvals.len() {
        notes.push(format!("{} approvals", next.approvals.len()));
    }
    let step = match next.phase.is_terminal() {
        true => String::new(),
        false => format!(", {}", title(plan, next)),
    };
    let line = format!(
        "{:<9} {}{step}; {}",
        "ok",
        next.phase,
        event.sentence(plan.candidate)
    );
    match notes.is_empty() {
        true => line,
        false => format!("{line} [{}]", notes.join(", ")),
    }
}

/// How instances and routes may look, as seen from a step that needs `wanted` candidate instances
/// and asks `asked` for the candidate.
fn workloads(wanted: u32) -> Vec<(&'static str, Fact<BTreeMap<Revision, RevisionStatus>>)> {
    let status = |total, ready| RevisionStatus {
        desired: total,
        total,
        ready,
        ..RevisionStatus::default()
    };
    let known = |stable_ready, candidate| Fact::Known {
        value: BTreeMap::from([
            (STABLE, status(REPLICAS, stable_ready)),
            (CANDIDATE, candidate),
        ]),
        observed_at: start(),
    };
    let looping = RevisionStatus {
        problems: vec![InstanceProblem {
            kind: ProblemKind::CrashLoop,
            instance: None,
            detail: "exit code 1".to_owned(),
        }],
        ..status(wanted, 0)
    };
    let unready = RevisionStatus {
        problems: vec![InstanceProblem {
            kind: ProblemKind::ProbeFailing,
            instance: None,
            detail: "r2-1 answers /ready with 503".to_owned(),
        }],
        ..status(wanted, wanted.saturating_sub(1))
    };
    let unknown = Fact::Unknown {
        why: "supervisor is starting".to_owned(),
    };
    vec![
        ("unknown", unknown),
        ("none", known(REPLICAS, status(0, 0))),
        ("partly", known(REPLICAS, unready)),
        ("all ready", known(REPLICAS, status(wanted, wanted))),
        ("too many", known(REPLICAS, status(wanted + 1, wanted + 1))),
        ("crash loop", known(REPLICAS, looping)),
        ("stable down", known(0, status(wanted, wanted))),
    ]
}

fn route_table(asked: Weight) -> Vec<(&'static str, Fact<ObservedRoutes>)> {
    let percent = |it| Weight::from_percent(it).unwrap();
    let known = |candidate: Weight| Fact::Known {
        value: ObservedRoutes {
            shares: BTreeMap::from([(STABLE, candidate.rest()), (CANDIDATE, candidate)]),
            tolerance: percent(1.0),
            in_use: Vec::new(),
            foreign: Vec::new(),
            rules: BTreeSet::new(),
        },
        observed_at: start(),
    };
    let near = if asked == Weight::ZERO {
        percent(0.5)
    } else {
        Weight::from_hundredths(asked.hundredths() - 50)
    };
    let above = Weight::from_hundredths(asked.hundredths() + 1000);
    let unknown = Fact::Unknown {
        why: "socket gone".to_owned(),
    };
    let nobody = Fact::Known {
        value: ObservedRoutes {
            shares: BTreeMap::new(),
            tolerance: percent(1.0),
            in_use: Vec::new(),
            foreign: Vec::new(),
            rules: BTreeSet::new(),
        },
        observed_at: start(),
    };
    vec![
        ("unknown", unknown),
        ("nobody", nobody),
        ("0", known(Weight::ZERO)),
        ("asked", known(asked)),
        ("near", known(near)),
        ("above", known(above)),
        ("all", known(Weight::ALL)),
    ]
}

fn gate_states() -> Vec<(&'static str, Option<(Verdict, i64)>)> {
    vec![
        ("none", None),
        ("pass", Some((Verdict::Pass, 60))),
        ("old pass", Some((Verdict::Pass, 20))),
        ("fail", Some((Verdict::Fail, 60))),
        ("inconclusive", Some((Verdict::Inconclusive, 60))),
        ("held", Some((Verdict::Hold, 60))),
        ("no data", Some((Verdict::NoData, 60))),
    ]
}

fn gate_state((verdict, measured_at): (Verdict, i64)) -> GateState {
    let reading = match verdict {
        Verdict::Pass => Reading::Value { value: 0.01 },
        Verdict::Fail | Verdict::Inconclusive | Verdict::Hold => Reading::Value { value: 0.2 },
        Verdict::NoData => Reading::NoData {
            cause: NoDataCause::Empty,
            detail: "no series".to_owned(),
        },
    };
    GateState {
        verdict,
        measured: 1,
        last: Some(Measurement {
            at: at(measured_at),
            reading,
        }),
        ..GateState::default()
    }
}

fn decided(plan: &Plan, state: &State, observation: &Observation, now: Timestamp) -> String {
    match advance(plan, state, observation, now) {
        Advance::Next(next, event) => {
            let broken = invariants::check(plan, &next, &target(plan, &next));
            assert_eq!(broken, []);
            match event {
                Event::AbortStarted { reason } => format!("ABORT {reason}"),
                Event::StepDone { .. } | Event::Succeeded | Event::RolledBack => "DONE".to_owned(),
                other => format!(
                    "{} {}",
                    other.word().to_uppercase(),
                    other.sentence(CANDIDATE)
                ),
            }
        }
        Advance::Wait { on, look_again_at } => {
            assert!(
                look_again_at.is_none_or(|it| it > now),
                "a timer in the past"
            );
            format!("wait  {}", on.expect("I10: a wait has a reason"))
        }
    }
}

/// A table with short cells and a legend below it.
struct Table {
    rows: String,
    legend: Vec<String>,
}

impl Table {
    fn new(corner: &str, columns: &[&str]) -> Self {
        let mut rows = format!("    {corner:<16}");
        for column in columns {
            write!(rows, "{column:<10}").unwrap();
        }
        rows = rows.trim_end().to_owned() + "\n";
        Self {
            rows,
            legend: Vec::new(),
        }
    }

    fn row(&mut self, name: &str, cells: Vec<String>) {
        let mut row = format!("    {name:<16}");
        for cell in cells {
            let short = match cell.as_str() {
                "DONE" => "DONE".to_owned(),
                _ => {
                    let known = self.legend.iter().position(|it| *it == cell);
                    let index = known.unwrap_or(self.legend.len());
                    if known.is_none() {
                        self.legend.push(cell);
                    }
                    format!("{}", char::from(b'a' + u8::try_from(index).unwrap()))
                }
            };
            write!(row, "{short:<10}").unwrap();
        }
        self.rows += row.trim_end();
        self.rows += "\n";
    }

    fn finish(self) -> String {
        let mut told = self.rows;
        for (index, line) in self.legend.iter().enumerate() {
            let letter = char::from(b'a' + u8::try_from(index).unwrap());
            writeln!(told, "      {letter}  {line}").unwrap();
        }
        told
    }
}

/// Every kind of step, each in a plan that has it.
fn steps() -> Vec<(String, Plan, State)> {
    let mut steps = Vec::new();
    let plan = canary("rollback");
    for step in 0..plan.main.len() {
        let state = progressing(&plan, step);
        steps.push((title(&plan, &state), plan.clone(), state));
    }
    let recreate = recreate();
    let state = progressing(&recreate, 0);
    steps.push(("recreate: stopTraffic".to_owned(), recreate, state));
    for step in 0..plan.abort.len() {
        let mut state = order(&plan, &progressing(&plan, 2), Order::Abort, start());
        state.cursor.step = step;
        steps.push((
            format!("abort: {}", title(&plan, &state)),
            plan.clone(),
            state,
        ));
    }
    steps
}

#[test]
fn every_step_under_every_observation() {
    let mut told = String::new();
    for (name, plan, state) in steps() {
        let target = target(&plan, &state);
        let wanted = target.scale(CANDIDATE).max(1);
        let asked = target.weight(CANDIDATE);
        writeln!(told, "\n{name}\n  one second after it was entered").unwrap();
        let routes = route_table(asked);
        let columns: Vec<&str> = routes.iter().map(|(name, _)| *name).collect();
        let mut table = Table::new("workload\\routes", &columns);
        for (name, workload) in workloads(wanted) {
            let cells = routes.iter().map(|(_, routes)| {
                let observation = Observation {
                    workload: workload.clone(),
                    routes: routes.clone(),
                    gates: BTreeMap::new(),
                    readable_since: None,
                    freezes: Vec::new(),
                };
                decided(&plan, &state, &observation, at(1))
            });
            table.row(name, cells.collect());
        }
        told += &table.finish();
        told += "  everything ready and reported as asked, by gate and time\n";
        told += &by_gate_and_time(&plan, &state, wanted, asked);
    }
    insta::assert_snapshot!(told);
}

fn by_gate_and_time(plan: &Plan, state: &State, wanted: u32, asked: Weight) -> String {
    let times = [
        ("1s", 1),
        ("60s", 60),
        ("85s", 85),
        ("10m", 600),
        ("30m", 1800),
    ];
    let columns: Vec<&str> = times.iter().map(|(name, _)| *name).collect();
    let mut table = Table::new("gate\\time", &columns);
    let (_, workload) = workloads(wanted).swap_remove(3);
    let (_, routes) = route_table(asked).swap_remove(3);
    for (name, verdict) in gate_states() {
        let gates = verdict.map(|it| ("errors".to_owned(), gate_state(it)));
        let observation = Observation {
            workload: workload.clone(),
            routes: routes.clone(),
            gates: gates.into_iter().collect(),
            readable_since: None,
            freezes: Vec::new(),
        };
        let cells = times
            .iter()
            .map(|(_, seconds)| decided(plan, state, &observation, at(*seconds)));
        table.row(name, cells.collect());
    }
    table.finish()
}

#[test]
fn a_gate_that_asks_a_person() {
    let plan = canary("pause");
    let gate = plan.main.iter().position(|it| matches!(it, Step::Gate(_)));
    let state = progressing(&plan, gate.unwrap());
    let mut told = by_gate_and_time(&plan, &state, 2, Weight::from_hundredths(5000));
    told += "  with an order to end the step\n";
    let ordered = order(&plan, &state, Order::Promote, at(1));
    told += &by_gate_and_time(&plan, &ordered, 2, Weight::from_hundredths(5000));
    told += "  paused by a person\n";
    let paused = order(&plan, &state, Order::Pause, at(1));
    told += &by_gate_and_time(&plan, &paused, 2, Weight::from_hundredths(5000));
    insta::assert_snapshot!(told);
}

#[test]
fn an_abort_list_never_asks_traffic_for_the_candidate() {
    for plan in [canary("rollback"), recreate(), undo(), install()] {
        for step in 0..plan.main.len() {
            let mut state = order(&plan, &progressing(&plan, step), Order::Abort, at(1));
            assert_eq!(state.cursor.track, Track::Abort);
            for step in 0..plan.abort.len() {
                state.cursor.step = step;
                let asked = target(&plan, &state);
                assert_eq!(asked.weight(CANDIDATE), Weight::ZERO);
                assert_eq!(invariants::check(&plan, &state, &asked), []);
            }
            let last = target(&plan, &state);
            assert_eq!(last.scales, plan.before().scales, "{}", plan.strategy);
            assert_eq!(last.weight(STABLE), plan.before().weight(STABLE));
        }
    }
}

/// Nobody could watch the wait, so its deadline has not spoken: the first look after an outage must
/// not take back what may be ready a moment later.
#[test]
fn an_outage_longer_than_the_deadline_is_no_reason_to_go_back() {
    let plan = canary("rollback");
    let state = progressing(&plan, 0);
    let (_, workload) = workloads(2).swap_remove(1);
    let (_, routes) = route_table(Weight::ZERO).swap_remove(3);
    let mut observation = Observation {
        workload,
        routes,
        gates: BTreeMap::new(),
        readable_since: None,
        freezes: Vec::new(),
    };
    let late = 100_000;
    assert!(decided(&plan, &state, &observation, at(late)).starts_with("ABORT"));
    observation.readable_since = Some(at(late));
    for (seconds, aborts) in [(0, false), (59, false), (60, true)] {
        let decided = decided(&plan, &state, &observation, at(late + seconds));
        assert_eq!(decided.starts_with("ABORT"), aborts, "{decided}");
    }
    // The deadline itself is not made shorter by it.
    observation.readable_since = Some(start());
    assert!(!decided(&plan, &state, &observation, at(61)).starts_with("ABORT"));
}

/// Deployed once more while the first rollout of it was at its last step: by the time it is the
/// second one's turn its candidate is stable. No instance of it may be stopped.
#[test]
fn a_candidate_that_is_stable_already_is_left_alone() {
    for strategy in [
        json!({"canary": {}}),
        json!({"rolling": {}}),
        json!({"recreate": {}}),
    ] {
        for is_undo in [false, true] {
            let plan = plan_for(&strategy, Some(CANDIDATE), is_undo, "rollback");
            let state = progressing(&plan, 0);
            for state in [state.clone(), order(&plan, &state, Order::Abort, at(1))] {
                let kept = target(&plan, &state);
                let steady = rollout::Target::steady(CANDIDATE, REPLICAS);
                assert_eq!(
                    (&kept.scales, &kept.weights),
                    (&steady.scales, &steady.weights)
                );
                let (_, workload) = workloads(2).swap_remove(3);
                let (_, routes) = route_table(Weight::ALL).swap_remove(3);
                let observation = Observation {
                    workload,
                    routes,
                    gates: BTreeMap::new(),
                    readable_since: None,
                    freezes: Vec::new(),
                };
                let shares = rollout::routes(&plan, &state, &kept, &observation);
                assert_eq!(shares, Some(kept.weights.clone()));
                assert_eq!(decided(&plan, &state, &observation, at(2)), "DONE");
            }
        }
    }
}
