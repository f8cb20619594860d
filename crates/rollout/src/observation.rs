//! What was seen of the world: facts with the moment they were read; unknown is a value, not zero.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{freeze::Freeze, gate::GateState, revision::Revision, weight::Weight};

/// Something read back from the world, or the reason why it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Fact<T> {
    /// It could not be read; `why` is one sentence for people.
    Unknown {
        /// Why it is unknown.
        why: String,
    },
    /// It was read.
    Known {
        /// What was read.
        value: T,
        /// When it was read.
        observed_at: Timestamp,
    },
}

impl<T> Fact<T> {
    /// The value, when known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// Why it could not be read.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Known { .. } => None,
            Self::Unknown { why } => Some(why.clone()),
        }
    }
}

/// All that one pass knows of the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// Per revision: its instances. A revision that is absent has none.
    pub workload: Fact<BTreeMap<Revision, RevisionStatus>>,
    /// The routes as the data plane reports them.
    pub routes: Fact<ObservedRoutes>,
    /// The gates' states for the current step and attempt, by gate name.
    pub gates: BTreeMap<String, GateState>,
    /// Since when the workload and the routes could be read at every look; `None`: one of them
    /// cannot be read now. A wait that nobody could watch must not run into its deadline.
    #[serde(default)]
    pub readable_since: Option<Timestamp>,
    /// The freeze windows that cover this moment and this app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Freeze>,
}

impl Observation {
    /// The status of `revision`: `None` when unknown, all zero when it is known to have nothing.
    pub fn revision(&self, revision: Revision) -> Option<RevisionStatus> {
        let known = self.workload.known()?;
        Some(known.get(&revision).cloned().unwrap_or_default())
    }

    /// Ready instances of `revision`; unknown counts as none, because capacity must be proved.
    pub fn ready(&self, revision: Revision) -> u32 {
        self.revision(revision).map_or(0, |it| it.ready)
    }

    /// The share that the data plane gives to `revision`; `None` when unknown.
    pub fn share(&self, revision: Revision) -> Option<Weight> {
        let routes = self.routes.known()?;
        Some(
            routes
                .shares
                .get(&revision)
                .copied()
                .unwrap_or(Weight::ZERO),
        )
    }
}

/// The instances of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// How many instances the workload was last told to have.
    pub desired: u32,
    /// How many exist in any state but exited.
    pub total: u32,
    /// How many are ready for traffic and are not being drained.
    pub ready: u32,
    /// Every instance, in the workload's own order.
    pub instances: Vec<Instance>,
    /// What is wrong, most important first.
    pub problems: Vec<InstanceProblem>,
}

/// One process, container, pod or address of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Unique within the app and stable for the instance's life, e.g. `r3-1`.
    pub name: String,
    /// `host:port` where it serves, when it has one.
    pub address: Option<String>,
    /// What it can do now.
    pub state: InstanceState,
    /// How often it was started again.
    pub restarts: u32,
}

/// What an instance can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstanceState {
    /// Started, has not yet answered its start-up or readiness probe.
    Starting,
    /// May get traffic.
    Ready,
    /// Was ready, does not answer its readiness probe now.
    NotReady,
    /// To be stopped: gets no new traffic, finishes what it has.
    Draining,
    /// Ended; waits to be started again or forgotten.
    Exited,
}

/// Something wrong with a revision's instances, as the workload driver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceProblem {
    /// What kind of trouble; decides whether waiting may help.
    pub kind: ProblemKind,
    /// The instance, when it is about one.
    pub instance: Option<String>,
    /// One sentence with the facts: exit code, last log line, path.
    pub detail: String,
}

/// The kinds of trouble an instance can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// What should be run is not there (any more).
    ArtifactMissing,
    /// It cannot be started at all: not executable, image cannot be pulled.
    StartFailed,
    /// It keeps ending soon after it was started.
    CrashLoop,
    /// It ended once and is started again.
    Exited,
    /// No port of the configured range is free.
    NoFreePort,
    /// A directory that is needed cannot be written.
    NotWritable,
    /// It runs but its probe fails.
    ProbeFailing,
    /// What should be run cannot be fetched now; it is tried again.
    ImageUnavailable,
    /// There is no room for it anywhere.
    Unschedulable,
    /// The platform does not let it be made: a quota, a policy, a missing account.
    NotAdmitted,
    /// Somebody changed it past Sluice, so it does not run as it was asked to.
    Drift,
}

impl ProblemKind {
    /// Whether waiting may heal it. What cannot heal fails the step at once instead of at the
    /// progress deadline.
    pub fn can_heal(self) -> bool {
        match self {
            Self::ArtifactMissing | Self::StartFailed | Self::CrashLoop => false,
            // Room can come, quotas be raised, registries be back.
            Self::Exited
            | Self::NoFreePort
            | Self::NotWritable
            | Self::ProbeFailing
            | Self::ImageUnavailable
            | Self::Unschedulable
            | Self::NotAdmitted
            | Self::Drift => true,
        }
    }
}

/// The routes of an app as the data plane reports them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedRoutes {
    /// The share each revision really gets; sums to all, or is empty when nothing gets traffic.
    pub shares: BTreeMap<Revision, Weight>,
    /// How far a share may be from what was asked because of the router's own granularity.
    /// A share of 0 and of 100 % must be met exactly all the same.
    pub tolerance: Weight,
    /// Addresses (or instance names) that can still receive requests or hold open ones:
    /// what must not be stopped yet.
    pub in_use: Vec<String>,
    /// Backends in the route that are not ours and get traffic; never touched, always reported.
    pub foreign: Vec<String>,
    /// Names of the rollout's route rules that the data plane has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rules: BTreeSet<String>,
}
