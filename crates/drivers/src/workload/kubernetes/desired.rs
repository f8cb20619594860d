//! What is to be written so that a Deployment and its ReplicaSets are as a target wants them. Pure;
//! it is asked again after each write to the Deployment, and until it wants nothing more.
//!
//! ```text
//!   at rest    strategy and `paused` are the user's own; the controller scales
//!     │ a second revision is to have pods
//!     v
//!   begun      one write: template of the candidate, `paused`, strategy `Recreate`; the user's own
//!     │        in an annotation. The controller leaves two ReplicaSets alone; we make the second
//!     │        and scale both
//!     │ one revision is left, with all pods
//!     v
//!   at rest    one write: template of that revision, the user's strategy and `paused`
//! ```
//!
//! The edges that decide the order of writes are told in `docs/kubernetes-in-place.md`.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Trigger,
    configs::{Copy, Found},
    copies,
    holding::{deployment_write, keep},
    ops::{Operations, annotation},
    pods::Pod,
    runs::{Run, runs},
    scales,
    stance::{Stance, stance},
    view::{Deployment, Kept, Set},
};
use crate::{
    DriverError,
    kubernetes::{Object, references::Reference, revisions::APP},
    workload::WorkloadTarget,
};

/// What one pass knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    /// `project/app`.
    pub(super) app: &'a str,
    pub(super) trigger: Trigger,
    pub(super) deployment: &'a Deployment,
    pub(super) sets: &'a [Set],
    pub(super) pods: &'a [Pod],
    /// ConfigMaps and Secrets.
    pub(super) found: &'a Found,
}

