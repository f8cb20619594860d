//! Processes that Sluice starts itself, behind HAProxy.

use std::os::unix::fs::PermissionsExt;

use anyhow::Context;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Instance, Pair, REPLICAS, Version, haproxy};
use crate::fronts::HaProxyFront;
use crate::{Front, World, binary, instances};

/// `process` with `haproxy`.
#[derive(Debug)]
pub struct ProcessHaProxy;

#[async_trait]
impl Pair for ProcessHaProxy {
    fn name(&self) -> &'static str {
        "process x haproxy"
    }

    fn workload(&self, world: &World) -> Value {
        let ports = world.instance_ports();
        let mut environment = serde_json::Map::new();
        environment.insert(instances::MARK.to_owned(), json!(world.mark()));
        json!({ "process": {
            "replicas": REPLICAS,
            "command": ["{{artifact}}"],
            "env": environment,
            "ports": { "from": ports.start, "to": ports.end - 1 },
            "ready": { "path": "/ready", "interval": "200ms", "failures": 2 },
            "drain": "100ms",
            "stopTimeout": "2s",
        }})
    }

    fn traffic(&self, world: &World) -> Value {
        haproxy(world)
    }

    async fn artifact(&self, world: &World, version: &Version) -> anyhow::Result<String> {
        let path = world.directory().join(format!("shop-{}", version.name));
        let sluice = binary::sluice()?;
        let arguments = version.arguments().join(" ");
        let script = format!("#!/bin/sh\nexec '{}' {arguments}\n", sluice.display());
        std::fs::write(&path, script).context("write the artifact")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(path.display().to_string())
    }

    fn front(&self) -> &dyn Front {
        &HaProxyFront
    }

    fn runs_instances(&self) -> bool {
        true
    }

    async fn running(&self, world: &World) -> anyhow::Result<Vec<Instance>> {
        let instance = |process: instances::Process| Instance {
            name: format!("{} (process {})", process.name, process.pid),
            known_as: process.revision,
        };
        let running = instances::running(world.mark());
        Ok(running.into_iter().map(instance).collect())
    }

    async fn kill_instances(
        &self,
        world: &World,
        _: &Version,
        revision: &str,
    ) -> anyhow::Result<()> {
        for process in instances::running(world.mark()) {
            if process.revision == revision {
                instances::kill(process.pid);
            }
        }
        Ok(())
    }
}
