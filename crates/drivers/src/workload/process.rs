//! Instances of a command on this host.
//!
//! ```text
//!   Process (settings) ── ensure/observe ──> Supervisor ── one small task an instance
//!      adopt      what an earlier Sluice started
//!      artifact   what is deployed: checked, made absolute, digested
//!      launch     program, arguments, environment, port, log; on record before it runs
//!      child      a process by pid *and* start time; its exit through a pidfd
//!      instance   what is wanted of it, what it can do now, what is wrong
//!      life       the task: start, probe, restart with back-off, drain, stop
//!      record     instance.json, by which a new Sluice finds what an old one started
//!      log_file   the instance's output, rotated
//! ```
//!
//! Instances run in sessions of their own and outlive Sluice: after a crash they are adopted by
//! pid, start time and boot id. (Under systemd that needs `KillMode=process`.) They get a clean
//! environment: a few harmless variables of Sluice's own, what the app file gives, and `PORT`,
//! `SLUICE_APP`, `SLUICE_REVISION`, `SLUICE_INSTANCE`; never Sluice's secrets.
//!
//! Ends are events. Readiness is asked for: every 100 ms at most while an instance is young, then
//! every `interval`, and ten times less often (30 s at most) when nobody has observed the app for
//! half a minute, so that a thousand apps at rest cost next to nothing. The next observation puts
//! an end to the rest.

mod adopt;
mod artifact;
mod child;
mod instance;
mod launch;
mod life;
mod log_file;
mod ports;
mod probing;
mod record;
mod supervisor;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use async_trait::async_trait;
use jiff::SignedDuration;
use rollout::{Revision, document::Reader, observation::RevisionStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::supervisor::{OpenSupervisor, Supervisor};
use super::{ResolvedArtifact, RevisionSpec, Workload, WorkloadTarget, probe::Probe};
use crate::{AppKey, Cx, DriverError};

/// An instance that lives but is not ready for so long is reported: longer than ordinary services
/// take to start, short enough for somebody who watches.
pub(super) const PROBE_FAILING_AFTER: Duration = Duration::from_secs(5);

/// What stands for the artifact in a command.
const ARTIFACT: &str = "{{artifact}}";

/// What may be named in a command, in double braces.
const PLACEHOLDERS: [&str; 4] = ["artifact", "port", "revision", "instance"];

/// Instances of a command on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Instances that carry the whole traffic.
    pub replicas: u32,
    /// The program and its arguments; `{{artifact}}`, `{{port}}`, `{{revision}}` and
    /// `{{instance}}` are filled in, without a shell.
    pub command: Vec<String>,
    /// Working directory, absolute; `None`: the instance's own directory.
    pub directory: Option<PathBuf>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Ports that instances may get; the lowest free one is taken first.
    pub ports: PortRange,
    /// Must pass once before readiness is asked for. Boxed like `health`: few apps give them.
    pub startup: Option<Box<Probe>>,
    /// Decides whether an instance may get traffic.
    pub ready: Probe,
    /// An instance that fails it is stopped and started again. Off by default: the router's own
    /// health check already keeps traffic away.
    pub health: Option<Box<Probe>>,
    /// Time between "the router no longer routes to it" and SIGTERM.
    pub drain: SignedDuration,
    /// Time between SIGTERM and SIGKILL.
    pub stop_timeout: SignedDuration,
}

/// A range of TCP ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl Process {
    /// The keys that users write.
    pub const KEYS: [&'static str; 10] = [
        "replicas",
        "command",
        "directory",
        "env",
        "ports",
        "startup",
        "ready",
        "health",
        "drain",
        "stopTimeout",
    ];

    /// Reads the settings, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&Self::KEYS)?;
        let replicas = object.or("replicas", 3, |it| it.whole(1, 100));
        let command = object.or("command", vec![ARTIFACT.to_owned()], read_command);
        let directory = object.optional("directory", read_directory);
        let env = object.or("env", BTreeMap::new(), read_env);
        let ports = object.or(
            "ports",
            PortRange {
                from: 20_000,
                to: 29_999,
            },
            read_ports,
        );
        let startup = object.optional("startup", |it| Probe::read(it, Some("/startup")));
        let ready = object.or("ready", Probe::of(Some("/ready")), |it| {
            Probe::read(it, Some("/ready"))
        });
        let health = object.optional("health", |it| Probe::read(it, Some("/health")));
        let drain = object.or("drain", SignedDuration::from_secs(2), Reader::duration);
        let stop_timeout = object.or(
            "stopTimeout",
            SignedDuration::from_secs(10),
            Reader::duration,
        );
        Some(Self {
            replicas: replicas?,
            command: command?,
            directory: directory?,
            env: env?,
            ports: ports?,
            startup: startup?.map(Box::new),
            ready: ready?,
            health: health?.map(Box::new),
            drain: drain?,
            stop_timeout: stop_timeout?,
        })
    }

    /// Whether the artifact itself is the program that is run.
    fn runs_artifact(&self) -> bool {
        self.command.first().is_some_and(|it| it == ARTIFACT)
    }
}

