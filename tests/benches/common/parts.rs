//! Runs the parts of a benchmark, or those that are named on its command line, and prints what they
//! measured.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use crate::figure::{self, Figure};

/// Measures parts of a binary in their order; `run` measures one.
pub(crate) fn measure(
    parts: &[&str],
    binary: anyhow::Result<PathBuf>,
    run: &impl AsyncFn(&str) -> anyhow::Result<Vec<Figure>>,
) -> ExitCode {
    match try_measure(parts, binary, run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_measure(
    parts: &[&str],
    binary: anyhow::Result<PathBuf>,
    run: &impl AsyncFn(&str) -> anyhow::Result<Vec<Figure>>,
) -> anyhow::Result<()> {
    // Cargo adds flags of its own, such as --bench.
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    if let Some(unknown) = asked.iter().find(|it| !parts.contains(&it.as_str())) {
        anyhow::bail!(
            "no part is called {unknown}; there are {}",
            parts.join(", ")
        );
    }
    // An error only says that a provider is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    eprintln!("measuring {}", binary?.display());
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for part in parts {
        if !asked.is_empty() && !asked.iter().any(|it| it == part) {
            continue;
        }
        let began = Instant::now();
        match runtime.block_on(run(part)) {
            Ok(measured) => figures.extend(measured),
            // What the others measure is not lost with it.
            Err(error) => {
                eprintln!("error: part {part}: {error:#}");
                failed.push(*part);
            }
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("?");
        eprintln!(
            "{part}: {:.0} s, load at the end {load}",
            began.elapsed().as_secs_f64()
        );
    }
    print!("{}", figure::table(&figures));
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
