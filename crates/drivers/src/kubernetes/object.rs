//! An object as it is kept: its metadata ready to use, the rest as text that is read when needed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    kind::{GroupBy, Kind},
    write::{EPOCH, MANAGER},
};

/// An object of a cluster at one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its identity: a new object of the same name has another one.
    pub uid: String,
    /// `metadata.resourceVersion`, for writes that must not overwrite anything newer.
    pub resource_version: String,
    /// Grows with each change of what is asked for (`spec`).
    pub generation: i64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The object that controls it.
    pub owner: Option<Owner>,
    /// Who set fields of it, where the kind claims to know about some.
    pub managers: Vec<Manager>,
    /// What is not metadata, as JSON: a tenth of what it takes as a tree.
    body: Box<str>,
}

/// The object that controls another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
}

/// Somebody who set fields of an object, its status left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// The name it gives itself, e.g. `kubectl-edit`.
    pub name: String,
    /// When it last changed any.
    pub at: Option<Timestamp>,
    /// Which of [`Kind::claims`] it set.
    pub fields: Vec<&'static str>,
}

impl Object {
    /// Reads an object of `kind` as the API server gives it. `None`: it has no name or version.
    pub(crate) fn read(kind: &Kind, value: Value) -> Option<Self> {
        let Value::Object(mut object) = value else {
            return None;
        };
        let Some(Value::Object(mut metadata)) = object.remove("metadata") else {
            return None;
        };
        object.remove("apiVersion");
        object.remove("kind");
        let mut body = Value::Object(object);
        (kind.prune)(&mut body);
        let managers = metadata.remove("managedFields");
        Some(Self {
            namespace: text(&metadata, "namespace").unwrap_or_default(),
            name: text(&metadata, "name")?,
            uid: text(&metadata, "uid")?,
            resource_version: text(&metadata, "resourceVersion")?,
            generation: metadata
                .get("generation")
                .and_then(Value::as_i64)
                .unwrap_or(0),
            created: moment(&metadata, "creationTimestamp"),
            deleting: metadata.contains_key("deletionTimestamp"),
            labels: texts(&metadata, "labels"),
            annotations: texts(&metadata, "annotations"),
            owner: owner(&metadata),
            managers: managers.map_or_else(Vec::new, |it| read_managers(kind, &it)),
            body: body.to_string().into(),
        })
    }

    /// What is not metadata: `spec`, `status` and whatever the kind has.
    pub fn body(&self) -> Value {
        // It was written by this process, so it can be read; without it nothing is claimed.
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The epoch it was last written under.
    pub fn epoch(&self) -> Option<i64> {
        self.annotations.get(EPOCH)?.parse().ok()
    }

    /// Whether it is newer than `other`, by version: versions of one kind of object can be compared.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        is_newer(&self.resource_version, &other.resource_version)
    }

    /// Who has set a field since we last wrote the object; who has set any since then, when a value that
    /// goes without saying (`paused: false`) has left no trace. `None`: whoever it was left none at all.
    pub fn setter(&self, field: &str) -> Option<&str> {
        let (ours, others): (Vec<_>, Vec<_>) =
            self.managers.iter().partition(|it| it.name == MANAGER);
        let since = ours.iter().filter_map(|it| it.at).max();
        let others = others.into_iter().filter(|it| it.at >= since);
        let last = others.max_by_key(|it| (it.fields.contains(&field), it.at));
        last.map(|it| it.name.as_str())
    }

    /// The groups that it is looked up by.
    pub(super) fn groups(&self, by: GroupBy) -> impl Iterator<Item = &str> {
        let owner = self.owner.as_ref().map(|it| it.uid.as_str());
        let groups = match by {
            GroupBy::Name => [None, None],
            GroupBy::Owner => [owner, None],
            GroupBy::Label(label) => [self.labels.get(label).map(String::as_str), None],
            GroupBy::OwnerAndAnnotation(annotation) => {
                [owner, self.annotations.get(annotation).map(String::as_str)]
            }
        };
        groups.into_iter().flatten()
    }
}

/// Whether version `one` is newer than `other`. Versions are decimal numbers of any length.
pub(super) fn is_newer(one: &str, other: &str) -> bool {
    (one.len(), one) > (other.len(), other)
}

fn text(metadata: &Map<String, Value>, key: &str) -> Option<String> {
    metadata.get(key)?.as_str().map(str::to_owned)
}

fn moment(metadata: &Map<String, Value>, key: &str) -> Option<Timestamp> {
    metadata.get(key)?.as_str()?.parse().ok()
}

