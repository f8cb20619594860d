//! Pools of addresses that somebody else runs (this test), behind HAProxy.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context;
use async_trait::async_trait;
use local::part::{Part, Spec};
use serde_json::{Value, json};

use super::{Instance, Pair, REPLICAS, Version, haproxy};
use crate::fronts::HaProxyFront;
use crate::{Front, World, binary};

/// The pools of every app file: one a version.
const POOLS: [&str; 6] = ["v1", "v2", "v3", "v4", "v5", "v6"];

/// `static` with `haproxy`.
#[derive(Debug)]
pub struct StaticHaProxy;

/// The ports of a pool, from those of its world.
fn ports(all: &Range<u16>, pool: &str) -> impl Iterator<Item = u16> + use<> {
    let index = POOLS.iter().position(|it| *it == pool).unwrap_or_default();
    let first = all.start + u16::try_from(index * REPLICAS).unwrap_or_default();
    (first..).take(REPLICAS)
}

#[async_trait]
impl Pair for StaticHaProxy {
    fn name(&self) -> &'static str {
        "static x haproxy"
    }

    fn workload(&self, world: &World) -> Value {
        let range = world.instance_ports();
        let addresses = |pool: &str| -> Vec<String> {
            let ports = ports(&range, pool);
            ports.map(|port| format!("127.0.0.1:{port}")).collect()
        };
        let pools: BTreeMap<&str, Vec<String>> =
            POOLS.iter().map(|pool| (*pool, addresses(pool))).collect();
        json!({ "static": {
            "pools": pools,
            "ready": { "path": "/ready", "interval": "200ms", "failures": 2 },
        }})
    }

    fn traffic(&self, world: &World) -> Value {
        haproxy(world)
    }

    async fn artifact(&self, world: &World, version: &Version) -> anyhow::Result<String> {
        let program = binary::sluice()?;
        for port in ports(&world.instance_ports(), version.name) {
            let name = format!("shop {} {port}", version.name);
            let log = world.directory().join(format!("shop-{port}.log"));
            let spec = Spec::new(&name, program.clone(), log)
                .arguments(version.arguments())
                .environment("PORT", port.to_string());
            // One that runs on this port already goes first.
            drop(world.pools.lock().await.remove(&port));
            let part = Part::start(spec)
                .await
                .context("start the pool's instance")?;
            world.pools.lock().await.insert(port, part);
        }
        Ok(version.name.to_owned())
    }

    fn front(&self) -> &dyn Front {
        &HaProxyFront
    }

    fn runs_instances(&self) -> bool {
        false
    }

    async fn running(&self, _: &World) -> anyhow::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn kill_instances(
        &self,
        world: &World,
        version: &Version,
        _: &str,
    ) -> anyhow::Result<()> {
        for port in ports(&world.instance_ports(), version.name) {
            drop(world.pools.lock().await.remove(&port));
        }
        Ok(())
    }
}
