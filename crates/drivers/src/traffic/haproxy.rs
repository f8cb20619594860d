//! The `haproxy` router: shares of traffic as server weights, through HAProxy's runtime API.
//!
//! ```text
//! Routes ──weights──▶ desired servers ──changes──▶ commands ──connection──▶ stats socket
//!                                        ▲                                      │
//!                       snapshot ────────┴──────── show servers state, stat ◀───┘
//! ```
//!
//! - The servers named `r<revision>-…` of one backend are ours; every other server is foreign: never
//!   touched, reported while it gets traffic. One app a backend.
//! - A server is registered as soon as its instance has an address, with weight 0 and a health
//!   check, so that HAProxy knows it to be up by the time it shall carry something.
//! - HAProxy takes a fresh server for up before its first check (`UP 1/2`). It gets its weight once a
//!   check has passed, unless nothing carries traffic at all: then an unchecked server is better
//!   than a 503.
//! - What gains is raised, and its replies read, before what loses is lowered. Nothing that serves is
//!   lowered while the servers that shall carry at least half of the traffic are not up.
//! - HAProxy forgets runtime servers when it restarts or reloads. `ensure` asserts everything anew, a
//!   watcher wakes the app at once ([`Sockets`]), and with `configFile` the restarted HAProxy
//!   starts with them.
//! - Weight 0 and drain keep clients away that are balanced, not those that a cookie or a stick
//!   table binds to a server: a backend with such persistence hands them over only when the server
//!   is removed.
//! - Servers added at run time inherit nothing from `default-server`: TLS to the servers, `maxconn`
//!   and the like cannot be had through this router.
//! - Needs HAProxy 2.6 or newer, a stats socket at level admin, and a dynamic balance algorithm.

mod changes;
mod command;
mod config_file;
mod connection;
mod names;
mod snapshot;
mod sockets;
mod weights;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use async_trait::async_trait;
use rollout::{Revision, Weight, document::Reader, observation::ObservedRoutes};
use serde::{Deserialize, Serialize};

use self::{changes::Changes, command::Command, connection::Connection, snapshot::Snapshot};
use super::{Capabilities, Routes, TrafficRouter};
use crate::{AppKey, Cx, DriverError};

pub use sockets::Sockets;
pub use weights::{DesiredServer, DesiredState, desired, given};

/// How far the share that integer weights give may be from the one that was asked: half a percent.
/// Weights go up to 256, so the smallest share of one instance beside one other is 1/257 = 0.39 %.
pub fn tolerance() -> Weight {
    Weight::from_hundredths(50)
}

/// How often `ensure` reads back and corrects in one call; two is what a change needs.
const ROUNDS_MAX: u32 = 3;

/// How long a host name in an instance's address may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of the `haproxy` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HaProxy {
    /// The stats socket, at level admin.
    pub socket: PathBuf,
    /// The backend whose `r<revision>-…` servers belong to the app.
    pub backend: String,
    /// HAProxy's configuration file with a marked block to keep the servers in.
    #[serde(default)]
    pub config_file: Option<PathBuf>,
    /// Whether HAProxy checks the servers' health, in the way the backend says (`option httpchk`).
    #[serde(default = "checked")]
    pub check: bool,
}

fn checked() -> bool {
    true
}

