//! How fast Sluice acts on Kubernetes and how many requests it makes: `make bench-kubernetes`.
//!
//! ```text
//!   cargo bench -p e2e --bench kubernetes [-- PART…]   parts: requests ready alerts failing concurrent takeover idle
//!
//!   stage     a real control plane, its pods played by KWOK, one namespace; Postgres with fsync; servers
//!   metrics   a Prometheus that answers what it is told, and remembers when
//! ```
//!
//! Times are taken from a watch of this process and from the API server's audit log, requests from
//! the audit log alone; nothing that Sluice says of itself is used, but for the steps' times in its
//! history. The result is a Markdown table.

#[path = "../common/backend.rs"]
#[allow(dead_code, reason = "it is shared with another benchmark")]
mod backend;
#[path = "../common/figure.rs"]
#[allow(dead_code, reason = "it is shared with another benchmark")]
mod figure;
#[path = "../common/parts.rs"]
mod parts;

mod alerts;
mod concurrent;
mod failing;
mod idle;
mod metrics;
mod ready;
mod requests;
mod stage;
mod takeover;

use std::process::ExitCode;

use figure::Figure;

/// The parts, in the order they run.
const PARTS: [&str; 7] = [
    "requests",
    "ready",
    "alerts",
    "failing",
    "concurrent",
    "takeover",
    "idle",
];

fn main() -> ExitCode {
    parts::measure(&PARTS, backend::binary(), &run)
}

async fn run(part: &str) -> anyhow::Result<Vec<Figure>> {
    match part {
        "requests" => requests::measure().await,
        "ready" => ready::measure().await,
        "alerts" => alerts::measure().await,
        "failing" => failing::measure().await,
        "concurrent" => concurrent::measure().await,
        "takeover" => takeover::measure().await,
        _ => idle::measure().await,
    }
}
