//! What a gate costs: the time to fold one window, the size of a state. Prints figures.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and may panic"
)]

use std::{hint::black_box, time::Instant};

use analysis::{
    Arm, Bucket, Compare, ComparePolicy, CompareState, Dispersion, Histogram, Latency,
    LatencyPolicy, LatencyState, LatencyWindow, ShareCheck, Tails, Window,
};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::{Distribution, LogNormal};

/// Windows of a measured rollout.
const WINDOWS: i64 = 1_000;
/// Measured rollouts; the fastest fifth counts, because the machine does other things too.
const ROUNDS: usize = 200;
/// Gates whose states are held at once.
const GATES: usize = 10_000;

fn windows(random: &mut Xoshiro256PlusPlus) -> Vec<Window> {
    let window = |second: i64| {
        let (nc, nb) = (
            random.random_range(300..450),
            random.random_range(900..1300),
        );
        Window {
            from_ms: second * 15_000,
            until_ms: (second + 1) * 15_000,
            share: 2500,
            candidate: Arm::new(nc, random.random_range(0..6)),
            stable: Arm::new(nb, random.random_range(0..17)),
        }
    };
    (0..WINDOWS).map(window).collect()
}

/// The nanoseconds of one of `WINDOWS` calls in `round`.
fn nanoseconds(mut round: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            round();
            started.elapsed().as_nanos() as f64 / WINDOWS as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 5]
}

/// Bytes of memory that this process has in use.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

fn compare(name: &str, policy: ComparePolicy, windows: &[Window]) -> CompareState {
    let gate = Compare::new(policy).unwrap();
    let mut last = gate.start();
    let time = nanoseconds(|| {
        let mut state = gate.start();
        for it in windows {
            gate.fold(&mut state, black_box(it)).unwrap();
        }
        last = black_box(state);
    });
    let stored = serde_json::to_string(&last).unwrap().len();
    println!("{name}: {time:.0} ns a window, {stored} bytes stored");
    last
}

fn latency(random: &mut Xoshiro256PlusPlus) -> LatencyState {
    let gate = Latency::new(LatencyPolicy::default()).unwrap();
    let bounds = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    // As in the benchmark of accuracy: a median of 80 ms, a 99th percentile of 0.41 s.
    let times = LogNormal::new(0.08_f64.ln(), 0.7).unwrap();
    let mut histogram = |all: u64| {
        let times: Vec<f64> = (0..all).map(|_| times.sample(random)).collect();
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        let buckets = bounds.map(|le| Bucket {
            le,
            count: times.iter().filter(|it| **it <= le).count() as u64,
        });
        Histogram::Classic {
            buckets: buckets.collect(),
        }
    };
    let window = |second: i64| LatencyWindow {
        from_ms: second * 15_000,
        until_ms: (second + 1) * 15_000,
        share: 2500,
        tails: Tails::new(&histogram(375), &histogram(1100)).unwrap(),
    };
    let windows: Vec<LatencyWindow> = (0..WINDOWS).map(window).collect();
    let mut last = gate.start();
    let time = nanoseconds(|| {
        let mut state = gate.start();
        for it in &windows {
            gate.fold(&mut state, black_box(it)).unwrap();
        }
        last = black_box(state);
    });
    let stored = serde_json::to_string(&last).unwrap().len();
    let bounds = gate.evidence(&last).bounds;
    println!("latency, {bounds} bounds: {time:.0} ns a window, {stored} bytes stored");
    last
}

/// What many copies of a state occupy, as a process of a server would hold them.
fn held<T: Clone>(name: &str, state: &T) {
    let before = resident();
    let all: Vec<T> = std::iter::repeat_n(state, GATES).cloned().collect();
    let mebibytes = (resident() - before) / (1024.0 * 1024.0);
    println!(
        "{} states of {name}: {mebibytes:.1} MiB",
        black_box(&all).len()
    );
}

fn main() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let windows = windows(&mut random);
    let history = ComparePolicy {
        history: Some(0.02),
        ..ComparePolicy::default()
    };
    let state = compare("compare, default with history", history.clone(), &windows);
    compare("compare, strict", ComparePolicy::strict(), &windows);
    let blocks = ComparePolicy {
        dispersion: Some(Dispersion::seeded(2.0)),
        share_check: Some(ShareCheck::default()),
        ..history
    };
    compare(
        "compare, in blocks, with the check of the share",
        blocks,
        &windows,
    );
    let slow = latency(&mut random);
    held("compare", &state);
    held("latency", &slow);
}