impl HaProxy {
    /// Reads `{ socket, backend, configFile, check }`, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&["socket", "backend", "configFile", "check"])?;
        let socket = object.required("socket", absolute_path);
        let backend = object.required("backend", |it| {
            let text = it.text()?;
            if names::is_proxy(&text) {
                return Some(text);
            }
            it.problem(format!("\"{text}\" is not the name of a HAProxy backend: letters, digits, '-', '_', '.' and ':'"))
        });
        let config_file = object.optional("configFile", absolute_path);
        let check = object.or("check", true, Reader::boolean);
        Some(Self {
            socket: socket?,
            backend: backend?,
            config_file: config_file?,
            check: check?,
        })
    }

    async fn snapshot(&self, cx: &Cx) -> Result<Snapshot, DriverError> {
        let mut connection = cx.haproxy.connect(&self.socket).await?;
        self.snapshot_on(&mut connection).await
    }

    async fn snapshot_on(&self, connection: &mut Connection) -> Result<Snapshot, DriverError> {
        let said = match Snapshot::take(connection, &self.backend).await? {
            Ok(snapshot) => return Ok(snapshot),
            Err(said) => said,
        };
        if said.contains("Can't find backend") {
            return Err(self.unknown_backend(connection).await);
        }
        let operation = format!(
            "read the servers of {} from {}",
            self.backend,
            self.socket.display()
        );
        if said.contains("Permission denied") {
            return Err(DriverError::permanent(operation, connection::LEVEL_HINT));
        }
        Err(DriverError::transient(operation, said))
    }

    async fn unknown_backend(&self, connection: &mut Connection) -> DriverError {
        let listed = connection
            .ask(&["show backend".to_owned()])
            .await
            .unwrap_or_default();
        let names = listed.iter().flat_map(|it| it.lines());
        let names: Vec<&str> = names
            .filter(|it| !it.is_empty() && !it.starts_with('#'))
            .collect();
        DriverError::permanent(
            format!("read the servers of backend {}", self.backend),
            format!(
                "HAProxy has no backend \"{}\"; it has {}",
                self.backend,
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            ),
        )
    }

    /// Sends `commands` and reads every reply. `Ok(true)`: a deletion was put off.
    async fn send(
        &self,
        cx: &Cx,
        connection: &mut Connection,
        commands: &[Command],
    ) -> Result<bool, DriverError> {
        let mut put_off = false;
        let mut failed = None;
        for chunk in commands.chunks(connection::COMMANDS_MAX) {
            let lines: Vec<String> = chunk.iter().map(|it| it.line(&self.backend)).collect();
            cx.haproxy.count(lines.len());
            for ((command, line), reply) in
                chunk.iter().zip(&lines).zip(connection.ask(&lines).await?)
            {
                match command.judge(line, &reply) {
                    Ok(waits) => put_off |= waits,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(put_off)
    }

    /// Makes the running HAProxy match; gives the servers that it has afterwards.
    async fn apply(
        &self,
        cx: &Cx,
        wanted: &[DesiredServer],
        anything: bool,
    ) -> Result<(Snapshot, Changes), DriverError> {
        let mut connection = cx.haproxy.connect(&self.socket).await?;
        let mut round = 0;
        let mut put_off = false;
        loop {
            let snapshot = self.snapshot_on(&mut connection).await?;
            let mut changes = changes::between(&snapshot, wanted, anything, self.check);
            if put_off {
                changes.unsettled = true;
            }
            if changes.is_empty() || put_off || round == ROUNDS_MAX {
                return Ok((snapshot, changes));
            }
            self.send(cx, &mut connection, &changes.raise).await?;
            put_off = self.send(cx, &mut connection, &changes.lower).await?;
            round += 1;
        }
    }

    fn rewrite_file(&self, servers: &[changes::Kept]) -> Result<bool, DriverError> {
        let Some(file) = &self.config_file else {
            return Ok(false);
        };
        let lines: Vec<String> = servers
            .iter()
            .map(|it| it.config_line(self.check))
            .collect();
        config_file::rewrite(file, &self.backend, &lines)
    }
}

#[async_trait]
impl TrafficRouter for HaProxy {
    fn place(&self) -> String {
        format!(
            "HAProxy backend {} at {}",
            self.backend,
            self.socket.display()
        )
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            weights: true,
            isolates: true,
            follows_instances: false,
            rules: false,
        }
    }

    fn given(&self, routes: &Routes) -> BTreeMap<Revision, Weight> {
        given(routes)
    }

    async fn observe(&self, cx: &Cx, app: &AppKey) -> Result<ObservedRoutes, DriverError> {
        // Watched before the first look, so that a HAProxy that is away wakes the app when it returns.
        cx.haproxy.watch(&self.socket, &self.backend, app, &cx.wake);
        let snapshot = self.snapshot(cx).await?;
        cx.haproxy.seen(
            &self.socket,
            &self.backend,
            app,
            snapshot.fingerprint(),
            None,
        );
        Ok(ObservedRoutes {
            shares: snapshot.shares(),
            tolerance: tolerance(),
            in_use: snapshot.in_use(),
            foreign: snapshot.foreign(),
            rules: BTreeSet::new(),
        })
    }

    async fn ensure(&self, cx: &Cx, app: &AppKey, routes: &Routes) -> Result<(), DriverError> {
        names::check(routes)?;
        cx.haproxy.watch(&self.socket, &self.backend, app, &cx.wake);
        let (resolved, unresolved) = resolve(routes).await;
        let wanted = desired(&resolved);
        let anything = !routes.weights.is_empty();
        let (snapshot, changes) = self.apply(cx, &wanted, anything).await?;
        let unsettled = changes.unsettled || !changes.is_empty();
        cx.haproxy.seen(
            &self.socket,
            &self.backend,
            app,
            snapshot.fingerprint(),
            Some(unsettled),
        );
        if self.config_file.is_some() {
            // Goes with the writing, which goes on when the pass is interrupted: what a rollback
            // writes after it must not be overwritten by it.
            let one_at_a_time = cx.haproxy.files().await;
            let router = self.clone();
            let written = tokio::task::spawn_blocking(move || {
                let written = router.rewrite_file(&changes.kept);
                drop(one_at_a_time);
                written
            });
            written
                .await
                .map_err(|why| DriverError::transient("write HAProxy's configuration", why))??;
        }
        unresolved.map_or(Ok(()), Err)
    }
}

fn absolute_path(reader: &Reader<'_>) -> Option<PathBuf> {
    let text = reader.text()?;
    if text.starts_with('/') && !text.contains(['\n', '\0']) {
        return Some(PathBuf::from(text));
    }
    reader.problem(format!("\"{text}\" is not an absolute path"))
}

/// The routes with every `host:port` made an IP address, because HAProxy resolves no names for
/// servers that are added at run time. An instance whose name does not resolve loses its address;
/// the others must not wait for it.
async fn resolve(routes: &Routes) -> (Routes, Option<DriverError>) {
    let mut routes = routes.clone();
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut problem = None;
    for instance in routes.instances.values_mut().flatten() {
        let Some(address) = instance.address.clone() else {
            continue;
        };
        if address.parse::<SocketAddr>().is_ok() {
            continue;
        }
        let resolved = match known.get(&address) {
            Some(resolved) => resolved.clone(),
            None => {
                let resolved = lookup(&address).await.unwrap_or_else(|error| {
                    problem = Some(error);
                    None
                });
                known.insert(address, resolved.clone());
                resolved
            }
        };
        instance.address = resolved;
    }
    (routes, problem)
}

/// The smallest of a name's addresses, so that a rotating answer does not move the server.
async fn lookup(address: &str) -> Result<Option<String>, DriverError> {
    let operation = format!("resolve {address}");
    match tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => {
            let found: BTreeSet<SocketAddr> = found.collect();
            Ok(found.first().map(SocketAddr::to_string))
        }
        Ok(Err(why)) => Err(DriverError::transient(operation, why)),
        Err(_) => Err(DriverError::transient(
            operation,
            "no answer within a second",
        )),
    }
}
