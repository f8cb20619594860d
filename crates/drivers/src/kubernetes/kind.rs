//! The kinds of object that drivers work with; one constant each.

use serde_json::{Value, json};

use super::{references, revisions::APP, template};

/// A kind of object, and how much of it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The API version within the group, e.g. `v1`.
    pub version: &'static str,
    /// As `kind` in a manifest.
    pub kind: &'static str,
    /// As in paths.
    pub plural: &'static str,
    /// What objects are looked up together by.
    pub group_by: GroupBy,
    /// The fields (`spec.paused`) of which it matters who set them: see [`super::Manager`].
    pub claims: &'static [&'static str],
    /// Whether only metadata is listed and watched: what the objects hold stays where it is until it is
    /// asked for by [`super::Cluster::read`].
    pub metadata_only: bool,
    /// Takes away what nobody reads, so that thousands of objects fit in memory. It gets the object
    /// without its metadata.
    pub prune: fn(&mut Value),
}

/// What objects are looked up together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// Each by its name only.
    Name,
    /// The uid of the object that controls them.
    Owner,
    /// The value of this label.
    Label(&'static str),
    /// The uid of the object that controls them, and the value of this annotation: each object is
    /// found by either.
    OwnerAndAnnotation(&'static str),
}

/// `apps/v1` Deployment.
pub const DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    group_by: GroupBy::Name,
    claims: &[
        "spec.paused",
        "spec.replicas",
        "spec.strategy",
        "spec.template",
    ],
    metadata_only: false,
    prune: |_| (),
};

/// `apps/v1` ReplicaSet; of its template only the digest, at `/spec/template`, and the copies that it
/// reads, at `/spec/copies`: a Deployment keeps ten old ones.
pub const REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    group_by: GroupBy::OwnerAndAnnotation(APP),
    claims: &["spec.replicas"],
    metadata_only: false,
    prune: prune_replica_set,
};

/// `apps/v1` StatefulSet.
pub const STATEFUL_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "StatefulSet",
    plural: "statefulsets",
    group_by: GroupBy::Name,
    claims: &["spec.replicas", "spec.template", "spec.updateStrategy"],
    metadata_only: false,
    prune: |_| (),
};

/// `apps/v1` ControllerRevision: a pod template that a StatefulSet has or had, of which only the
/// name and the marks matter.
pub const CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    group_by: GroupBy::OwnerAndAnnotation(APP),
    claims: &[],
    metadata_only: true,
    prune: |it| *it = Value::Null,
};

/// `v1` Pod; only what says how it does.
pub const POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    group_by: GroupBy::Owner,
    claims: &[],
    metadata_only: false,
    prune: prune_pod,
};

/// The label of a copy of a ConfigMap or Secret: the uid of the object whose pods read it.
pub const COPIED_FOR: &str = "sluice.dev/copied-for";

/// `v1` ConfigMap; copies are looked up by what they were made for.
pub const CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    group_by: GroupBy::Label(COPIED_FOR),
    claims: &[],
    metadata_only: true,
    prune: |it| *it = Value::Null,
};

/// `v1` Secret; nothing that one holds is kept.
pub const SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    group_by: GroupBy::Label(COPIED_FOR),
    claims: &[],
    metadata_only: true,
    prune: |it| *it = Value::Null,
};

/// `v1` Service.
pub const SERVICE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    group_by: GroupBy::Name,
    claims: &["spec.selector"],
    metadata_only: false,
    prune: |_| (),
};

/// `discovery.k8s.io/v1` EndpointSlice, by the Service it is for.
pub const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    group_by: GroupBy::Label("kubernetes.io/service-name"),
    claims: &[],
    metadata_only: false,
    prune: |_| (),
};

impl Kind {
    /// `deployments.apps`, as the API server names it.
    pub fn resource(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The path of the kind's objects in `namespace`, or of one of them.
    pub(super) fn path(&self, namespace: &str, name: Option<&str>) -> String {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        let name = name.map(|it| format!("/{it}")).unwrap_or_default();
        format!("{root}/namespaces/{namespace}/{}{name}", self.plural)
    }
}

fn prune_replica_set(set: &mut Value) {
    if let Some(spec) = set.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|key, _| matches!(key.as_str(), "replicas" | "template"));
        let template = spec.get("template").cloned().unwrap_or_default();
        let digest = template::digest(&template);
        spec.insert("template".to_owned(), Value::String(digest));
        let copies = references::copies(&template);
        if !copies.is_empty() {
            spec.insert("copies".to_owned(), json!(copies));
        }
    }
}

fn prune_pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    spec.retain(|key, _| matches!(key.as_str(), "containers" | "nodeName" | "readinessGates"));
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        if let Some(container) = container.as_object_mut() {
            container.retain(|key, _| matches!(key.as_str(), "name" | "image" | "ports"));
        }
    }
}
