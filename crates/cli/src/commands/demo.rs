//! `sluice demo`: six rollouts of a real service under real traffic on this machine.
//!
//! ```text
//!   load ──> HAProxy ──> three processes a revision of the sample shop
//!               │  ^
//!     metrics   │  └── Sluice: weights, servers      Postgres: history
//!               v
//!   Prometheus ──> gates of Sluice      Alertmanager ──> hook of Sluice
//! ```
//!
//! What the table at the end says of requests and errors is counted from HAProxy's own log and by
//! the load generator, not by Sluice.

mod evidence;
mod narrator;
mod stage;
mod story;

use std::{process::ExitCode, time::Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    exit::Exit,
    telemetry::{self, LogFormat},
};
use narrator::Narrator;
use stage::Stage;

/// Its arguments.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Needs Postgres, HAProxy, Prometheus and Alertmanager to be installed. Takes about a minute, listens
on 127.0.0.1 only, and leaves nothing behind.

Examples:
  sluice demo
  sluice demo --keep")]
pub(crate) struct DemoArgs {
    /// Leave everything running at the end, with its address and token printed
    #[arg(long)]
    pub(crate) keep: bool,
    /// What the server logs meanwhile: error, warn, info, debug, trace
    #[arg(long, env = "LOG_LEVEL", hide_env_values = true)]
    #[arg(default_value = "error", value_name = "LEVEL")]
    log_level: String,
}

/// Runs the demo; success only if all six rollouts ended as they should and HAProxy answered no
/// request with an error of its own.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    telemetry::start(&args.log_level, LogFormat::Text)?;
    let began = Instant::now();
    let narrator = Narrator::new();
    narrator.headline("Sluice: six rollouts of a real service under real traffic, on this machine");
    let mut interrupted = Interrupted::listen()?;
    let stage = tokio::select! {
        stage = Stage::set(&narrator) => stage?,
        () = interrupted.wait() => return Ok(Exit::Interrupted.into()),
    };
    let told = tokio::select! {
        told = story::tell(&stage, &narrator) => Some(told),
        () = interrupted.wait() => None,
    };
    let exit = match told {
        None => Ok(Exit::Interrupted),
        Some(Err(error)) => Err(error),
        Some(Ok(chapters)) => {
            let evidence = evidence::gather(&stage, &chapters).await?;
            evidence.print(&narrator, began.elapsed());
            if args.keep {
                narrator.kept(&stage);
                interrupted.wait().await;
            }
            Ok(match evidence.all_well() {
                true => Exit::Succeeded,
                false => Exit::Failed,
            })
        }
    };
    narrator.stopping();
    stage.strike().await?;
    exit.map(ExitCode::from)
}

/// Ctrl-C, or a polite request to end.
struct Interrupted {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupted {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
