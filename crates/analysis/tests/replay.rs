//! A crash at any moment and a replay give the same bits.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod windows;

use analysis::{
    Bucket, Compare, ComparePolicy, CompareState, Dispersion, Histogram, InputError, Latency,
    LatencyPolicy, LatencyState, LatencyWindow, Scalar, ScalarPolicy, ScalarState, ShareCheck,
    Tails, Window,
    scalar::{Noise, ScalarWindow, Worse},
    slo::{Burn, BurnPolicy, BurnState},
};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use serde::{Serialize, de::DeserializeOwned};
use windows::{at_share, window};

/// What a crash and a start from the stored state do.
fn stored<T: Serialize + DeserializeOwned>(state: &T) -> T {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// Bits, not values: −0 and 0 would be equal, and so would two NaN not.
fn bits<T: Serialize>(state: &T) -> String {
    serde_json::to_string(state).unwrap()
}

fn hour() -> Vec<Window> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    (0..240)
        .map(|second| {
            let share = [500, 2500, 5000][second as usize / 80];
            let (nc, nb) = (random.random_range(0..900), random.random_range(0..3000));
            let (xc, xb) = (
                random.random_range(0..=nc / 90),
                random.random_range(0..=nb / 90),
            );
            at_share(second, share, [nc, xc, nb, xb])
        })
        .collect()
}

fn policies() -> [ComparePolicy; 4] {
    let default = ComparePolicy {
        history: Some(0.02),
        share_check: Some(ShareCheck::default()),
        ..ComparePolicy::default()
    };
    [
        ComparePolicy {
            dispersion: Some(Dispersion {
                block_seconds: 7.0,
                ..Dispersion::seeded(2.5)
            }),
            ..default.clone()
        },
        ComparePolicy {
            warm_up_seconds: 20.0,
            ..default.clone()
        },
        ComparePolicy::strict(),
        default,
    ]
}

#[test]
fn a_crash_at_any_window_goes_on_with_the_same_bits() {
    for policy in policies() {
        let gate = Compare::new(policy).unwrap();
        let windows = hour();
        let mut whole = gate.start();
        let mut crashed = gate.start();
        for it in &windows {
            gate.fold(&mut whole, it).unwrap();
            crashed = stored(&crashed);
            gate.fold(&mut crashed, it).unwrap();
            let (a, b) = (gate.parts(&whole), gate.parts(&crashed));
            assert_eq!(a.rollback.to_bits(), b.rollback.to_bits());
            assert_eq!(a.pass.to_bits(), b.pass.to_bits());
            assert_eq!(bits(&whole), bits(&crashed));
        }
        assert_eq!(gate.final_look(&mut whole), gate.final_look(&mut crashed));
        assert_eq!(whole, crashed);
    }
}

#[test]
fn a_window_fed_again_changes_nothing() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let windows = hour();
    let mut once = gate.start();
    let mut often = gate.start();
    for (index, it) in windows.iter().enumerate() {
        gate.fold(&mut once, it).unwrap();
        gate.fold(&mut often, it).unwrap();
        // A retry of this one, and a replay of everything before.
        for seen in &windows[index.saturating_sub(5)..=index] {
            gate.fold(&mut often, seen).unwrap();
        }
    }
    assert_eq!(bits(&once), bits(&often));
}

#[test]
fn a_window_of_which_a_part_was_seen_is_an_error() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let mut state = gate.start();
    gate.fold(&mut state, &window(0, [10, 1, 30, 1])).unwrap();
    let before = bits(&state);
    let mut late = window(1, [10, 1, 30, 1]);
    late.from_ms -= 500;
    let error = gate.fold(&mut state, &late).unwrap_err();
    assert!(matches!(error, InputError::Overlap { .. }), "{error}");
    assert_eq!(bits(&state), before);
}

