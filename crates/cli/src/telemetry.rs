//! Logs of `server` and `up`: to stderr, one line an event.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::{exit::Usage, output};

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    // For people.
    Text,
    // For machines: one JSON object a line.
    Json,
}

/// Starts logging at `level`: a level or, as `tracing` reads them, directives such as
/// `info,sqlx=warn`.
pub(crate) fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Usage::error(format!(
            "LOG_LEVEL \"{level}\": {error}; e.g. info or info,sqlx=warn"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::wants_colour(io::stderr().is_terminal()));
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start logging: {error}"))
}
