//! Takes back whatever of ours is left at a Deployment and its ReplicaSets. No pod notices.

use serde_json::json;

use super::{
    Kubernetes, Look,
    ops::{Operations, annotation, label},
    view::{Deployment, KEPT, SCALE, Set},
};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{
        Change, Cluster, EPOCH, Kind, Object,
        kind::{COPIED_FOR, DEPLOYMENT, REPLICA_SET},
        references::COPIES,
        revisions::{APP, REVISION},
    },
};

/// Annotations of ours.
const ANNOTATIONS: [&str; 5] = [APP, EPOCH, KEPT, SCALE, COPIES];

/// What is to be written to one object, and a sentence for each part of it.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) kind: &'static Kind,
    pub(super) object: &'a Object,
    pub(super) operations: Operations,
    pub(super) told: Vec<String>,
}

impl Kubernetes {
    pub(super) async fn give_back(
        &self,
        cx: &Cx,
        app: &AppKey,
        dry: bool,
    ) -> Result<Vec<String>, DriverError> {
        let look = self.look(cx, app, &[]).await?;
        let owner = look.deployment.object.annotations.get(APP);
        if owner.is_some_and(|it| *it != app.to_string()) {
            return Ok(Vec::new());
        }
        let mut parts = vec![of_deployment(&look.deployment)];
        parts.extend(look.sets.iter().map(of_set));
        let mut told: Vec<String> = read_originals(&look).into_iter().collect();
        told.extend(write(&look.cluster, parts, dry).await?);
        Ok(told)
    }
}

/// Writes the parts, or with `dry` does not. What is told of them.
pub(super) async fn write(
    cluster: &Cluster,
    parts: Vec<Part<'_>>,
    dry: bool,
) -> Result<Vec<String>, DriverError> {
    let mut told = Vec::new();
    for part in parts.into_iter().filter(|it| !it.operations.is_empty()) {
        if !dry {
            // Whoever releases an app is not one of its replicas.
            let epoch = part.object.epoch().unwrap_or(0);
            let change = Change::Json(part.operations.done());
            cluster.patch(part.kind, part.object, epoch, change).await?;
        }
        told.extend(part.told);
    }
    Ok(told)
}

/// What happens to pods that read copies.
fn read_originals(look: &Look) -> Option<String> {
    let held = look.deployment.paused && look.deployment.kept.paused == Some(false);
    let reads = |it: &Set| it.is_isolated() && it.replicas > 0;
    (held && look.sets.iter().any(reads)).then(|| {
        format!(
            "its pods read copies of ConfigMaps and Secrets: Kubernetes replaces them, by the strategy of Deployment {}, by pods that read the originals; after that the copies can be deleted, by label {COPIED_FOR}={}",
            look.deployment.name(), look.deployment.object.uid
        )
    })
}

fn of_deployment(deployment: &Deployment) -> Part<'_> {
    let mut operations = Operations::default();
    let mut told = Vec::new();
    let name = deployment.name();
    let kept = &deployment.kept;
    if let Some(strategy) = &kept.strategy {
        operations.replace("/spec/strategy", &deployment.strategy, strategy.clone());
        told.push(format!(
            "Deployment {name} gets its own strategy back, {strategy}"
        ));
        told.push(format!(
            "a rollout is under way: Kubernetes ends it from where it is, with the template that Deployment {name} has now"
        ));
    }
    if kept.paused == Some(false) && deployment.paused {
        operations.set("/spec/paused", json!(false));
        told.push(format!("Deployment {name} is not paused any more"));
    }
    if let Some(replicas) = kept.replicas.filter(|_| deployment.replicas == 0) {
        operations.set("/spec/replicas", json!(replicas));
        told.push(format!("Deployment {name} wants {replicas} pods again"));
    }
    without_annotations(&deployment.object, "Deployment", &mut operations, &mut told);
    Part {
        kind: &DEPLOYMENT,
        object: &deployment.object,
        operations,
        told,
    }
}

fn of_set(set: &Set) -> Part<'_> {
    let mut operations = Operations::default();
    let mut told = Vec::new();
    if set.object.labels.contains_key(REVISION) {
        operations.remove(&label(REVISION));
        told.push(format!(
            "label {REVISION} is taken off ReplicaSet {}",
            set.object.name
        ));
    }
    without_annotations(&set.object, "ReplicaSet", &mut operations, &mut told);
    Part {
        kind: &REPLICA_SET,
        object: &set.object,
        operations,
        told,
    }
}

pub(super) fn without_annotations(
    object: &Object,
    kind: &str,
    operations: &mut Operations,
    told: &mut Vec<String>,
) {
    let ours = ANNOTATIONS
        .into_iter()
        .filter(|it| object.annotations.contains_key(*it));
    for name in ours {
        operations.remove(&annotation(name));
        told.push(format!(
            "annotation {name} is taken off {kind} {}",
            object.name
        ));
    }
    if !operations.is_empty() && object.epoch().is_none() {
        // The write itself brings it.
        operations.remove(&annotation(EPOCH));
    }
}