#[test]
fn a_state_does_not_go_on_under_another_policy_or_version() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let mut state = gate.start();
    let other = Compare::new(ComparePolicy {
        margin: 0.2,
        ..ComparePolicy::default()
    });
    let it = window(0, [10, 1, 30, 1]);
    let error = other.unwrap().fold(&mut state, &it).unwrap_err();
    assert_eq!(error, InputError::OtherPolicy);

    let text = bits(&state).replace("\"version\":1", "\"version\":2");
    let mut newer: CompareState = serde_json::from_str(&text).unwrap();
    let error = gate.fold(&mut newer, &it).unwrap_err();
    assert_eq!(
        error,
        InputError::OtherVersion {
            version: 2,
            ours: 1
        }
    );
}

#[test]
fn a_damaged_state_is_named_and_never_passes() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let text = bits(&gate.start());
    let unspent = text.find("\"unspent\":\"").unwrap() + 11;
    let until = unspent + text[unspent..].find('"').unwrap();
    for bad in ["NaN", "7.5", "-1.0", "inf"] {
        let damaged = format!("{}{bad}{}", &text[..unspent], &text[until..]);
        let mut state: CompareState = serde_json::from_str(&damaged).unwrap();
        let error = gate
            .fold(&mut state, &window(0, [10, 1, 30, 1]))
            .unwrap_err();
        assert!(
            matches!(error, InputError::Damaged { .. }),
            "{bad}: {error}"
        );
    }
    let no_number = format!("{}x{}", &text[..unspent], &text[until..]);
    assert!(serde_json::from_str::<CompareState>(&no_number).is_err());
}

#[test]
fn a_state_that_lacks_what_its_policy_asks_for_is_damaged() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    for process in ["floor", "ceiling", "under"] {
        let mut stored = serde_json::to_value(gate.start()).unwrap();
        stored["evidence"][process] = serde_json::Value::Null;
        let mut state: CompareState = serde_json::from_value(stored).unwrap();
        let error = gate
            .fold(&mut state, &window(0, [10, 1, 30, 1]))
            .unwrap_err();
        assert!(
            matches!(error, InputError::Damaged { .. }),
            "without {process}: {error}"
        );
    }
}

#[test]
fn the_other_gates_go_on_with_the_same_bits_too() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(12);
    let latency = Latency::new(LatencyPolicy::default()).unwrap();
    let noise = Noise::Known {
        deviation: 0.1,
        autocorrelation: 0.4,
    };
    let scalar = Scalar::new(ScalarPolicy::new(Worse::Higher, noise, 0.1, 0.5)).unwrap();
    let burn = Burn::new(BurnPolicy::new(0.99)).unwrap();
    let (mut a, mut b, mut c) = (latency.start(), scalar.start(), burn.start());
    let (mut d, mut e, mut f) = (a.clone(), b.clone(), c.clone());
    for (second, counts) in (0..).zip(hour()) {
        let mut arm = || {
            let mut sum = 0;
            let bounds = [0.05, 0.1, 0.25, 0.5, 1.0, f64::INFINITY];
            let buckets = bounds.map(|le| {
                sum += random.random_range(0..400_u64);
                Bucket { le, count: sum }
            });
            Histogram::Classic {
                buckets: buckets.to_vec(),
            }
        };
        let it = LatencyWindow {
            from_ms: counts.from_ms,
            until_ms: counts.until_ms,
            share: counts.share,
            tails: Tails::new(&arm(), &arm()).unwrap(),
        };
        latency.fold(&mut a, &it).unwrap();
        d = stored::<LatencyState>(&d);
        latency.fold(&mut d, &it).unwrap();
        let it = ScalarWindow {
            from_ms: second * 61_000,
            until_ms: (second + 1) * 61_000,
            candidate: random.random_range(0.0..1.0),
            stable: random.random_range(0.0..1.0),
        };
        scalar.fold(&mut b, &it).unwrap();
        e = stored::<ScalarState>(&e);
        scalar.fold(&mut e, &it).unwrap();
        burn.fold(&mut c, &counts).unwrap();
        f = stored::<BurnState>(&f);
        burn.fold(&mut f, &counts).unwrap();
        assert_eq!(
            (bits(&a), bits(&b), bits(&c)),
            (bits(&d), bits(&e), bits(&f))
        );
    }
    assert_eq!(a.log_e().to_bits(), d.log_e().to_bits());
}
