//! Statistical gates: evidence over a whole rollout, and a pass only for what was proven.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

use analysis::{Arm, Window};
use jiff::{SignedDuration, Timestamp};
use rollout::{
    Cursor, Delivery, Plan, Revision, Revisions, Role, Track, Weight, document,
    gate::{
        Gate, GatePolicy, Gates, Measurement, NoDataCause, Question, Reading, Shares, Verdict,
        counting::{Counting, Found, scrape_gap_ms},
    },
};
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(second)
}

fn delivery(gate: &Value) -> Delivery {
    let keys = ["app", "strategy", "gates", "workload", "traffic"];
    let file = json!({
        "strategy": { "canary": { "steps": [
            { "setWeight": 25 }, { "gate": { "for": "30s" } },
            { "setWeight": 50 }, { "gate": { "for": "30s" } },
        ] } },
        "gates": [gate],
    });
    document::read(&file, |it| Delivery::read(&it.object(&keys)?)).unwrap()
}

fn plan(gate: &Value) -> Plan {
    Plan::compile(
        &delivery(gate),
        Revisions {
            stable: Some(Revision(1)),
            candidate: Revision(2),
            replicas: 4,
            undo: false,
        },
    )
}

fn compare() -> Gate {
    let gate = json!({ "name": "errors", "compare": { "requests": "r", "errors": "e" } });
    plan(&gate).gates.remove(0)
}

fn cursor(step: usize, attempt: u32) -> Cursor {
    Cursor {
        track: Track::Main,
        step,
        attempt,
    }
}

/// The window of five seconds that ends at `second`.
fn counts(second: i64, share: u32, candidate: (u64, u64), stable: (u64, u64)) -> Measurement {
    let window = Window {
        from_ms: at(second - 5).as_millisecond(),
        until_ms: at(second).as_millisecond(),
        share,
        candidate: Arm::new(candidate.0, candidate.1),
        stable: Arm::new(stable.0, stable.1),
    };
    Measurement {
        at: at(second + 1),
        reading: Reading::Counts { window },
    }
}

fn nothing(second: i64, cause: NoDataCause) -> Measurement {
    Measurement {
        at: at(second),
        reading: Reading::NoData {
            cause,
            detail: "as it is".to_owned(),
        },
    }
}

fn verdict(gates: &Gates) -> Verdict {
    gates.states["errors"].verdict
}

#[test]
fn a_bad_candidate_fails_with_its_evidence_in_words() {
    let gate = compare();
    let mut gates = Gates::default().at(cursor(1, 1));
    for round in 1..4 {
        gates = gates.fold(&gate, &counts(5 * round, 2500, (125, 5), (375, 1)), false);
    }
    assert_eq!(verdict(&gates), Verdict::Fail);
    let words = gates.states["errors"].evidence.clone().unwrap();
    insta::assert_snapshot!(words, @"errors: candidate 15 of 375 requests, stable 3 of 1,125; ratio about 15 (at least 3.2); false alarm chance ≤ 5 %; decided after 10 s");
}

#[test]
fn evidence_is_kept_over_steps_and_begun_anew_by_a_retry() {
    let gate = compare();
    let one =
        Gates::default()
            .at(cursor(1, 1))
            .fold(&gate, &counts(5, 2500, (100, 0), (300, 0)), false);
    let next = one.at(cursor(3, 1));
    assert!(next.states.is_empty(), "a verdict belongs to a step");
    assert_eq!(next.evidence, one.evidence);
    assert!(one.at(cursor(1, 2)).evidence.is_empty());
}

#[test]
fn the_same_windows_give_the_same_bits_wherever_they_were_interrupted() {
    let gate = compare();
    let measured: Vec<Measurement> = (1..40_u64)
        .map(|it| {
            let second = i64::try_from(it).unwrap() * 5;
            counts(second, 2500, (97 + it % 7, it % 3), (310, it % 4))
        })
        .collect();
    let fold = |gates: Gates, it: &Measurement| gates.fold(&gate, it, false);
    let whole = measured.iter().fold(Gates::default(), fold);
    for crash in 0..measured.len() {
        let gates = measured[..crash].iter().fold(Gates::default(), fold);
        let stored = serde_json::to_string(&gates).unwrap();
        let read: Gates = serde_json::from_str(&stored).unwrap();
        // What was measured but not committed is measured again, and some of it twice.
        let again = crash.saturating_sub(2);
        let gates = measured[again..].iter().fold(read, fold);
        assert_eq!(gates.evidence, whole.evidence, "after {crash}");
    }
}