impl World<'_> {
    /// Whether the Deployment stays paused at rest: Kubernetes must not roll out an edit past the
    /// plan, nor pods that read ConfigMaps and Secrets themselves.
    pub(super) fn pauses_at_rest(&self, runs: &[Run<'_>]) -> bool {
        self.trigger == Trigger::Template || runs.iter().any(|it| !it.copies.is_empty())
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Write {
    /// Operations of a JSON patch on the Deployment; `again`: the fields that had been written
    /// before, and that somebody else has changed since.
    Deployment {
        operations: Vec<Value>,
        again: Vec<&'static str>,
    },
    /// A new ReplicaSet.
    Create { manifest: Value },
    /// A copy of a ConfigMap or Secret.
    Copy(Copy),
    /// A copy that nobody needs any more.
    Forget(Reference),
    /// Operations of a JSON patch on a ReplicaSet.
    Set {
        name: String,
        operations: Vec<Value>,
    },
}

impl Write {
    /// Whether it says nothing but whose the Deployment is.
    fn only_marks(&self) -> bool {
        let path = annotation(APP);
        match self {
            Self::Deployment { operations, .. } => operations
                .iter()
                .all(|it| it.get("path").and_then(Value::as_str) == Some(&path)),
            Self::Create { .. } | Self::Copy(_) | Self::Forget(_) | Self::Set { .. } => false,
        }
    }
}

/// The writes that bring the world closer to the target. A write to the Deployment's spec comes
/// alone: its controller must have seen it before anything else is right.
pub(super) fn desired(
    world: &World<'_>,
    target: &WorkloadTarget,
) -> Result<Vec<Write>, DriverError> {
    let deployment = world.deployment;
    refuse_foreign("Deployment", &deployment.object, world.app)?;
    let runs = runs(&target.revisions, world.sets, deployment)?;
    if target.scales.is_empty() {
        return stop_all(world, target, &runs);
    }
    let copies = copies::missing(world, target, &runs)?;
    if !copies.is_empty() {
        return Ok(copies);
    }
    if let Some(first) = first_after_none(world, target, &runs) {
        return Ok(vec![first]);
    }
    let ours = deployment.has_begun() || (deployment.paused && world.pauses_at_rest(&runs));
    if let Some(write) = deployment_write(world, &runs, stance(world, target, &runs)) {
        // An annotation that is new is copied by the controller to a ReplicaSet: so those are
        // marked first.
        let mut writes = match write.only_marks() && !deployment.paused {
            true => scales::writes(world, target, &runs, false),
            false => Vec::new(),
        };
        writes.push(write);
        return Ok(writes);
    }
    // Until the controller has seen the Deployment paused it would scale our ReplicaSets itself.
    if !deployment.observed && (ours || deployment.paused) {
        return Ok(Vec::new());
    }
    let writes = scales::writes(world, target, &runs, ours);
    if !writes.is_empty() {
        return Ok(writes);
    }
    if !deployment.has_begun() {
        return Ok(copies::surplus(world, &runs));
    }
    Ok(finish(world, target, &runs).into_iter().collect())
}

/// One object is never driven by two apps.
pub(super) fn refuse_foreign(kind: &str, object: &Object, app: &str) -> Result<(), DriverError> {
    match object.annotations.get(APP) {
        Some(other) if other != app => Err(DriverError::permanent(
            format!("drive {kind} {}/{}", object.namespace, object.name),
            format!(
                "it belongs to app {other}: release it there first, or take annotation {APP} off it"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Gives the Deployment back, once one revision has all pods and no other has any.
fn finish(world: &World<'_>, target: &WorkloadTarget, runs: &[Run<'_>]) -> Option<Write> {
    let mut wanted = target.scales.keys();
    let (Some(only), None) = (wanted.next(), wanted.next()) else {
        return None;
    };
    let run = runs.iter().find(|it| it.revision == *only)?;
    let set = run.set?;
    let others = world.sets.iter().filter(|it| it.uid() != set.uid());
    let alone = others.clone().all(|it| it.replicas == 0);
    if !alone || set.replicas != world.deployment.live() {
        return None;
    }
    deployment_write(world, runs, Stance::Rest(*only))
}

/// The ReplicaSet of what starts after everything was stopped, where the Deployment stays paused: its
/// controller gives the pods to the newest one that there is, and must not take the one that was
/// stopped.
fn first_after_none(world: &World<'_>, target: &WorkloadTarget, runs: &[Run<'_>]) -> Option<Write> {
    let deployment = world.deployment;
    let stopped = deployment.replicas == 0 && deployment.kept.replicas.is_some();
    let wanted = |it: &&Run<'_>| target.scales.contains_key(&it.revision);
    let missing = runs.iter().filter(wanted).find(|it| it.set.is_none())?;
    let makes = stopped && deployment.paused && world.pauses_at_rest(runs);
    makes.then(|| scales::create(world, target, missing, 0))
}

/// Stops everything: the Deployment wants no pods, and what it wanted is kept.
fn stop_all(
    world: &World<'_>,
    target: &WorkloadTarget,
    runs: &[Run<'_>],
) -> Result<Vec<Write>, DriverError> {
    let deployment = world.deployment;
    if runs.len() <= 1 {
        return Err(DriverError::permanent(
            format!("stop all pods of Deployment {}", deployment.name()),
            "there is no revision to go back to: what runs goes on running; release the app, or scale the Deployment to 0",
        ));
    }
    let in_use = |set: &Set| scales::is_in_use(world, set, target);
    if world.sets.iter().any(|it| it.replicas > 0 && in_use(it)) {
        return Ok(Vec::new());
    }
    if deployment.replicas > 0 {
        let mut operations = Operations::default();
        operations.replace("/spec/replicas", &json!(deployment.replicas), json!(0));
        let kept = Kept {
            replicas: Some(deployment.replicas),
            ..deployment.kept.clone()
        };
        keep(&kept, &mut operations);
        let operations = operations.done();
        let again = Vec::new();
        return Ok(vec![Write::Deployment { operations, again }]);
    }
    // With two that want pods, the paused controller leaves both alone.
    let left = world.sets.iter().filter(|it| it.replicas > 0);
    match deployment.observed {
        true => Ok(left.map(scales::empty).collect()),
        false => Ok(Vec::new()),
    }
}
