//! The Deployment and its ReplicaSets as they are read for one pass.

use std::sync::Arc;

use rollout::Revision;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::count::Scale;
use crate::kubernetes::{
    Object,
    references::{COPIES, Copies, read_copies},
    revisions::{self, APP, TEMPLATE_HASH},
    template,
};

/// The annotation of a Deployment that keeps what the user had set: [`Kept`].
pub(super) const KEPT: &str = "sluice.dev/kept";

/// The annotation of a ReplicaSet that says what it was told to have: [`Scale`].
pub(super) const SCALE: &str = "sluice.dev/scale";

/// By these a ReplicaSet says that the Deployment's controller has scaled it. One that has them and
/// is full is taken for the only one that counts, and all others are scaled to nothing.
pub(super) const SATURATION: [&str; 2] = [
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
];

/// What the user had set, while it is set otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Kept {
    /// The revision that is being brought out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) candidate: Option<u32>,
    /// `spec.strategy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strategy: Option<Value>,
    /// `spec.paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) paused: Option<bool>,
    /// `spec.replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replicas: Option<u32>,
    /// The partition of a StatefulSet that was written last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<u32>,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A Deployment.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) object: Arc<Object>,
    pub(super) replicas: u32,
    pub(super) paused: bool,
    pub(super) strategy: Value,
    pub(super) template: Value,
    /// Of the template as it stands there.
    pub(super) digest: String,
    pub(super) selector: Value,
    pub(super) min_ready_seconds: Option<u64>,
    /// Whether its controller has seen it as it is.
    pub(super) observed: bool,
    pub(super) kept: Kept,
}

impl Deployment {
    pub(super) fn read(object: Arc<Object>) -> Self {
        let mut body = object.body();
        let observed = is_observed(&body, &object);
        let replicas = number(&body, "/spec/replicas");
        let min_ready_seconds = number(&body, "/spec/minReadySeconds");
        let paused = body.pointer("/spec/paused").and_then(Value::as_bool);
        let mut take = |key: &str| {
            let field = body.pointer_mut(key);
            field.map(Value::take).unwrap_or_default()
        };
        let template = take("/spec/template");
        Self {
            replicas: replicas.and_then(|it| u32::try_from(it).ok()).unwrap_or(1),
            paused: paused.unwrap_or(false),
            strategy: take("/spec/strategy"),
            digest: template::digest(&template),
            template,
            selector: take("/spec/selector"),
            min_ready_seconds,
            observed,
            kept: kept(&object),
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

    /// Whether an app has it, of whatever name.
    pub(super) fn is_adopted(&self) -> bool {
        self.object.annotations.contains_key(APP)
    }

    /// Whether its ReplicaSets are scaled by us.
    pub(super) fn has_begun(&self) -> bool {
        self.kept.strategy.is_some()
    }

    /// Who last set a field, as far as the API server knows.
    pub(super) fn setter(&self, field: &str) -> &str {
        self.object.setter(field).unwrap_or("somebody")
    }

    /// `shop/checkout`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.object.namespace, self.object.name)
    }

    /// The selector as a query.
    pub(super) fn query(&self) -> String {
        template::query(&self.selector)
    }
}

/// A ReplicaSet of the Deployment.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) object: Arc<Object>,
    /// `spec.replicas`.
    pub(super) replicas: u32,
    /// Of its template.
    pub(super) digest: String,
    /// The copies that its pods read, or that are kept for when its revision comes back.
    pub(super) copies: Copies,
    isolated: bool,
    /// The revision that it is marked as, by this app.
    pub(super) revision: Option<Revision>,
    /// What it was told to have.
    pub(super) scale: Option<Scale>,
    pub(super) status: Value,
}

impl Set {
    pub(super) fn read(object: Arc<Object>, app: &str) -> Self {
        let mut body = object.body();
        let replicas = number(&body, "/spec/replicas").and_then(|it| u32::try_from(it).ok());
        let digest = body.pointer("/spec/template").and_then(Value::as_str);
        let ours = object.annotations.get(APP).is_some_and(|it| it == app);
        let read = body.pointer("/spec/copies").map(Value::to_string);
        let kept = object.annotations.get(COPIES);
        let copies = read.as_ref().or(kept).map(|it| read_copies(it));
        Self {
            replicas: replicas.unwrap_or(1),
            digest: digest.unwrap_or_default().to_owned(),
            copies: copies.unwrap_or_default(),
            isolated: read.is_some(),
            revision: revisions::revision(&object).filter(|_| ours),
            scale: object.annotations.get(SCALE).and_then(|it| Scale::read(it)),
            status: body.get_mut("status").map(Value::take).unwrap_or_default(),
            object,
        }
    }

    /// Whether its pods read copies.
    pub(super) fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// Whether it has pods, or is to have some.
    pub(super) fn has_pods(&self) -> bool {
        self.replicas > 0 || number(&self.status, "/replicas").unwrap_or(0) > 0
    }

    pub(super) fn uid(&self) -> &str {
        &self.object.uid
    }

    /// Whether its controller has brought all its pods about, and each is ready.
    pub(super) fn is_complete(&self) -> bool {
        let counted = |key: &str| number(&self.status, key).unwrap_or(0);
        let wanted = u64::from(self.replicas);
        let observed = number(&self.status, "/observedGeneration").unwrap_or(0);
        i64::try_from(observed).is_ok_and(|it| it >= self.object.generation)
            && counted("/replicas") == wanted
            && counted("/readyReplicas") == wanted
    }
}

/// What the user had set there. What cannot be read is not ours: somebody else uses the name.
pub(super) fn kept(object: &Object) -> Kept {
    let kept = object.annotations.get(KEPT);
    kept.and_then(|it| serde_json::from_str(it).ok())
        .unwrap_or_default()
}

/// Whether its controller has seen it as it is.
pub(super) fn is_observed(body: &Value, object: &Object) -> bool {
    let observed = number(body, "/status/observedGeneration");
    observed.and_then(|it| i64::try_from(it).ok()) >= Some(object.generation)
}

pub(super) fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// The manifest of a new ReplicaSet, made as the Deployment's controller makes them.
pub(super) fn set_manifest(deployment: &Deployment, hash: &str, template: &Value) -> Value {
    let mut template = template.clone();
    let mut selector = deployment.selector.clone();
    let hashed = json!({TEMPLATE_HASH: hash});
    crate::kubernetes::merge(&mut template, json!({"metadata": {"labels": hashed}}));
    crate::kubernetes::merge(&mut selector, json!({"matchLabels": hashed}));
    let labels = template.pointer("/metadata/labels").cloned();
    let mut spec = Map::new();
    if let Some(seconds) = deployment.min_ready_seconds {
        spec.insert("minReadySeconds".to_owned(), json!(seconds));
    }
    spec.insert("selector".to_owned(), selector);
    spec.insert("template".to_owned(), template);
    json!({
        "metadata": {
            "name": format!("{}-{hash}", deployment.object.name),
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "controller": true, "blockOwnerDeletion": true,
                "name": deployment.object.name, "uid": deployment.object.uid,
            }],
        },
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_asked_for_as_it_stands() {
        let selector = json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "d", "resourceVersion": "1"},
            "spec": {"selector": selector, "template": {}},
        });
        let object = Object::read(&crate::kubernetes::kind::DEPLOYMENT, object).unwrap();
        let deployment = Deployment::read(Arc::new(object));
        assert_eq!(deployment.query(), "app=web,tier in (a,b),!old");
        assert_eq!(deployment.replicas, 1, "the API's default");
    }
}
