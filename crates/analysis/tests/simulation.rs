//! A small, seeded part of the benchmark: the promises on hundreds of rollouts a scenario.

#[path = "../simulation/mod.rs"]
mod simulation;

use simulation::{
    peers::{
        gavi::{Sample, lower_bound},
        kayenta::MannWhitney,
    },
    promises::{Scale, measure},
    report,
};

/// Some seconds of work.
const SMALL: Scale = Scale {
    grid: 21,
    null: 100,
    edge: 60,
    stress: 30,
    latency: 60,
    slack: 4.0,
};

#[test]
fn every_promise_is_kept() {
    let figures = measure(7, &SMALL);
    let broken: Vec<_> = figures.targets.iter().filter(|it| !it.met).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let page = report::page(&figures, &SMALL, 0.0);
    assert_eq!(page.matches("| yes |").count(), figures.targets.len());
}

#[test]
fn kayenta_by_the_numbers_of_its_own_issue() {
    // spinnaker/spinnaker#6278: seven times 100 and three times 1 against ten times 1.
    let experiment = [
        100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1.0, 1.0, 1.0,
    ];
    let test = MannWhitney::new(&experiment, &[1.0; 10]);
    assert!(
        (test.low - 6.825_022_991_538_781e-5).abs() < 1e-9,
        "{test:?}"
    );
    assert!((test.high - 99.0).abs() < 1e-9, "{test:?}");
    assert!(
        (test.estimate - 98.999_929_041_701_93).abs() < 1e-9,
        "{test:?}"
    );
}

#[test]
fn growthbook_by_the_numbers_of_its_own_test() {
    // gbstats test_tests.py, TestSequentialTTest, one-sided and absolute.
    let stable = Sample::new(3000.0, 1396.87, 52_377.976_7);
    let candidate = Sample::new(3461.0, 2422.7, 134_698.29);
    let lower = lower_bound(stable, candidate, 0.05, 5000.0);
    assert!((lower + 0.126_568_441_728_049_82).abs() < 1e-9, "{lower}");
}
