//! Broken input is a named error or a defined verdict: never a panic, never a pass.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod windows;

use analysis::{
    Arm, Bucket, COUNT_MAX, Compare, ComparePolicy, Dispersion, Histogram, InputError, Latency,
    LatencyPolicy, LatencyWindow, Scalar, ScalarPolicy, ShareCheck, Tails, Verdict, Window,
    compare::{Restart, history_bound},
    scalar::{Limit, LimitPolicy, Noise, ScalarWindow, Worse},
    slo::{Burn, BurnPolicy},
};
use proptest::prelude::*;
use windows::window;

const NOT_NUMBERS: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// The field that a policy is refused for.
fn refused(change: impl Fn(&mut ComparePolicy)) -> &'static str {
    let mut policy = ComparePolicy::default();
    change(&mut policy);
    Compare::new(policy).unwrap_err().field
}

#[test]
fn chances_of_nothing_and_of_everything_are_refused() {
    for value in [0.0, 1.0, 0.5, -0.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(|it| it.alpha = value), "alpha");
        assert_eq!(refused(|it| it.beta = value), "beta");
        let latency = LatencyPolicy {
            alpha: value,
            ..LatencyPolicy::default()
        };
        assert_eq!(Latency::new(latency).unwrap_err().field, "alpha");
        let limit = LimitPolicy {
            alpha: value,
            ..LimitPolicy::new(1.0, Worse::Higher)
        };
        assert_eq!(Limit::new(limit).unwrap_err().field, "alpha");
        let burn = BurnPolicy {
            beta: value,
            ..BurnPolicy::new(0.999)
        };
        assert_eq!(Burn::new(burn).unwrap_err().field, "beta");
        let scalar = ScalarPolicy {
            beta: value,
            ..ScalarPolicy::new(Worse::Lower, Noise::Unknown, 0.0, 1.0)
        };
        assert_eq!(Scalar::new(scalar).unwrap_err().field, "beta");
    }
}

#[test]
fn every_number_of_a_policy_has_a_range() {
    for bad in NOT_NUMBERS {
        assert_eq!(refused(|it| it.margin = bad), "margin");
        assert_eq!(refused(|it| it.pass_ratio = bad), "passRatio");
        assert_eq!(refused(|it| it.floor = bad), "floor");
        assert_eq!(refused(|it| it.ceiling = Some(bad)), "ceiling");
        assert_eq!(refused(|it| it.history = Some(bad)), "history");
        assert_eq!(refused(|it| it.final_part = bad), "finalPart");
        assert_eq!(refused(|it| it.restart.mass = bad), "restart.mass");
        let horizon = refused(|it| it.restart.horizon_seconds = bad);
        assert_eq!(horizon, "restart.horizonSeconds");
        assert_eq!(refused(|it| it.restart.step_part = bad), "restart.stepPart");
        assert_eq!(refused(|it| it.warm_up_seconds = bad), "warmUpSeconds");
        assert_eq!(refused(|it| it.patience_seconds = bad), "patienceSeconds");
        let seed = refused(|it| it.dispersion = Some(Dispersion::seeded(bad)));
        assert_eq!(seed, "dispersion.seed");
        let check = ShareCheck {
            tolerance: bad,
            ..ShareCheck::default()
        };
        let tolerance = refused(|it| it.share_check = Some(check));
        assert_eq!(tolerance, "shareCheck.tolerance");
        assert_eq!(refused(|it| it.grid = vec![bad]), "grid");
        assert_eq!(refused(|it| it.pass_grid = vec![bad]), "passGrid");
    }
    assert_eq!(refused(|it| it.pass_ratio = 1.0), "passRatio");
    assert_eq!(refused(|it| it.ceiling = Some(1.0)), "ceiling");
    assert_eq!(refused(|it| it.grid = vec![]), "grid");
    assert_eq!(refused(|it| it.grid = vec![2.0; 100]), "grid");
    assert_eq!(refused(|it| it.grid = vec![1.0]), "grid");
    assert_eq!(refused(|it| it.pass_grid = vec![1.5]), "passGrid");
    assert_eq!(
        refused(|it| it.restart = Restart {
            mass: 1.0,
            ..it.restart
        }),
        "restart.mass"
    );
}