fn texts(metadata: &Map<String, Value>, key: &str) -> BTreeMap<String, String> {
    let map = metadata.get(key).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn owner(metadata: &Map<String, Value>) -> Option<Owner> {
    let owners = metadata.get("ownerReferences")?.as_array()?;
    let controls = |it: &&Value| it.get("controller").and_then(Value::as_bool) == Some(true);
    let owner = owners.iter().find(controls)?.as_object()?;
    Some(Owner {
        kind: text(owner, "kind")?,
        name: text(owner, "name")?,
        uid: text(owner, "uid")?,
    })
}

fn read_managers(kind: &Kind, value: &Value) -> Vec<Manager> {
    let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let known = entries.iter().filter(|_| !kind.claims.is_empty());
    let read = |entry: &Value| {
        let fields = entry.get("fieldsV1")?;
        let set = |claim: &&&'static str| {
            let pointer: String = claim.split('.').map(|it| format!("/f:{it}")).collect();
            fields.pointer(&pointer).is_some()
        };
        let entry = entry.as_object()?;
        Some(Manager {
            name: text(entry, "manager")?,
            at: moment(entry, "time"),
            fields: kind.claims.iter().filter(set).copied().collect(),
        })
    };
    let spec = known.filter(|it| it.get("subresource").is_none());
    spec.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::kind::{DEPLOYMENT, POD};

    #[test]
    fn versions_are_compared_as_numbers_of_any_length() {
        assert!(is_newer("10", "9"));
        assert!(!is_newer("9", "10"));
        assert!(!is_newer("9", "9"));
        assert!(is_newer(
            "340282366920938463463374607431768211456",
            "99999999999999999999"
        ));
    }

    #[test]
    fn what_is_kept_of_an_object_names_who_set_the_fields_that_matter() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
                "annotations": {"sluice.dev/epoch": "12"},
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "time": "2026-11-25T10:00:00Z",
                     "fieldsV1": {"f:spec": {"f:paused": {}, "f:template": {"f:spec": {}}}}},
                    {"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {}}},
                    {"manager": "helm", "time": "2026-11-25T11:00:00Z", "fieldsV1": {"f:metadata": {}}},
                ],
            },
            "spec": {"paused": true},
        });
        let object = Object::read(&DEPLOYMENT, object).unwrap();
        assert_eq!(object.epoch(), Some(12));
        assert_eq!(object.body(), json!({"spec": {"paused": true}}));
        let managers: Vec<_> = object
            .managers
            .iter()
            .map(|it| (&*it.name, it.fields.as_slice()))
            .collect();
        let set = ["spec.paused", "spec.template"];
        assert_eq!(managers, [("kubectl", set.as_slice()), ("helm", &[])]);
        assert_eq!(object.setter("spec.paused"), Some("kubectl"));
        assert_eq!(object.setter("spec.replicas"), Some("helm"));
    }

    #[test]
    fn nobody_is_blamed_for_a_change_since_ours_who_has_written_nothing_since() {
        let written = |name: &str, at: &str, field: &str| json!({"manager": name, "operation": "Update", "time": at, "fieldsV1": {"f:spec": {field: {}}}});
        let setter = |managers: &[Value]| {
            let metadata = json!({
                "name": "web", "uid": "u", "resourceVersion": "7", "managedFields": managers,
            });
            let object = Object::read(&DEPLOYMENT, json!({"metadata": metadata})).unwrap();
            object.setter("spec.template").map(str::to_owned)
        };
        let made = written(
            "kubectl-client-side-apply",
            "2026-11-25T10:00:00Z",
            "f:template",
        );
        let ours = written(MANAGER, "2026-11-25T11:00:00Z", "f:paused");
        let theirs = |field| written("gitops", "2026-11-25T11:00:00Z", field);
        assert_eq!(setter(&[made.clone(), ours.clone()]), None);
        let other = Some("gitops".to_owned());
        assert_eq!(
            setter(&[theirs("f:template"), made.clone(), ours.clone()]),
            other
        );
        // It took something away, which leaves no trace but its time.
        assert_eq!(setter(&[theirs("f:replicas"), made.clone(), ours]), other);
        let maker = Some("kubectl-client-side-apply".to_owned());
        assert_eq!(
            setter(&[theirs("f:replicas"), made]),
            maker,
            "we have written nothing"
        );
    }

    #[test]
    fn what_nobody_reads_of_a_pod_is_not_kept() {
        let pod = json!({
            "metadata": {
                "name": "web-1", "uid": "u", "resourceVersion": "7",
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}],
            },
            "spec": {"volumes": [], "containers": [{"name": "a", "image": "b", "env": []}]},
            "status": {"phase": "Running"},
        });
        let pod = Object::read(&POD, pod).unwrap();
        assert_eq!(pod.groups(GroupBy::Owner).collect::<Vec<_>>(), ["rs"]);
        let kept = json!({"spec": {"containers": [{"name": "a", "image": "b"}]}, "status": {"phase": "Running"}});
        assert_eq!(pod.body(), kept);
        assert_eq!(
            Object::read(&POD, json!({"metadata": {"name": "x"}})),
            None,
            "no version"
        );
    }
}
