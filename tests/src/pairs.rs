//! Pairs of a workload and a router. A pair joins the acceptance suite by one row in
//! `it/acceptance.rs` or, if it runs in a namespace of its own, in `real_node/acceptance.rs`; the scenarios know nothing of how a pair runs its instances.

#[allow(
    clippy::indexing_slicing,
    reason = "what is missing in a JSON value reads as null"
)]
mod deployment_gateway;
mod process_haproxy;
mod static_haproxy;

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use deployment_gateway::DeploymentGateway;
pub use process_haproxy::ProcessHaProxy;
pub use static_haproxy::StaticHaProxy;

use crate::{Front, World};

/// Instances that carry the whole traffic, in every pair.
pub const REPLICAS: usize = 2;

/// A version of the sample shop and how it misbehaves.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its name, in the header of every answer; `v1` to `v6`.
    pub name: &'static str,
    /// The flags of `sluice demo-shop` beside the name.
    pub flags: Vec<String>,
}

impl Version {
    /// A version that does its work.
    pub fn good(name: &'static str) -> Self {
        Self {
            name,
            flags: vec!["--grace".to_owned(), "100ms".to_owned()],
        }
    }

    /// A version with these flags of `sluice demo-shop`.
    pub fn with(name: &'static str, flags: &[&str]) -> Self {
        let mut version = Self::good(name);
        version
            .flags
            .extend(flags.iter().map(|it| (*it).to_owned()));
        version
    }

    /// A version that answers every second request with 500.
    pub fn bad(name: &'static str) -> Self {
        Self::with(name, &["--error-ratio", "0.5"])
    }

    /// The arguments of `sluice`.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["demo-shop".to_owned(), "--version".to_owned()];
        arguments.push(self.name.to_owned());
        arguments.extend(self.flags.iter().cloned());
        arguments
    }
}

/// An instance that really runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// By what name the front knows it.
    pub known_as: String,
    /// Tells it from every other, also from one that took its place.
    pub name: String,
}

/// How an app comes by its first revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// By a rollout, from nothing.
    Deployed,
    /// It ran before Sluice came, and is adopted when the app file is applied.
    Adopted,
}

/// A workload and a router.
#[async_trait]
pub trait Pair: Debug + Send + Sync {
    /// Its name, e.g. `process x haproxy`.
    fn name(&self) -> &'static str;

    /// The `workload` of the app file.
    fn workload(&self, world: &World) -> Value;

    /// The `traffic` of the app file.
    fn traffic(&self, world: &World) -> Value;

    /// Where the users come in.
    fn front(&self) -> &dyn Front;

    /// What the server finds in its environment beside the usual.
    async fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    /// How long an app of it may take for a step: some times what its instances need to be ready on
    /// a machine that others use too.
    fn progress_deadline(&self) -> &'static str {
        "8s"
    }

    /// Makes what is there before Sluice comes; where something runs then, it is `version`.
    async fn prepare(&self, _world: &World, _version: &Version) -> anyhow::Result<First> {
        Ok(First::Deployed)
    }

    /// Looks at what is only known when all is over and everything else was checked, and clears
    /// away what would outlive the world.
    async fn finish(&self, _world: &mut World) -> anyhow::Result<()> {
        Ok(())
    }

    /// Makes a version deployable and gives its artifact.
    async fn artifact(&self, world: &World, version: &Version) -> anyhow::Result<String>;

    /// Whether Sluice starts and stops the instances itself.
    fn runs_instances(&self) -> bool;

    /// The instances that Sluice has started and that run now, whatever it believes, in order.
    async fn running(&self, world: &World) -> anyhow::Result<Vec<Instance>>;

    /// Kills every instance of a version that runs now, as a crash would.
    async fn kill_instances(
        &self,
        world: &World,
        version: &Version,
        revision: &str,
    ) -> anyhow::Result<()>;
}

/// The `traffic` of a world's HAProxy.
fn haproxy(world: &World) -> Value {
    json!({ "haproxy": {
        "socket": world.haproxy.socket(),
        "backend": "shop",
        "configFile": world.haproxy.config_path(),
    }})
}
