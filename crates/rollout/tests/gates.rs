//! Gates judge: rows of readings, and the verdict after each. None but good readings lead to a pass.

#![allow(clippy::unwrap_used, reason = "a test that is surprised has failed")]

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};
use rollout::{
    Cursor, Track,
    gate::{
        Gate, GatePolicy, GateState, Gates, Measurement, NoDataCause, Question, Reading, Threshold,
        Verdict, WebhookGate,
    },
};

fn at(second: u32) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(i64::from(second))
}

fn gate(question: Question) -> Gate {
    Gate {
        name: "errors".to_owned(),
        question,
        interval: SignedDuration::from_secs(10),
        on_fail: GatePolicy::Rollback,
        on_inconclusive: GatePolicy::Rollback,
        on_no_data: GatePolicy::Rollback,
    }
}

fn threshold(fail_after: u32, pass_after: u32) -> Gate {
    gate(Question::Threshold(Threshold {
        query: "q".to_owned(),
        below: Some(0.5),
        above: Some(0.0),
        unit: None,
        fail_after,
        pass_after,
    }))
}

fn webhook() -> Gate {
    gate(Question::Webhook(WebhookGate {
        url: "http://127.0.0.1:1/".to_owned(),
        fail_after: 1,
        pass_after: 1,
    }))
}

/// `g`ood, `b`ad, `n`o data, `i`nfinite, `N`aN; of a webhook `P`ass, `F`ail, `I`nconclusive.
fn reading(letter: char) -> Reading {
    let value = |value| Reading::Value { value };
    let judged = |verdict| Reading::Judged {
        verdict,
        detail: "it says so".to_owned(),
    };
    match letter {
        'g' => value(0.1),
        'b' => value(0.9),
        'i' => value(f64::INFINITY),
        'N' => value(f64::NAN),
        'P' => judged(Verdict::Pass),
        'F' => judged(Verdict::Fail),
        'I' => judged(Verdict::Inconclusive),
        _ => Reading::NoData {
            cause: NoDataCause::Timeout,
            detail: "no answer in 5s".to_owned(),
        },
    }
}

/// The verdict after each reading.
fn verdicts(gate: &Gate, letters: &str) -> String {
    let mut state = GateState::default();
    let mut told = Vec::new();
    for (second, letter) in (0..).zip(letters.chars()) {
        let measurement = Measurement {
            at: at(second),
            reading: reading(letter),
        };
        state = gate.fold(&state, &measurement);
        assert_eq!(
            gate.fold(&state, &measurement).measured,
            state.measured,
            "a replay is harmless"
        );
        told.push(match state.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Inconclusive => "?",
            Verdict::Hold => "held",
            Verdict::NoData => "none",
        });
    }
    told.join(" ")
}

#[test]
fn rows_of_readings() {
    let mut told = String::new();
    for (words, gate, rows) in [
        (
            "threshold, fails after 2 bad, passes after 2 good",
            threshold(2, 2),
            &[
                "gg", "gggb", "ggbg", "bb", "bgb", "bnb", "bbgggg", "gng", "ggn", "ggi", "gNg",
                "nnn", "ii",
            ][..],
        ),
        (
            "threshold, fails after 3 bad, passes after 1 good",
            threshold(3, 1),
            &["g", "bgb", "bbgbb", "bbb", "bbnb"][..],
        ),
        (
            "webhook, believed at its first word",
            webhook(),
            &["P", "F", "FP", "I", "PI", "n", "g", "IP"][..],
        ),
    ] {
        told += &format!("{words}\n");
        for row in rows {
            told += &format!("    {row:<8} {}\n", verdicts(&gate, row));
        }
    }
    insta::assert_snapshot!(told);
}

#[test]
fn measurements_belong_to_one_step_and_attempt() {
    let cursor = |step, attempt| Cursor {
        track: Track::Main,
        step,
        attempt,
    };
    let measurement = Measurement {
        at: at(1),
        reading: reading('b'),
    };
    let gates = Gates::default()
        .at(cursor(2, 1))
        .fold(&threshold(1, 1), &measurement, false);
    assert_eq!(gates.at(cursor(2, 1)), gates);
    for other in [cursor(2, 2), cursor(3, 1)] {
        assert!(gates.at(other).states.is_empty(), "{other:?}");
    }
}

proptest! {
    #[test]
    fn only_good_readings_lead_to_a_pass(letters in vec(prop::sample::select(vec!['g', 'b', 'i', 'N', 'n', 'P']), 0..30), pass_after in 1u32..5) {
        let row: String = letters.iter().collect();
        let told = verdicts(&threshold(2, pass_after), &row);
        for (index, verdict) in told.split_whitespace().enumerate() {
            let good = letters.iter().take(index + 1).rev().take_while(|it| **it == 'g').count();
            if verdict == "pass" {
                prop_assert!(good >= pass_after as usize, "{} {}", row, told);
            }
        }
    }
}
