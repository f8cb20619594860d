//! Simulates hundreds of thousands of rollouts and writes what came of them to
//! docs/analysis-benchmark.md. Fails when a promise is not kept.

#[path = "../../simulation/mod.rs"]
mod simulation;

use std::{path::Path, process::ExitCode, time::Instant};

use simulation::{
    promises::{Scale, measure},
    report,
};

const FULL: Scale = Scale {
    grid: 600,
    null: 20_000,
    edge: 4_000,
    stress: 6_000,
    latency: 3_000,
    slack: 0.0,
};
/// Names the random numbers of the page.
const SEED: u64 = 20_240_229;

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures how long it took"
)]
fn main() -> ExitCode {
    let started = Instant::now();
    let figures = measure(SEED, &FULL);
    let page = report::page(&figures, &FULL, started.elapsed().as_secs_f64());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/analysis-benchmark.md");
    if let Err(error) = std::fs::write(&path, page) {
        eprintln!("write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let mut kept = true;
    for it in &figures.targets {
        let word = if it.met { "kept" } else { "NOT KEPT" };
        println!("{word:8} {}: {} ({})", it.what, it.measured, it.bound);
        kept &= it.met;
    }
    match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
