//! What people get to see of a rollout: golden.

use api::{InstanceView, ObstacleView, RolloutSummary, StepView, Waiting, WhyEnded};
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn view() -> RolloutView {
    let step = |title: &str, state| StepView {
        title: title.to_owned(),
        state,
    };
    let revision = |revision: &str, role: &str, share, ready| RevisionTraffic {
        revision: revision.to_owned(),
        role: role.to_owned(),
        asked: share,
        observed: Some(share),
        desired: 3,
        ready,
        instances: Vec::<InstanceView>::new(),
        problems: Vec::new(),
    };
    RolloutView {
        summary: RolloutSummary {
            id: "01980000-0000-7000-8000-000000000000".parse().unwrap(),
            project: "shop".to_owned(),
            app: "checkout".to_owned(),
            strategy: "canary".to_owned(),
            stable: Some("r6".to_owned()),
            candidate: "r7".to_owned(),
            phase: "progressing".to_owned(),
            step: "gate 10m (2/3)".to_owned(),
            share: 25.0,
            waiting: Some("waits for gate errors".to_owned()),
            needs_person: false,
            reason: None,
            created_at: at("2026-01-01T10:00:00Z"),
            ended_at: None,
        },
        artifact: "/srv/checkout/v7".to_owned(),
        version: 9,
        attempt: 1,
        step_index: 1,
        since: at("2026-01-01T10:01:00Z"),
        track: "main".to_owned(),
        steps: vec![
            step("setWeight 25", StepState::Done),
            step("gate 10m", StepState::Current),
            step("setWeight 100", StepState::Ahead),
        ],
        waiting_on: Some(Waiting {
            kind: "gates".to_owned(),
            sentence: "waits for gate errors".to_owned(),
            facts: json!({}),
        }),
        approval: None,
        why: None,
        traffic: vec![
            revision("r6", "stable", 75.0, Some(3)),
            revision("r7", "candidate", 25.0, None),
        ],
        gates: vec![GateView {
            gate: "errors".to_owned(),
            verdict: "inconclusive".to_owned(),
            measured: 4,
            last: Some("0.01".to_owned()),
            at: None,
            bound: "below 0.05".to_owned(),
            evidence: None,
        }],
        obstacles: vec![ObstacleView {
            part: "router".to_owned(),
            detail: "somebody keeps changing the route".to_owned(),
        }],
        observed_at: None,
        created_by: "token:ci".to_owned(),
        comment: Some("new cart\u{1b}[2J".to_owned()),
    }
}

fn rolled_back() -> RolloutView {
    let mut view = view();
    "rolledBack".clone_into(&mut view.summary.phase);
    view.summary.ended_at = Some(at("2026-01-01T10:02:05Z"));
    view.summary.waiting = None;
    view.summary.reason = Some("gate errors failed: 0.2, good is below 0.05".to_owned());
    view.waiting_on = None;
    view.why = Some(WhyEnded {
        kind: "gateFailed".to_owned(),
        sentence: "gate errors failed: 0.2, good is below 0.05".to_owned(),
        facts: json!({}),
        at: at("2026-01-01T10:02:00Z"),
    });
    view
}

#[test]
fn a_rollout_in_words() {
    let ended = rolled_back();
    let parts = [
        line(&view()),
        stage(&view()),
        outcome(&ended),
        line(&ended),
        full(&ended),
    ];
    insta::assert_snapshot!(parts.join("\n\n"));
}

#[test]
fn a_person_is_needed_for_exactly_these_waits() {
    let kinds = [
        ("gates", false),
        ("timer", false),
        ("instances", false),
        ("routes", false),
        ("approval", true),
        ("promotion", true),
        ("decision", true),
        ("held", true),
    ];
    for (kind, needed) in kinds {
        let mut view = view();
        view.waiting_on.as_mut().unwrap().kind = kind.to_owned();
        assert_eq!(needs_person(&view), needed, "{kind}");
    }
    let mut paused = view();
    "paused".clone_into(&mut paused.summary.phase);
    assert!(needs_person(&paused));
    assert!(needed(&paused).contains("sluice resume"));
}