fn read_command(reader: &Reader<'_>) -> Option<Vec<String>> {
    let command = reader.each(|it| {
        let text = it.text()?;
        if text.contains('\0') {
            return it.problem("must not hold a zero byte");
        }
        for (at, _) in text.match_indices("{{") {
            let rest = text.get(at + 2..).unwrap_or_default();
            let name = rest.split_once("}}").map(|(name, _)| name);
            if !name.is_some_and(|it| PLACEHOLDERS.contains(&it)) {
                let known = PLACEHOLDERS.map(|it| format!("{{{{{it}}}}}")).join(", ");
                return it.problem(format!(
                    "\"{text}\" names something unknown; known: {known}"
                ));
            }
        }
        Some(text)
    })?;
    if command.is_empty() {
        return reader.problem(format!("give a program, e.g. [\"{ARTIFACT}\"]"));
    }
    Some(command)
}

fn read_directory(reader: &Reader<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(reader.text()?);
    if path.is_absolute() {
        return Some(path);
    }
    reader.problem(format!("\"{}\" is not an absolute path", path.display()))
}

fn read_env(reader: &Reader<'_>) -> Option<BTreeMap<String, String>> {
    let entries = reader.entries(|key, value| {
        if key.is_empty() || key.contains(['=', '\0']) {
            return value.problem(format!(
                "\"{key}\" is not a name of an environment variable"
            ));
        }
        if key == "PORT" || key.starts_with("SLUICE_") {
            return value.problem(format!("{key} is given by Sluice; use another name"));
        }
        match value.value().as_str() {
            Some(text) if !text.contains('\0') => Some((key.to_owned(), text.to_owned())),
            Some(_) => value.problem("must not hold a zero byte"),
            None => value.problem("is not a text; put it in quotes"),
        }
    })?;
    Some(entries.into_iter().collect())
}

fn read_ports(reader: &Reader<'_>) -> Option<PortRange> {
    let object = reader.object(&["from", "to"])?;
    let port = |it: &Reader<'_>| u16::try_from(it.whole(1, 65_535)?).ok();
    let (from, to) = (object.required("from", port), object.required("to", port));
    let range = PortRange {
        from: from?,
        to: to?,
    };
    if range.from > range.to {
        return reader.problem(format!("{} is above {}", range.from, range.to));
    }
    Some(range)
}

#[async_trait]
impl Workload for Process {
    async fn replicas(&self, _: &Cx, _: &AppKey) -> Result<u32, DriverError> {
        Ok(self.replicas)
    }

    async fn resolve(
        &self,
        _: &Cx,
        _: &AppKey,
        artifact: &str,
        _: Option<&Value>,
    ) -> Result<ResolvedArtifact, String> {
        artifact::resolve(
            self.runs_artifact(),
            self.directory.clone(),
            artifact.to_owned(),
        )
        .await
    }

    async fn observe(
        &self,
        cx: &Cx,
        app: &AppKey,
        _: &[RevisionSpec],
        _: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        cx.processes.observe(app).await
    }

    async fn ensure(
        &self,
        cx: &Cx,
        app: &AppKey,
        target: &WorkloadTarget,
    ) -> Result<(), DriverError> {
        cx.processes.ensure(app, target)
    }
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_map_gives_the_documented_defaults() {
        let process = document::read(&json!({}), Process::read).unwrap();
        assert_eq!(
            (process.replicas, process.command),
            (3, vec![ARTIFACT.to_owned()])
        );
        assert_eq!(process.ready, Probe::of(Some("/ready")));
        assert_eq!((process.startup, process.health), (None, None));
    }

    #[test]
    fn every_mistake_is_named_at_its_place() {
        let document = json!({
            "replicas": 0, "command": ["{{artefact}}"], "directory": "here", "env": { "PORT": "1", "N": 4 },
            "ports": { "from": 9, "to": 3 }, "ready": { "path": "ready" }, "stopTimeout": "soon", "user": "me"
        });
        let problems = document::read(&document, Process::read).unwrap_err();
        let mut pointers: Vec<&str> = problems.iter().map(|it| it.pointer.as_str()).collect();
        pointers.sort_unstable();
        let expected = [
            "/command/0",
            "/directory",
            "/env/N",
            "/env/PORT",
            "/ports",
            "/ready/path",
            "/replicas",
            "/stopTimeout",
            "/user",
        ];
        assert_eq!(pointers, expected, "{problems:#?}");
    }

    #[test]
    fn settings_survive_being_stored() {
        let settings = json!({ "env": { "A": "b" }, "health": {}, "drain": "100ms" });
        let process = document::read(&settings, Process::read).unwrap();
        let stored = serde_json::to_value(&process).unwrap();
        assert_eq!(serde_json::from_value::<Process>(stored).unwrap(), process);
    }
}
