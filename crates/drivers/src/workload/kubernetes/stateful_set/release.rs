//! Takes back whatever of ours is left at a StatefulSet and what it remembers. No pod notices.

use serde_json::json;

use super::{
    InPlace,
    view::{DIGEST, History, StatefulSet},
};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{
        kind::{CONTROLLER_REVISION, STATEFUL_SET},
        revisions::{APP, REVISION},
    },
    workload::kubernetes::{
        ops::{Operations, annotation, label},
        release::{Part, without_annotations, write},
    },
};

impl InPlace<'_> {
    pub(in super::super) async fn release(
        &self,
        cx: &Cx,
        app: &AppKey,
        dry: bool,
    ) -> Result<Vec<String>, DriverError> {
        let look = self.look(cx, app).await?;
        let owner = look.set.object.annotations.get(APP);
        if owner.is_some_and(|it| *it != app.to_string()) {
            return Ok(Vec::new());
        }
        let mut parts = vec![of_set(&look.set)];
        parts.extend(look.history.iter().map(of_history));
        write(&look.cluster, parts, dry).await
    }
}

fn of_set(set: &StatefulSet) -> Part<'_> {
    let mut operations = Operations::default();
    let mut told = Vec::new();
    let name = set.name();
    if let Some(strategy) = &set.kept.strategy {
        operations.replace("/spec/updateStrategy", &set.strategy, strategy.clone());
        told.push(format!(
            "StatefulSet {name} gets its own strategy back, {strategy}"
        ));
        told.push(format!(
            "a rollout is under way: Kubernetes ends it from where it is, with the template that StatefulSet {name} has now"
        ));
    }
    if let Some(replicas) = set.kept.replicas.filter(|_| set.replicas == 0) {
        operations.set("/spec/replicas", json!(replicas));
        told.push(format!("StatefulSet {name} wants {replicas} pods again"));
    }
    without_annotations(&set.object, "StatefulSet", &mut operations, &mut told);
    Part {
        kind: &STATEFUL_SET,
        object: &set.object,
        operations,
        told,
    }
}

fn of_history(history: &History) -> Part<'_> {
    let mut operations = Operations::default();
    let mut told = Vec::new();
    let object = &history.object;
    if object.labels.contains_key(REVISION) {
        operations.remove(&label(REVISION));
        told.push(format!(
            "label {REVISION} is taken off ControllerRevision {}",
            object.name
        ));
    }
    if object.annotations.contains_key(DIGEST) {
        operations.remove(&annotation(DIGEST));
    }
    without_annotations(object, "ControllerRevision", &mut operations, &mut told);
    Part {
        kind: &CONTROLLER_REVISION,
        object,
        operations,
        told,
    }
}
