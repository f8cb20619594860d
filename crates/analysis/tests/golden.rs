//! Known answers: values computed by a separate reference implementation of the formulas (to 1e-12),
//! and values that others published (to 1e-5).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use analysis::{
    Arm, Compare, ComparePolicy, Mixture, Window,
    compare::Restart,
    increment::{Blocks, Multipliers, Relative, rare},
    share::log_bayes_factor,
};

/// Requests and bad ones: the candidate's, stable's.
const WINDOWS: [[u64; 4]; 3] = [[100, 1, 900, 5], [250, 4, 750, 4], [250, 6, 750, 3]];

fn near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value} {expected}");
}

/// A policy without anything but the comparison.
fn bare(margin: f64, grid: &[f64]) -> ComparePolicy {
    ComparePolicy {
        margin,
        floor: 0.0,
        ceiling: None,
        restart: Restart::NONE,
        grid: grid.to_vec(),
        ..ComparePolicy::default()
    }
}

fn window(second: i64, [nc, xc, nb, xb]: [u64; 4]) -> Window {
    Window {
        from_ms: second * 1000,
        until_ms: (second + 1) * 1000,
        share: 2500,
        candidate: Arm::new(nc, xc),
        stable: Arm::new(nb, xb),
    }
}

fn relative_log_e(margin: f64) -> f64 {
    let gate = Compare::new(bare(margin, &[1.5, 2.0, 4.0, 10.0])).unwrap();
    let mut state = gate.start();
    for (second, counts) in (0..).zip(WINDOWS) {
        gate.fold(&mut state, &window(second, counts)).unwrap();
    }
    gate.parts(&state).relative
}

fn increments(theta: f64, grid: &[f64], [nc, xc, nb, xb]: [u64; 4]) -> Vec<f64> {
    let ratio = nc as f64 / nb as f64;
    let of = |g: &f64| Relative::new(theta, *g, libm::log(*g), ratio).of(xc as f64, xb as f64);
    grid.iter().map(of).collect()
}

#[test]
fn the_comparison_with_stable() {
    near(relative_log_e(0.0), 3.249_807_076_867_435_6, 1e-12);
    near(relative_log_e(0.25), 2.105_650_125_007_774_6, 1e-12);
    let mut mixture = Mixture::new(4, 1.0);
    for counts in WINDOWS {
        mixture.add(increments(1.0, &[1.5, 2.0, 4.0, 10.0], counts).into_iter());
    }
    // The components' values are given with eight decimals.
    let known = [0.778_769_24, 1.873_023_17, 2.775_289_63, 0.053_883_41];
    for (log, known) in mixture.logs().iter().zip(known) {
        near(*log, known, 5e-9);
    }
}

#[test]
fn the_mixture_over_later_starts_and_its_explicit_sum() {
    let grid = [1.5, 2.0, 4.0, 10.0];
    let steps = WINDOWS.map(|it| increments(1.0, &grid, it));
    let kappas = [0.7, 0.1, 0.1];
    let mut mixture = Mixture::new(4, kappas[0]);
    mixture.add(steps[0].iter().copied());
    for (kappa, step) in kappas.iter().zip(&steps).skip(1) {
        mixture.spend(*kappa);
        mixture.add(step.iter().copied());
    }
    let e = libm::exp(mixture.log_e());
    near(e, 22.949_930_328_373, 5e-12);
    let mut explicit = 0.1;
    for (start, kappa) in kappas.iter().enumerate() {
        for j in 0..grid.len() {
            let log: f64 = steps[start..].iter().map(|it| it[j]).sum();
            explicit += kappa * 0.25 * libm::exp(log);
        }
    }
    near(e, explicit, 1e-12 * explicit);
}

#[test]
fn proof_of_not_being_inferior() {
    let grid = [0.2, 0.35, 0.5, 0.65, 0.8];
    let mut mixture = Mixture::new(grid.len(), 1.0);
    for _ in 0..3 {
        mixture.add(increments(2.0, &grid, [5000, 50, 15_000, 150]).into_iter());
    }
    near(mixture.log_e(), 28.323_280_425_489_312, 1e-12);
    let grid = [0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8];
    let mut mixture = Mixture::new(grid.len(), 1.0);
    let of = |g: &f64| rare(5e-4, *g, libm::log(*g), 10_000.0, 0.0);
    mixture.add(grid.iter().map(of));
    near(mixture.log_e(), 3.838_993_772_459_766_7, 1e-12);
}

#[test]
fn a_block_of_frequent_events() {
    let block = Blocks::new(1.0, &Multipliers::new([2.0]), 0.1, (50.0, 150.0));
    let [increment] = block.of((50.0, 10.0), (150.0, 15.0));
    near(increment, 1.536_571_513_858_975_7, 1e-12);
}

#[test]
fn the_split_of_traffic() {
    let p = |counts: (f64, f64), share| libm::exp(-log_bayes_factor(counts, share, share)).min(1.0);
    near(p((70.0, 30.0), 0.5), 0.024_729_470_806_171_744, 1e-12);
    near(p((120.0, 900.0), 0.1), 0.774_864_536_176_398_8, 1e-12);
}

#[test]
fn a_failure_of_the_candidate_alone_in_one_to_one_blocks() {
    // safestats, savi2x2 helpers: at odds 3 each such block multiplies E by 3/2.
    let gate = Compare::new(bare(0.0, &[3.0])).unwrap();
    let mut state = gate.start();
    for t in 1..=6_i32 {
        gate.fold(&mut state, &window(i64::from(t), [1, 1, 1, 0]))
            .unwrap();
        near(
            libm::exp(gate.parts(&state).relative),
            libm::pow(1.5, f64::from(t)),
            1e-12,
        );
    }
}

#[test]
fn no_errors_in_either_arm_pass_at_about_9600_requests() {
    let gate = Compare::new(ComparePolicy::default()).unwrap();
    let mut state = gate.start();
    let mut second = 0;
    while state.passed_ms().is_none() {
        gate.fold(&mut state, &window(second, [25, 0, 75, 0]))
            .unwrap();
        second += 1;
    }
    let requests = state.strata().candidate().requests;
    assert!((9_500..9_700).contains(&requests), "{requests}");
}
