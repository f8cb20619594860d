//! Views of rollouts in the states that people ask about.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rollout::{
    Advance, Fact, Observation, Phase, Plan, Revisions, State, Weight, advance,
    gate::{Gate, GatePolicy, Gates, Measurement, Question, Threshold},
    observation::{
        Instance, InstanceProblem, InstanceState, ObservedRoutes, ProblemKind, RevisionStatus,
    },
    strategy::{Canary, CanaryStep, Delivery, GateStep, Strategy},
    target,
};
use store::Rollout;
use uuid::Uuid;

use super::*;
use crate::live::{Obstacle, Seen};

#[test]
fn revisions_are_read_as_they_are_shown() {
    assert_eq!(revision("r7"), Some(Revision(7)));
    let most = Revision(u32::MAX);
    assert_eq!(revision(&most.to_string()), Some(most));
    for wrong in [
        "",
        "r",
        "7",
        "r0",
        "r07",
        "r-1",
        "r+1",
        "R7",
        "r4294967296",
        "r7 ",
    ] {
        assert_eq!(revision(wrong), None, "{wrong:?}");
    }
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A canary of r2 beside r1 that is measured at 25 %.
fn plan() -> Plan {
    let gate = Gate {
        name: "errors".to_owned(),
        question: Question::Threshold(Threshold {
            query: "errors".to_owned(),
            below: Some(0.01),
            above: None,
            unit: None,
            fail_after: 1,
            pass_after: 1,
        }),
        interval: SignedDuration::from_secs(5),
        on_fail: GatePolicy::Rollback,
        on_inconclusive: GatePolicy::Rollback,
        on_no_data: GatePolicy::Rollback,
    };
    let delivery = Delivery {
        strategy: Strategy::Canary(Canary {
            steps: vec![
                CanaryStep::SetWeight(Weight::from_hundredths(2500)),
                CanaryStep::Gate(GateStep {
                    hold: SignedDuration::from_mins(2),
                    gates: Vec::new(),
                }),
            ],
            bake: None,
        }),
        gates: vec![gate],
        alerts: Vec::new(),
        progress_deadline: SignedDuration::from_mins(10),
        drain: SignedDuration::from_secs(5),
    };
    let revisions = Revisions {
        stable: Some(Revision(1)),
        candidate: Revision(2),
        replicas: 4,
        undo: false,
    };
    Plan::compile(&delivery, revisions)
}

fn status(ready: u32) -> RevisionStatus {
    RevisionStatus {
        desired: 1,
        total: 1,
        ready,
        instances: vec![Instance {
            name: "r2-1".to_owned(),
            address: Some("127.0.0.1:8001".to_owned()),
            state: InstanceState::NotReady,
            restarts: 3,
        }],
        problems: vec![InstanceProblem {
            kind: ProblemKind::ProbeFailing,
            instance: Some("r2-1".to_owned()),
            detail: "GET /ready answers 503".to_owned(),
        }],
    }
}

/// A rollout at its gate step, with a bad reading that was not acted upon yet.
fn at_the_gate() -> (Rollout, Seen) {
    let plan = plan();
    let mut state = State::new(moment(0));
    state.phase = Phase::Progressing;
    state.base = plan.before();
    state.cursor.step = plan
        .main
        .iter()
        .position(|it| it.behavior().gates().is_some())
        .unwrap();
    let measurement = Measurement {
        at: moment(30),
        reading: Reading::Value { value: 0.2 },
    };
    let gates =
        Gates::default()
            .at(state.cursor)
            .fold(plan.gate("errors").unwrap(), &measurement, false);
    let observation = Observation {
        workload: Fact::Known {
            value: BTreeMap::from([(Revision(2), status(1))]),
            observed_at: moment(31),
        },
        routes: Fact::Known {
            value: ObservedRoutes {
                shares: BTreeMap::from([
                    (Revision(1), Weight::from_hundredths(7500)),
                    (Revision(2), Weight::from_hundredths(2500)),
                ]),
                tolerance: Weight::ZERO,
                in_use: Vec::new(),
                foreign: vec!["canary-of-old".to_owned()],
                rules: std::collections::BTreeSet::new(),
            },
            observed_at: moment(31),
        },
        gates: gates.states.clone(),
        readable_since: None,
        freezes: Vec::new(),
    };
    let seen = Seen {
        target: target(&plan, &state),
        observation,
        obstacles: vec![Obstacle {
            part: "router",
            detail: "HAProxy is away".to_owned(),
        }],
        at: moment(31),
    };
    let rollout = Rollout {
        id: Uuid::nil(),
        app_id: Uuid::nil(),
        project: "shop".to_owned(),
        app: "checkout".to_owned(),
        stable: plan.stable,
        candidate: plan.candidate,
        undo: false,
        phase: state.phase,
        plan,
        state,
        gates,
        waiting: None,
        wake_at: None,
        version: 7,
        created_by: "token:ci".to_owned(),
        comment: None,
        created_at: moment(0),
        updated_at: moment(30),
        ended_at: None,
    };
    (rollout, seen)
}

fn explained(rollout: &Rollout, seen: Option<&Seen>) -> api::Explanation {
    let shown = Shown {
        rollout,
        artifact: "/srv/v2",
        seen,
        last: None,
    };
    explain(&shown, "token:ann", moment(45))
}

#[test]
fn an_explanation_names_gates_instances_shares_and_what_can_be_done() {
    let (mut rollout, seen) = at_the_gate();
    insta::assert_json_snapshot!("at_the_gate", explained(&rollout, Some(&seen)));
    let next = advance(&rollout.plan, &rollout.state, &seen.observation, moment(40));
    let Advance::Next(state, _) = next else {
        panic!("a failed gate must abort: {next:?}");
    };
    rollout.phase = state.phase;
    rollout.state = *state;
    insta::assert_json_snapshot!("after_the_gate_failed", explained(&rollout, Some(&seen)));
}

#[test]
fn a_replica_that_sees_nothing_says_so_and_invents_nothing() {
    let (rollout, _) = at_the_gate();
    let view = explained(&rollout, None).rollout;
    assert_eq!(view.observed_at, None);
    for it in &view.traffic {
        assert_eq!((it.observed, it.ready), (None, None));
    }
    assert_eq!(
        view.gates[0].verdict, "fail",
        "what is committed is known everywhere"
    );
}

#[test]
fn what_is_seen_now_is_not_shown_for_a_rollout_of_the_past() {
    let (mut rollout, seen) = at_the_gate();
    rollout.phase = Phase::RolledBack;
    rollout.state.phase = Phase::RolledBack;
    rollout.state.cursor.track = rollout::Track::Abort;
    let view = explained(&rollout, Some(&seen)).rollout;
    assert!(view.traffic.is_empty() && view.observed_at.is_none());
    let at_rest = Seen {
        target: target(&rollout.plan, &rollout.state),
        ..seen
    };
    let view = explained(&rollout, Some(&at_rest)).rollout;
    assert_eq!(view.traffic[0].asked, 100.0);
}
