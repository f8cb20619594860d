//! Latency and scalar gates in the situations that rollouts get into.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use analysis::{
    Bucket, Histogram, Hold, InputError, Latency, LatencyPolicy, LatencyState, LatencyWindow,
    Scalar, ScalarPolicy, ScalarState, Tails, Verdict,
    scalar::{Noise, ScalarWindow, Worse},
};

const BOUNDS: [f64; 5] = [0.05, 0.1, 0.25, 1.0, f64::INFINITY];

/// A classic histogram with these requests in each bucket.
fn classic(counts: [u64; 5]) -> Histogram {
    let mut sum = 0;
    let buckets = BOUNDS.into_iter().zip(counts).map(|(le, count)| {
        sum += count;
        Bucket { le, count: sum }
    });
    Histogram::Classic {
        buckets: buckets.collect(),
    }
}

fn window(second: i64, candidate: &Histogram, stable: &Histogram) -> LatencyWindow {
    LatencyWindow {
        from_ms: second * 1000,
        until_ms: (second + 1) * 1000,
        share: 2500,
        tails: Tails::new(candidate, stable).unwrap(),
    }
}

fn run(candidate: &Histogram, stable: &Histogram, seconds: i64) -> (Latency, LatencyState) {
    let gate = Latency::new(LatencyPolicy::default()).unwrap();
    let mut state = gate.start();
    for second in 0..seconds {
        let it = window(second, candidate, stable);
        gate.fold(&mut state, &it).unwrap();
    }
    (gate, state)
}

const STABLE: [u64; 5] = [300, 300, 120, 29, 1];
const EQUAL: [u64; 5] = [100, 100, 40, 10, 0];
/// The same median, and a tail that is five times as heavy.
const TAIL: [u64; 5] = [90, 100, 10, 45, 5];

#[test]
fn an_equal_candidate_passes_at_every_bound() {
    let (gate, state) = run(&classic(EQUAL), &classic(STABLE), 60);
    assert_eq!(state.verdict(), Verdict::Pass);
    let sentence = gate.evidence(&state).sentence();
    assert!(sentence.contains("false pass chance ≤ 5 %"), "{sentence}");
}

#[test]
fn a_heavier_tail_is_rolled_back_and_the_bound_that_moved_is_named() {
    let (gate, state) = run(&classic(TAIL), &classic(STABLE), 20);
    assert!(matches!(state.verdict(), Verdict::Rollback(_)));
    let evidence = gate.evidence(&state);
    assert_eq!(evidence.bound, Some(0.25));
    let sentence = evidence.sentence();
    assert!(
        sentence.starts_with("latency: 20 % of candidate's")
            && sentence.contains("took over 250 ms, 4 % of stable's"),
        "{sentence}"
    );
}

#[test]
fn a_faster_candidate_passes() {
    let fast = classic([250, 0, 0, 0, 0]);
    let (_, state) = run(&fast, &classic(STABLE), 60);
    assert_eq!(state.verdict(), Verdict::Pass);
}

#[test]
fn native_histograms_tell_the_same() {
    let native = |factor: f64| {
        // Requests about 80 ms, moved by whole buckets of 9 %.
        let shift = (libm::log2(factor) * 8.0).round() as i32;
        let positive = (-50..10).map(|it| {
            let off = f64::from(it + 29);
            (it + shift, (60.0 * libm::exp(-off * off / 60.0)) as u64)
        });
        Histogram::Native {
            schema: 3,
            zero_threshold: 1e-9,
            zero: 0,
            positive: positive.collect(),
            custom: Vec::new(),
        }
    };
    let (_, state) = run(&native(1.0), &native(1.0), 60);
    assert_eq!(state.verdict(), Verdict::Pass);
    let (_, state) = run(&native(1.2), &native(1.0), 30);
    assert!(matches!(state.verdict(), Verdict::Rollback(_)));
}

