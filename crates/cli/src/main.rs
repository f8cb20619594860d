//! `sluice`: the server, the local setup, the demo, and the verbs for people and CI.
//!
//! ```text
//!   args ──> commands ──> api::Client ──> a Sluice server
//!                │  └──> serve, up, demo: server, store and local parts, in this process
//!                └──> output (tables, JSON, YAML), exit (what the exit code says)
//! ```

mod app_file;
mod args;
mod commands;
mod connection;
mod data_dir;
mod duration;
mod exit;
mod follow;
mod output;
mod rollout_text;
mod target;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Cli, exit::Exit};

#[tokio::main]
async fn main() -> ExitCode {
    // An error says that one is installed already, which is as good.
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap_or_default();
    let cli = Cli::parse();
    match commands::run(cli).await {
        Ok(code) => code,
        Err(error) => {
            exit::report(&error);
            Exit::of_error(&error).into()
        }
    }
}
