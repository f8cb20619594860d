//! HAProxy's own view of the weights, from its stats socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Time between two looks: the resolution of what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Bits of `srv_admin_state` for maintenance and drain: no traffic, whatever the weight.
const TAKEN_OUT: u32 = 0x3f | 0x40;

/// Weights of the servers that may get traffic, by backend and server name.
pub(crate) type Weights = BTreeMap<String, BTreeMap<String, u32>>;

/// Reads one HAProxy.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    socket: PathBuf,
}

impl Router {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// The weights of these backends now.
    pub(crate) fn weights(&self, backends: &[String]) -> anyhow::Result<Weights> {
        let mut stream = UnixStream::connect(&self.socket).context("open HAProxy's socket")?;
        let commands: Vec<String> = backends
            .iter()
            .map(|it| format!("show servers state {it}"))
            .collect();
        stream
            .write_all(format!("{}\n", commands.join(";")).as_bytes())
            .context("ask HAProxy")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("read HAProxy's answer")?;
        let mut weights: Weights = backends
            .iter()
            .map(|it| (it.clone(), BTreeMap::new()))
            .collect();
        for line in answer.lines() {
            // be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight …
            let words: Vec<&str> = line.split(' ').collect();
            let [_, backend, _, server, _, _, admin, weight, ..] = words.as_slice() else {
                continue;
            };
            let (Ok(admin), Ok(weight)) = (admin.parse::<u32>(), weight.parse::<u32>()) else {
                continue;
            };
            let weight = if admin & TAKEN_OUT == 0 { weight } else { 0 };
            if let Some(servers) = weights.get_mut(*backend) {
                servers.insert((*server).to_owned(), weight);
            }
        }
        Ok(weights)
    }

    /// Looks every millisecond until `done` holds for each backend; gives when that was first
    /// seen of each. Blocking: run it on a thread for that.
    pub(crate) fn watch(
        &self,
        backends: &[String],
        within: Duration,
        done: impl Fn(&str, &BTreeMap<String, u32>) -> bool,
    ) -> anyhow::Result<BTreeMap<String, Instant>> {
        let began = Instant::now();
        let mut pending = backends.to_vec();
        let mut seen = BTreeMap::new();
        loop {
            for (backend, servers) in self.weights(&pending)? {
                if done(&backend, &servers) {
                    pending.retain(|it| *it != backend);
                    seen.insert(backend, Instant::now());
                }
            }
            if pending.is_empty() {
                return Ok(seen);
            }
            ensure!(
                began.elapsed() < within,
                "not seen on HAProxy within {within:?}: {pending:?}: {:?}",
                self.weights(&pending)?
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// The sum of the weights of one revision's servers.
pub(crate) fn of_revision(servers: &BTreeMap<String, u32>, revision: &str) -> u32 {
    servers
        .iter()
        .filter(|(name, _)| name.split('-').next() == Some(revision))
        .map(|(_, weight)| weight)
        .sum()
}
