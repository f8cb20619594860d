//! How fast Sluice reacts and what it costs at rest: `make bench`.
//!
//! ```text
//!   cargo bench -p e2e [-- PART…]      parts: alerts streams ready round-trips idle concurrent takeover
//!
//!   site      Postgres with fsync, HAProxy with one backend an app, one or two servers
//!   targets   what HAProxy balances to: a responder in this process
//!   router    HAProxy's own view of the weights, read every millisecond
//! ```
//!
//! The binary is `target/release/sluice`, or what `SLUICE_BIN` names. Every time is taken from
//! HAProxy's stats socket by this process; nothing that Sluice says of itself is used, but for the
//! two figures that only it can know (wakes, passes). The result is a Markdown table.

#[path = "../common/backend.rs"]
mod backend;
#[path = "../common/figure.rs"]
mod figure;
#[path = "../common/parts.rs"]
mod parts;

mod alerts;
mod concurrent;
mod idle;
mod ready;
mod round_trips;
mod router;
mod site;
mod streams;
mod takeover;
mod targets;

use std::process::ExitCode;

use figure::Figure;

/// The parts, in the order they run.
const PARTS: [&str; 7] = [
    "alerts",
    "streams",
    "ready",
    "round-trips",
    "idle",
    "concurrent",
    "takeover",
];

fn main() -> ExitCode {
    parts::measure(&PARTS, backend::binary(), &run)
}

async fn run(part: &str) -> anyhow::Result<Vec<Figure>> {
    match part {
        "alerts" => alerts::measure().await,
        "streams" => streams::measure().await,
        "ready" => ready::measure().await,
        "round-trips" => round_trips::measure().await,
        "idle" => idle::measure().await,
        "concurrent" => concurrent::measure().await,
        _ => takeover::measure().await,
    }
}