#[test]
fn a_revision_with_other_buckets_is_compared_at_the_common_ones_or_not_at_all() {
    let gate = Latency::new(LatencyPolicy::default()).unwrap();
    let mut state = gate.start();
    gate.fold(&mut state, &window(0, &classic(EQUAL), &classic(STABLE)))
        .unwrap();
    let begun = state.clone();
    // The buckets of both change so much that nothing begun goes on.
    let other = Histogram::Classic {
        buckets: vec![
            Bucket { le: 3.0, count: 5 },
            Bucket {
                le: f64::INFINITY,
                count: 6,
            },
        ],
    };
    let error = gate
        .fold(&mut state, &window(1, &other, &other))
        .unwrap_err();
    assert_eq!((error, &state), (InputError::NoCommonBound, &begun));
}

#[test]
fn silence_holds_and_never_passes() {
    let silent = classic([0; 5]);
    let (_, state) = run(&silent, &classic(STABLE), 60);
    assert_eq!(state.verdict(), Verdict::Hold(Hold::NoTraffic));
    let (_, state) = run(&classic(EQUAL), &silent, 60);
    assert_eq!(state.verdict(), Verdict::Hold(Hold::NoBaseline));
    let (gate, state) = run(&silent, &silent, 1000);
    assert_eq!(state.verdict(), Verdict::Hold(Hold::NoTraffic));
    let late = gate.verdict_at(&state, 2_000_000);
    assert_eq!(late, Verdict::Hold(Hold::NoData));
}

/// A deterministic wave: noise without a generator.
fn wave(batch: i64) -> f64 {
    libm::sin(batch as f64 * 1.7) + libm::sin(batch as f64 * 0.61)
}

fn scalar(noise: Noise, worse: Worse, shift: f64, batches: i64) -> (Scalar, ScalarState) {
    let gate = Scalar::new(ScalarPolicy::new(worse, noise, 0.0, 1.0)).unwrap();
    let mut state = gate.start();
    for batch in 0..batches {
        let it = ScalarWindow {
            from_ms: batch * 300_000,
            until_ms: (batch + 1) * 300_000,
            candidate: wave(batch) + shift,
            stable: wave(batch + 50),
        };
        gate.fold(&mut state, &it).unwrap();
    }
    (gate, state)
}

const KNOWN: Noise = Noise::Known {
    deviation: 1.0,
    autocorrelation: 0.2,
};

#[test]
fn a_number_that_is_worse_is_rolled_back_with_and_without_a_past() {
    for noise in [KNOWN, Noise::Unknown] {
        let (gate, state) = scalar(noise, Worse::Higher, 4.0, 12);
        assert!(matches!(state.verdict(), Verdict::Rollback(_)), "{noise:?}");
        let sentence = gate.sentence(&state, "heap", "MiB");
        assert!(sentence.starts_with("heap: candidate 4"), "{sentence}");
        assert!(sentence.contains("MiB above stable"), "{sentence}");
        let (_, state) = scalar(noise, Worse::Lower, -4.0, 12);
        assert!(matches!(state.verdict(), Verdict::Rollback(_)), "{noise:?}");
        // Better is not worse.
        let (_, state) = scalar(noise, Worse::Lower, 4.0, 12);
        assert_eq!(state.verdict(), Verdict::Pass, "{noise:?}");
    }
}

#[test]
fn a_number_that_is_equal_passes_once_there_is_enough_of_it() {
    let (_, state) = scalar(KNOWN, Worse::Higher, 0.0, 5);
    assert_eq!(state.verdict(), Verdict::Continue);
    let (_, state) = scalar(KNOWN, Worse::Higher, 0.0, 80);
    assert_eq!(state.verdict(), Verdict::Pass);
}

#[test]
fn noise_is_measured_in_the_past() {
    let past: Vec<f64> = (0..2000).map(wave).collect();
    let Noise::Known {
        deviation,
        autocorrelation,
    } = Noise::of(&past)
    else {
        panic!("a long past is known");
    };
    assert!((deviation - 1.0).abs() < 0.05, "{deviation}");
    // Half of cos(1.7) + cos(0.61).
    assert!((autocorrelation - 0.345).abs() < 0.02, "{autocorrelation}");
}