#[test]
fn nothing_but_a_window_of_the_present_share_passes() {
    let gate = compare();
    let mut gates = Gates::default().at(cursor(1, 1));
    for round in 1..40 {
        gates = gates.fold(&gate, &counts(5 * round, 2500, (1000, 0), (3000, 0)), false);
    }
    assert_eq!(verdict(&gates), Verdict::Pass);
    let quiet = gates
        .clone()
        .fold(&gate, &nothing(200, NoDataCause::NothingNew), false);
    assert_eq!(verdict(&quiet), Verdict::Pass, "the source is in order");
    for cause in [
        NoDataCause::Timeout,
        NoDataCause::Empty,
        NoDataCause::ShareChanged,
        NoDataCause::Malformed,
    ] {
        let blind = gates.clone().fold(&gate, &nothing(200, cause), false);
        assert_eq!(verdict(&blind), Verdict::Inconclusive, "{cause:?}");
    }
    let silent = gates
        .clone()
        .fold(&gate, &nothing(400, NoDataCause::NothingNew), false);
    assert_eq!(
        verdict(&silent),
        Verdict::NoData,
        "for more than its patience"
    );
    let next = gates.at(cursor(3, 1));
    let next = next.fold(&gate, &nothing(200, NoDataCause::NothingNew), false);
    assert_eq!(
        verdict(&next),
        Verdict::Inconclusive,
        "passed at another share"
    );
}

#[test]
fn what_both_share_holds_and_no_traffic_is_no_data() {
    let gate = compare();
    let mut gates = Gates::default().at(cursor(1, 1));
    for round in 1..5 {
        gates = gates.fold(
            &gate,
            &counts(5 * round, 2500, (125, 60), (375, 180)),
            false,
        );
    }
    assert_eq!(verdict(&gates), Verdict::Hold);
    let mut gates = Gates::default().at(cursor(1, 1));
    for round in 1..40 {
        gates = gates.fold(&gate, &counts(5 * round, 2500, (0, 0), (375, 1)), false);
        assert_eq!(
            verdict(&gates),
            Verdict::NoData,
            "also before patience is over"
        );
    }
}

#[test]
fn impossible_numbers_are_named_and_judge_nothing() {
    let gate = compare();
    let gates = Gates::default().at(cursor(1, 1));
    let before = gates.fold(&gate, &counts(5, 2500, (100, 0), (300, 0)), false);
    let after = before
        .clone()
        .fold(&gate, &counts(10, 2500, (10, 20), (300, 0)), false);
    assert_eq!(verdict(&after), Verdict::NoData);
    assert_eq!(after.evidence, before.evidence);
    let words = after.states["errors"].evidence.clone().unwrap();
    assert_eq!(words, "errors: candidate has 20 bad of 10 requests");
}

#[test]
fn the_end_of_a_step_is_looked_at_exactly_once() {
    let gate = compare();
    // Too few for the sequential test: the reserved exact test decides.
    let measured: Vec<Measurement> = (1..7)
        .map(|it| counts(5 * it, 2500, (25, u64::from(it % 2 == 0)), (75, 0)))
        .collect();
    let fold = |gates: Gates, it: &Measurement, ends| gates.fold(&gate, it, ends);
    let open = measured
        .iter()
        .fold(Gates::default(), |gates, it| fold(gates, it, false));
    assert_eq!(verdict(&open), Verdict::Inconclusive);
    assert!(!open.states["errors"].looked);
    let last = counts(35, 2500, (25, 1), (75, 0));
    let ended = fold(open, &last, true);
    assert!(ended.states["errors"].looked);
    assert_eq!(verdict(&ended), Verdict::Fail);
}

#[test]
fn a_plan_fits_the_policy_to_its_gate_steps() {
    let Question::Compare(it) = compare().question else {
        panic!("it is a compare gate")
    };
    assert_eq!(it.policy.final_looks, 2);
    let gate = compare();
    assert_eq!(gate.on_fail, GatePolicy::Rollback);
    assert_eq!(gate.on_inconclusive, GatePolicy::Pause);
    assert_eq!(gate.on_no_data, GatePolicy::Pause);
}

