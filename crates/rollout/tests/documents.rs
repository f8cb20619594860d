//! The half of an app file that the core reads: every mistake at once, the defaults, and the
//! examples of the design.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

use rollout::{Delivery, Plan, Revision, Revisions, document};
use serde_json::{Value, json};

fn read(file: &Value) -> Result<Delivery, Vec<document::Problem>> {
    document::read(file, |it| Delivery::read(&it.object(&Delivery::KEYS)?))
}

/// The problems, one a line, by place: the order of an object's keys depends on features of
/// `serde_json` that other crates may switch on.
fn problems(file: &Value) -> String {
    let mut lines: Vec<String> = read(file)
        .unwrap_err()
        .into_iter()
        .map(|it| format!("{:<28} {}", it.pointer, it.detail))
        .collect();
    lines.sort();
    lines.join("\n")
}

fn titles(file: &Value) -> String {
    let delivery = read(file).unwrap();
    let revisions = Revisions {
        stable: Some(Revision(1)),
        candidate: Revision(2),
        replicas: 4,
        undo: false,
    };
    let plan = Plan::compile(&delivery, revisions);
    let back: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(back, plan, "a plan survives the database");
    let again: Delivery = serde_json::from_str(&serde_json::to_string(&delivery).unwrap()).unwrap();
    assert_eq!(again, delivery);
    let list: Vec<String> = plan.main.iter().map(|it| it.behavior().title()).collect();
    list.join(", ")
}

fn gates() -> Value {
    json!([{ "name": "errors", "threshold": { "query": "q", "below": 0.05 } }])
}

#[test]
fn ten_mistakes_give_ten_problems() {
    let file = json!({
        "strategie": {},
        "strategy": { "canary": { "steps": [
            { "setWieght": 5 },
            { "setWeight": 120 },
            { "pause": "soon" },
            { "gate": { "for": "1m", "gates": ["eror"] } },
            { "approve": { "count": 0 } },
        ], "bake": 30 } },
        "gates": [
            { "name": "errors", "threshold": { "query": "q" } },
            { "name": "Bad Name", "webhook": { "url": "ftp://x" } },
        ],
        "alerts": [{ "match": {}, "do": "panic" }],
        "drain": "-5s",
    });
    insta::assert_snapshot!(problems(&file));
}

#[test]
fn what_is_of_the_wrong_kind_is_named() {
    for (name, file) in [
        ("nothing", json!(null)),
        ("a_list", json!([])),
        ("no_strategy", json!({})),
        ("no_word", json!({ "strategy": {} })),
        (
            "two_words",
            json!({ "strategy": { "canary": {}, "rolling": {} } }),
        ),
        (
            "no_steps",
            json!({ "strategy": { "canary": { "steps": [] } } }),
        ),
        (
            "steps_and_bake",
            json!({ "strategy": { "canary": { "steps": {}, "bake": 1 } } }),
        ),
        (
            "gate_without_gates",
            json!({ "strategy": { "blueGreen": { "gate": { "gates": ["x"] } } } }),
        ),
        (
            "nothing_moves",
            json!({ "strategy": { "rolling": { "maxSurge": 0, "maxUnavailable": "0%" } } }),
        ),
        (
            "two_gates_one_name",
            json!({ "strategy": { "canary": {} }, "gates": [
            { "name": "a", "webhook": { "url": "http://h" } },
            { "name": "a", "webhook": { "url": "http://h" } },
        ] }),
        ),
        (
            "nothing_between",
            json!({ "strategy": { "canary": {} }, "gates": [
            { "name": "a", "threshold": { "query": "q", "below": 1, "above": 2 } },
        ] }),
        ),
        // The gate is wrong, the step that names it is not.
        (
            "wrong_gate_right_step",
            json!({
                "strategy": { "canary": { "steps": [{ "gate": { "gates": ["errors"] } }] } },
                "gates": [{ "name": "errors" }],
            }),
        ),
    ] {
        insta::assert_snapshot!(name, problems(&file));
    }
}

#[test]
fn defaults_are_sensible_plans() {
    let mut told = String::new();
    for (strategy, gated) in [
        (json!({ "canary": {} }), false),
        (json!({ "canary": null }), false),
        (json!({ "canary": {} }), true),
        (json!({ "canary": { "bake": "30m" } }), false),
        (json!({ "blueGreen": {} }), false),
        (json!({ "blueGreen": null }), true),
        (
            json!({ "blueGreen": { "autoPromote": false, "bake": "1h" } }),
            false,
        ),
        (json!({ "rolling": {} }), false),
        (json!({ "rolling": null }), true),
        (
            json!({ "rolling": { "maxSurge": "100%", "maxUnavailable": 0 } }),
            false,
        ),
        (json!({ "rolling": { "maxSurge": 0 } }), false),
        (
            json!({ "rolling": { "maxSurge": 0, "maxUnavailable": "100%" } }),
            false,
        ),
        (json!({ "recreate": {} }), false),
        (json!({ "recreate": null }), true),
    ] {
        let gates = if gated { gates() } else { json!([]) };
        let file = json!({ "strategy": strategy, "gates": gates });
        let with = if gated { " with a gate" } else { "" };
        told += &format!("{strategy}{with}\n    {}\n", titles(&file));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn the_example_of_the_design_is_read() {
    let file = json!({
        "strategy": { "canary": { "steps": [
            { "setWeight": 5 },
            { "pause": "2m" },
            { "setWeight": 25 },
            { "gate": { "for": "10m" } },
            { "approve": { "group": "release-managers", "count": 1 } },
            { "setWeight": 100 },
        ], "bake": "30m" } },
        "gates": [{ "name": "p99", "threshold": {
            "query": "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{app=\"checkout\",pod=~\"{{candidate.instances}}\"}[2m])))",
            "below": 0.5, "unit": "seconds",
        } }],
        "alerts": [{ "match": { "app": "checkout", "severity": "critical" }, "do": "rollback" }],
    });
    insta::assert_snapshot!(titles(&file));
}

#[test]
fn the_words_of_argo_rollouts_are_read() {
    let file = json!({ "strategy": { "canary": { "steps": [
        { "setWeight": 20 },
        { "pause": {} },
        { "setWeight": 12.5 },
        { "pause": { "duration": "10m" } },
        { "setScale": "50%" },
        { "setScale": 3 },
        { "setWeight": 0 },
    ] } } });
    insta::assert_snapshot!(titles(&file));
}
