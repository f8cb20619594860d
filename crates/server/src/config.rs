//! What the server needs to know to start.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::people::People;

/// The server's settings, checked by the command line.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Postgres that keeps everything.
    pub database_url: SecretString,
    /// Where to listen.
    pub bind: SocketAddr,
    /// Where drivers keep files of their own: instance records, logs.
    pub data_dir: PathBuf,
    /// How long a stop may take before what is left is dropped (it is all safe in Postgres).
    pub stop_within: Duration,
    /// Who may come in beside the bearers of tokens.
    pub people: People,
}

impl Config {
    /// The longest a graceful stop takes.
    pub const STOP_WITHIN: Duration = Duration::from_secs(20);
}