#[test]
fn wrong_settings_are_all_named() {
    let file = |gate: Value| json!({ "strategy": { "canary": {} }, "gates": [gate] });
    let problems = |gate: Value| {
        let keys = ["strategy", "gates"];
        let read = document::read(&file(gate), |it| Delivery::read(&it.object(&keys)?));
        let problems = read.unwrap_err();
        let words: Vec<String> = problems
            .iter()
            .map(|it| format!("{}: {}", it.pointer, it.detail))
            .collect();
        words.join("\n")
    };
    let mut told = String::new();
    for gate in [
        json!({ "name": "a", "compare": { "requests": "r" } }),
        json!({ "name": "a", "compare": { "metric": "haproxy", "requests": "r", "errors": "e" } }),
        json!({ "name": "a", "compare": { "metric": "haproxy", "alpha": 0 } }),
        json!({ "name": "a", "compare": { "metric": "haproxy", "alpha": 1 } }),
        json!({ "name": "a", "compare": { "metric": "haproxy", "alpha": "x", "margin": [], "warmUp": 5 } }),
        json!({ "name": "a", "compare": { "metric": "haproxy", "revisions": { "label": "a-b" } } }),
        json!({ "name": "a", "compare": { "metric": "haproxy" }, "onFail": "extend" }),
        json!({ "name": "a", "compare": { "metric": "haproxy" }, "slo": { "metric": "haproxy", "objective": 0.99 } }),
        json!({ "name": "a", "slo": { "metric": "haproxy" } }),
        json!({ "name": "a", "slo": { "metric": "haproxy", "objective": 99.9 } }),
        json!({ "name": "a", "latency": {} }),
        json!({ "name": "a", "scalar": { "candidate": "q", "margin": 1 } }),
        json!({ "name": "a", "scalar": { "candidate": "q", "stable": "p", "margin": 1, "passMargin": 0.5 } }),
    ] {
        told += &format!("{gate}\n{}\n\n", problems(gate.clone()));
    }
    insta::assert_snapshot!(told);
}

/// Counters, a sample each ten seconds.
fn series(role: Role, what: &str, code: &str, values: &[(i64, f64)]) -> Found {
    let labels = [
        ("job", "web"),
        ("instance", if role == Role::Stable { "s" } else { "c" }),
        ("code", code),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let samples: Vec<(i64, f64)> = values
        .iter()
        .map(|(at, value)| (at * 1000, *value))
        .collect();
    Found::new(role, what, &labels.into(), &samples)
}

#[test]
fn counts_go_on_from_where_the_counters_stood() {
    let whats = ["requests", "errors"];
    let begun = Counting::default()
        .advance(
            &[series(
                Role::Stable,
                "requests",
                "200",
                &[(0, 100.0), (10, 110.0)],
            )],
            &whats,
            10_000,
        )
        .unwrap();
    assert_eq!(begun.from_ms, None);
    // A reset in stable; the first errors of a target that was there before; a new candidate.
    let found = [
        series(
            Role::Stable,
            "requests",
            "200",
            &[(10, 110.0), (20, 130.0), (30, 5.0)],
        ),
        series(Role::Stable, "requests", "500", &[(30, 3.0)]),
        series(Role::Stable, "errors", "500", &[(30, 3.0)]),
        series(
            Role::Candidate,
            "requests",
            "200",
            &[(20, 40.0), (30, 47.0)],
        ),
    ];
    let counted = begun.next.advance(&found, &whats, 30_000).unwrap();
    assert_eq!((counted.from_ms, counted.until_ms), (Some(10_000), 30_000));
    assert_eq!(
        (counted.stable["requests"], counted.stable["errors"]),
        (20 + 5 + 3, 3)
    );
    assert_eq!(
        (counted.candidate["requests"], counted.candidate["errors"]),
        (7, 0)
    );
    assert!(counted.is_fresh);
    let stored = serde_json::to_value(&counted.next).unwrap();
    let read: Counting = serde_json::from_value(stored).unwrap();
    let idle = read.advance(&found, &whats, 40_000).unwrap();
    assert!(!idle.is_fresh);
    assert!(
        idle.stable
            .values()
            .chain(idle.candidate.values())
            .all(|it| *it == 0)
    );
    assert_eq!(scrape_gap_ms(&found), Some(10_000));
}

#[test]
fn a_share_is_known_only_where_it_did_not_change() {
    let mut shares = Shares::default();
    let quarter = Weight::from_hundredths(2500);
    shares.note(quarter, at(10));
    shares.note(quarter, at(20));
    shares.note(Weight::ALL, at(30));
    assert_eq!(
        shares.between(at(5), at(9)),
        None,
        "before anything was seen"
    );
    assert_eq!(shares.between(at(12), at(28)), Some(quarter));
    assert_eq!(shares.between(at(12), at(31)), None);
    assert_eq!(shares.between(at(30), at(99)), Some(Weight::ALL));
}