#[test]
fn windows_that_cannot_be_are_named_and_change_nothing() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let burn = Burn::new(BurnPolicy::new(0.999)).unwrap();
    let fine = window(10, [10, 1, 30, 1]);
    let broken: [(Window, &str); 6] = [
        (
            Window {
                candidate: Arm::new(3, 4),
                ..fine
            },
            "candidate has 4 bad of 3 requests",
        ),
        (
            Window {
                stable: Arm::new(0, 1),
                ..fine
            },
            "stable has 1 bad of 0 requests",
        ),
        (
            Window {
                stable: Arm::new(COUNT_MAX + 1, 0),
                ..fine
            },
            "stable has 9007199254740993 requests in one window, more than can be counted exactly",
        ),
        (
            Window {
                until_ms: fine.from_ms,
                ..fine
            },
            "the window ends at 10000 ms and begins at 10000 ms",
        ),
        (
            Window {
                from_ms: i64::MAX,
                until_ms: i64::MIN,
                ..fine
            },
            "the window ends at -9223372036854775808 ms and begins at 9223372036854775807 ms",
        ),
        (
            Window {
                share: 10_001,
                ..fine
            },
            "a share of 10001 hundredths of a percent is more than all",
        ),
    ];
    for (it, words) in broken {
        let mut state = gate.start();
        assert_eq!(gate.fold(&mut state, &it).unwrap_err().to_string(), words);
        assert_eq!(state, gate.start());
        let mut state = burn.start();
        assert_eq!(burn.fold(&mut state, &it).unwrap_err().to_string(), words);
        assert_eq!(state, burn.start());
    }
}

#[test]
fn a_clock_that_jumps_far_is_one_long_window() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let mut state = gate.start();
    let all = Window {
        from_ms: i64::MIN,
        until_ms: i64::MAX,
        ..window(0, [10, 1, 30, 1])
    };
    gate.fold(&mut state, &all).unwrap();
    assert!(gate.parts(&state).rollback.is_finite());
    assert_ne!(state.verdict(), Verdict::Pass);
}

#[test]
fn a_million_million_requests_are_counted() {
    let million_million = 1_000_000_000_000;
    let gate = Compare::new(ComparePolicy::strict()).unwrap();
    let mut state = gate.start();
    let equal = [
        million_million,
        1_000_000_000,
        million_million,
        1_000_000_000,
    ];
    for second in 0..50 {
        gate.fold(&mut state, &window(second, equal)).unwrap();
    }
    assert_eq!(state.verdict(), Verdict::Pass);
    gate.final_look(&mut state).unwrap();
    assert_eq!(state.decision(), None);
    let worse = [
        million_million,
        1_200_000_000,
        million_million,
        1_000_000_000,
    ];
    let mut state = gate.start();
    gate.fold(&mut state, &window(0, worse)).unwrap();
    assert!(matches!(state.verdict(), Verdict::Rollback(_)));
    let evidence = gate.evidence(&state);
    let least = evidence.ratio_at_least.unwrap();
    assert!((1.18..1.2).contains(&least), "{least}");
}

#[test]
fn a_past_that_is_too_short_or_too_bad_sets_no_bound() {
    let day = Arm::new(86_400, 86);
    assert_eq!(history_bound(&[day; 6], 0.0), None);
    let bound = history_bound(&[day; 7], 0.0).unwrap();
    assert!((bound - 1.25 * 86.0 / 86_400.0).abs() < 1e-15);
    let silent = Arm::new(0, 0);
    assert_eq!(
        history_bound(&[day, day, day, day, day, day, silent], 0.0),
        None
    );
    assert_eq!(history_bound(&[Arm::new(10, 10); 7], 0.0), None);
    // A week without an error is no proof of none.
    assert_eq!(history_bound(&[Arm::new(3000, 0); 7], 0.0), Some(0.001));
    assert_eq!(history_bound(&[], 0.0), None);
}

