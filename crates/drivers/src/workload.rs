//! Workloads: what runs the instances of an app's revisions.

pub mod kubernetes;
pub mod probe;
pub mod process;
pub mod static_pools;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use rollout::{Revision, observation::RevisionStatus};
use serde_json::Value;

use crate::{AppKey, Cx, DriverError, NotifierConfig};

/// A revision as a workload needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionSpec {
    /// Its number.
    pub revision: Revision,
    /// What is run: a path, an image, the name of a pool.
    pub artifact: String,
    /// What the artifact stood for when the revision was made, where a name alone does not say it
    /// (see [`ResolvedArtifact::content`]).
    pub content: Option<Value>,
    /// The workload settings of the app file that the revision was made with.
    pub workload: WorkloadConfig,
}

/// What a workload must bring about for an app.
#[derive(Debug, Clone, Default)]
pub struct WorkloadTarget {
    /// Instances by revision; a revision that is absent must have none.
    pub scales: BTreeMap<Revision, u32>,
    /// What the scales are counted in: so many instances carried the whole traffic when the plan was
    /// made. A driver whose total has changed since (an autoscaler's business) keeps the proportions.
    pub whole: u32,
    /// Revisions that must not get their first instance yet: their traffic is not fenced off.
    pub held: BTreeSet<Revision>,
    /// The epoch of the lease that this is written under; where the place written to can keep it, a
    /// lower one must not overwrite a higher one (invariant I7).
    pub epoch: i64,
    /// How to run each revision that has instances or shall have some.
    pub revisions: Vec<RevisionSpec>,
    /// Addresses that the data plane still routes to; `None`: not known, so stop nothing.
    /// Nothing is stopped while it can receive traffic (invariant I12).
    pub in_use: Option<BTreeSet<String>>,
}

/// What an artifact turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedArtifact {
    /// The artifact as it is kept with the revision (an absolute path, for instance).
    pub artifact: String,
    /// A digest of its content, `sha256:…`, where it can be had.
    pub digest: Option<String>,
    /// All that is needed to run it again as it was, where the artifact's name alone does not say
    /// it: kept with the revision and given back in [`RevisionSpec::content`].
    pub content: Option<Value>,
}

/// A revision that was asked for past Sluice.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// What it is.
    pub artifact: ResolvedArtifact,
    /// Who asked, as far as the workload knows, e.g. `kubectl-set`.
    pub by: String,
}

/// What a workload can do; asking for more is refused when the plan is made, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Instances of both revisions beside each other, beyond the number that carries the traffic.
    /// Where that is not so, each instance is replaced in its place.
    pub surge: bool,
}

/// Runs the instances of an app's revisions.
#[async_trait]
pub trait Workload: std::fmt::Debug + Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities { surge: true }
    }

    /// Instances that carry the whole traffic, as things stand now.
    async fn replicas(&self, cx: &Cx, app: &AppKey) -> Result<u32, DriverError>;

    /// The label with which metric sources usually name instances of this kind, as service discovery
    /// gives it.
    fn instance_label(&self) -> &'static str {
        "instance"
    }

    /// Checks that `artifact` is there and can be run. `Err` is a sentence for the one who deploys:
    /// what is wrong with the value and what to give instead. `kept`: what was kept with a revision
    /// that is to be run again.
    async fn resolve(
        &self,
        cx: &Cx,
        app: &AppKey,
        artifact: &str,
        kept: Option<&Value>,
    ) -> Result<ResolvedArtifact, String>;

    /// What somebody asked for at the workload itself, past Sluice, and that is none of `known`: the
    /// revision that ran before Sluice came (`known` is empty then), or a newer one. It must not have
    /// taken effect by itself once there is a known revision.
    async fn offered(
        &self,
        _cx: &Cx,
        _app: &AppKey,
        _known: &[RevisionSpec],
    ) -> Result<Option<Offer>, DriverError> {
        Ok(None)
    }

    /// What exists of the app's revisions, counted as [`WorkloadTarget::whole`] counts. Revisions
    /// that nobody asked for are reported too.
    async fn observe(
        &self,
        cx: &Cx,
        app: &AppKey,
        revisions: &[RevisionSpec],
        whole: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError>;

    /// Brings the app to `target`: starts what is missing, drains and stops what is too much.
    /// Returns when everything is under way, not when it is done; progress shows in `observe`,
    /// and each change wakes the loop.
    async fn ensure(
        &self,
        cx: &Cx,
        app: &AppKey,
        target: &WorkloadTarget,
    ) -> Result<(), DriverError>;

    /// Who is told about each transition beside the app's own notifiers: where people look who look
    /// at the workload and not at Sluice.
    fn told_at(&self) -> Option<NotifierConfig> {
        None
    }

    /// Takes back whatever of Sluice is left at a workload that somebody else owns, so that it is as
    /// it was before; nothing stops running. Returns what was done, or with `dry` what would be, a
    /// sentence each.
    async fn release(
        &self,
        _cx: &Cx,
        _app: &AppKey,
        _dry: bool,
    ) -> Result<Vec<String>, DriverError> {
        Ok(Vec::new())
    }
}

crate::drivers! {
    /// The workloads that an app file can name.
    WorkloadConfig as Workload {
        /// Instances of a command on this host.
        Process(process::Process) = "process",
        /// Addresses that somebody else runs.
        Static(static_pools::Static) = "static",
        /// A Deployment or StatefulSet of somebody's, in place.
        Kubernetes(kubernetes::Kubernetes) = "kubernetes",
    }
}
