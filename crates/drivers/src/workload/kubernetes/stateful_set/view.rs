//! A StatefulSet, what it remembers of its templates, and its pods, as they are read for one pass.

use std::sync::Arc;

use rollout::{Revision, observation::InstanceState};
use serde_json::{Value, json};

use crate::{
    kubernetes::{
        Object, merge,
        revisions::{self, APP, REVISION_HASH},
        template,
    },
    workload::kubernetes::{
        pods::Pod,
        view::{Kept, is_observed, kept, number},
    },
};

/// The annotation of a ControllerRevision that says which template it is: its digest, as the
/// StatefulSet had it.
pub(super) const DIGEST: &str = "sluice.dev/template";

/// A partition that no pod reaches, whatever an autoscaler does.
pub(super) const FENCE: u32 = i32::MAX as u32;

/// A StatefulSet.
#[derive(Debug, Clone)]
pub(super) struct StatefulSet {
    pub(super) object: Arc<Object>,
    pub(super) replicas: u32,
    /// `spec.updateStrategy`.
    pub(super) strategy: Value,
    pub(super) template: Value,
    /// Of the template as it stands there.
    pub(super) digest: String,
    /// Whether its controller has seen it as it is.
    pub(super) observed: bool,
    pub(super) kept: Kept,
    /// The ControllerRevision of pods below the partition.
    pub(super) current: String,
    /// That of the template.
    pub(super) update: String,
}

impl StatefulSet {
    pub(super) fn read(object: Arc<Object>) -> Self {
        let mut body = object.body();
        let observed = is_observed(&body, &object);
        let replicas = number(&body, "/spec/replicas").and_then(|it| u32::try_from(it).ok());
        let mut take = |key: &str| {
            let field = body.pointer_mut(key);
            field.map(Value::take).unwrap_or_default()
        };
        let template = take("/spec/template");
        let mut name = |key: &str| take(key).as_str().unwrap_or_default().to_owned();
        let (current, update) = (
            name("/status/currentRevision"),
            name("/status/updateRevision"),
        );
        Self {
            replicas: replicas.unwrap_or(1),
            strategy: take("/spec/updateStrategy"),
            digest: template::digest(&template),
            template,
            observed,
            kept: kept(&object),
            current,
            update,
            object,
        }
    }

    /// Pods that carry the whole traffic, as the user or an autoscaler wants it.
    pub(super) fn live(&self) -> u32 {
        match self.replicas {
            0 => self.kept.replicas.unwrap_or(0),
            replicas => replicas,
        }
    }

    /// Whether its partition is ours.
    pub(super) fn has_begun(&self) -> bool {
        self.kept.strategy.is_some()
    }

    /// The revision that is being brought out.
    pub(super) fn candidate(&self) -> Option<Revision> {
        let candidate = self.kept.candidate.map(Revision);
        candidate.filter(|_| self.has_begun())
    }

    /// The pods that are to stay what they were.
    pub(super) fn below(&self) -> u32 {
        self.kept.partition.unwrap_or(FENCE).min(self.live())
    }

    /// The strategy with which pods from `partition` on are replaced; what else the user's own says
    /// holds.
    pub(super) fn strategy(&self, partition: u32) -> Value {
        let own = self.kept.strategy.as_ref().unwrap_or(&self.strategy);
        let own = own.get("rollingUpdate").filter(|it| it.is_object());
        let mut rolling = own.cloned().unwrap_or_else(|| json!({}));
        merge(&mut rolling, json!({"partition": partition}));
        json!({"type": "RollingUpdate", "rollingUpdate": rolling})
    }

    /// Who last set a field, as far as the API server knows.
    pub(super) fn setter(&self, field: &str) -> &str {
        self.object.setter(field).unwrap_or("somebody")
    }

    /// `shop/db`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.object.namespace, self.object.name)
    }
}

/// A template that it has or had: a ControllerRevision.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) object: Arc<Object>,
    /// The revision that it is marked as, by this app.
    pub(super) revision: Option<Revision>,
}

impl History {
    pub(super) fn read(object: Arc<Object>, app: &str) -> Self {
        let ours = object.annotations.get(APP).is_some_and(|it| it == app);
        let revision = revisions::revision(&object).filter(|_| ours);
        Self { object, revision }
    }

    /// The digest of the template.
    pub(super) fn digest(&self) -> Option<&str> {
        self.object.annotations.get(DIGEST).map(String::as_str)
    }
}

/// One of its pods.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) pod: Pod,
    pub(super) object: Arc<Object>,
    /// The ControllerRevision that it was made from.
    pub(super) hash: String,
    pub(super) ordinal: u32,
}

impl Member {
    /// `None`: its name is not that of a StatefulSet's pod.
    pub(super) fn read(pod: Pod, object: Arc<Object>) -> Option<Self> {
        let ordinal = object.name.rsplit_once('-')?.1.parse().ok()?;
        let hash = object.labels.get(REVISION_HASH)?.clone();
        Some(Self {
            pod,
            object,
            hash,
            ordinal,
        })
    }

    pub(super) fn is(&self, state: InstanceState) -> bool {
        self.pod.state == state
    }
}