#[test]
fn numbers_that_are_none_never_reach_a_scalar_gate() {
    let noise = Noise::Known {
        deviation: 1.0,
        autocorrelation: 0.0,
    };
    let gate = Scalar::new(ScalarPolicy::new(Worse::Higher, noise, 0.0, 1.0)).unwrap();
    let mut state = gate.start();
    for (candidate, stable) in NOT_NUMBERS
        .into_iter()
        .flat_map(|it| [(it, 1.0), (1.0, it)])
    {
        let it = ScalarWindow {
            from_ms: 0,
            until_ms: 60_000,
            candidate,
            stable,
        };
        let error = gate.fold(&mut state, &it).unwrap_err();
        assert!(matches!(error, InputError::NotFinite { .. }), "{error}");
    }
    let huge = ScalarWindow {
        from_ms: 0,
        until_ms: 60_000,
        candidate: f64::MAX,
        stable: f64::MIN,
    };
    assert!(gate.fold(&mut state, &huge).is_err());
    assert_eq!(state, gate.start());
    let silent = Noise::of(&[5.0; 1000]);
    assert_eq!(
        silent,
        Noise::Unknown,
        "a number that never moves has no noise"
    );
    assert_eq!(Noise::of(&[f64::NAN; 1000]), Noise::Unknown);
    assert_eq!(Noise::of(&[]), Noise::Unknown);
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let le = prop_oneof![
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(0.1),
        Just(0.5),
        Just(-1.0),
        0.0..10.0_f64
    ];
    let count = prop_oneof![0..100_u64, Just(u64::MAX), Just(1_000_000_000_000)];
    let bucket = (le.clone(), count.clone()).prop_map(|(le, count)| Bucket { le, count });
    let sound = prop::collection::vec(0..50_u64, 4).prop_map(|counts| {
        let mut sum = 0;
        let bounds = [0.1, 0.5, 1.0, f64::INFINITY];
        let buckets = bounds.into_iter().zip(counts).map(|(le, count)| {
            sum += count;
            Bucket { le, count: sum }
        });
        Histogram::Classic {
            buckets: buckets.collect(),
        }
    });
    let index = prop_oneof![-40..40_i32, Just(i32::MAX), Just(i32::MIN)];
    let native = (
        any::<i8>(),
        le,
        count.clone(),
        prop::collection::vec((index, count), 0..5),
    );
    prop_oneof![
        prop::collection::vec(bucket, 0..5).prop_map(|buckets| Histogram::Classic { buckets }),
        sound,
        native.prop_map(
            |(schema, zero_threshold, zero, positive)| Histogram::Native {
                schema: if schema > 40 { 3 } else { schema },
                zero_threshold,
                zero,
                positive,
                custom: vec![0.1, 0.5],
            }
        ),
    ]
}

proptest! {
    #[test]
    fn any_histograms_are_compared_or_refused(
        pairs in prop::collection::vec((any_histogram(), any_histogram()), 1..12),
    ) {
        let gate = Latency::new(LatencyPolicy::default()).unwrap();
        let mut state = gate.start();
        for (second, (candidate, stable)) in (0..).zip(pairs) {
            let Ok(tails) = Tails::new(&candidate, &stable) else {
                continue;
            };
            let it = LatencyWindow {
                from_ms: second * 1000,
                until_ms: (second + 1) * 1000,
                share: 2500,
                tails,
            };
            let before = state.clone();
            if gate.fold(&mut state, &it).is_err() {
                prop_assert_eq!(&state, &before);
            }
            gate.check(&state).unwrap();
            prop_assert!(!state.log_e().is_nan());
            prop_assert!(!gate.evidence(&state).sentence().contains("NaN"));
        }
    }

    #[test]
    fn any_numbers_are_judged_or_refused(
        numbers in prop::collection::vec((any::<f64>(), any::<f64>()), 1..30),
        known in any::<bool>(),
    ) {
        let noise = match known {
            true => Noise::Known { deviation: 0.5, autocorrelation: 0.9 },
            false => Noise::Unknown,
        };
        let gate = Scalar::new(ScalarPolicy::new(Worse::Higher, noise, 0.0, 1.0)).unwrap();
        let mut state = gate.start();
        for (batch, (candidate, stable)) in (0..).zip(numbers) {
            let it = ScalarWindow {
                from_ms: batch * 300_000,
                until_ms: (batch + 1) * 300_000,
                candidate,
                stable,
            };
            let before = state.clone();
            if gate.fold(&mut state, &it).is_err() {
                prop_assert_eq!(&state, &before);
            }
            prop_assert!(gate.check(&state).is_ok());
            prop_assert!(!gate.log_e(&state).is_nan(), "{state:?}");
        }
    }
}
