//! Whether statistical gates keep their promises in real rollouts: `make bench-gates`.
//!
//! ```text
//!   cargo bench -p e2e --bench gates [-- PART…]    parts: healthy worse down silent incident
//!
//!   load ──▶ HAProxy ──▶ processes of the sample shop, which fail by chance
//!               └──▶ Prometheus ──▶ compare gate ──▶ rollouts of the server
//! ```
//!
//! Nothing is simulated. Times are from the commit of the candidate's share to the commit of the
//! rollback, so scrapes, the reading one scrape behind and the passes are in them. The result is a
//! Markdown table.

#[path = "../common/figure.rs"]
#[allow(dead_code, reason = "it is shared with other benchmarks")]
mod figure;

#[path = "../common/parts.rs"]
mod parts;

mod live;

use std::process::ExitCode;

use figure::Figure;

/// The parts, in the order they run.
const PARTS: [&str; 5] = ["healthy", "worse", "down", "silent", "incident"];

fn main() -> ExitCode {
    parts::measure(&PARTS, e2e::binary::sluice(), &run)
}

async fn run(part: &str) -> anyhow::Result<Vec<Figure>> {
    match part {
        "healthy" => live::healthy().await,
        "worse" => live::worse().await,
        "down" => live::down().await,
        "silent" => live::silent().await,
        _ => live::incident().await,
    }
}
