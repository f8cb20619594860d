//! What a Service selects: the user's own selector, or of its pods only those of one revision.
//!
//! A narrowed Service carries three things of ours, written and taken back together:
//! - the key in `spec.selector` by which a revision's pods are told apart;
//! - an annotation with the user's own selector, for people and for the way back;
//! - a label with a stamp that is new with every change of the selector. Controllers copy the labels
//!   of a Service to its EndpointSlices, so a slice with the stamp proves that it was made from this
//!   very selector. Without that proof a controller that is behind (it reads Services and pods by
//!   separate watches) could let a pod in that the selector keeps out already.

use serde_json::{Map, Value, json};

use crate::kubernetes::{EPOCH, Object, revisions::REVISION_HASH};

/// The keys by which the pods of one revision are told apart: Deployments', then StatefulSets' and
/// DaemonSets'.
const KEYS: [&str; 2] = [TEMPLATE_HASH, REVISION_HASH];
/// The key for the pods of Deployments.
pub(in crate::traffic) const TEMPLATE_HASH: &str = "pod-template-hash";
/// The annotation with the user's own selector.
pub(in crate::traffic) const OWN_SELECTOR: &str = "sluice.dev/own-selector";
/// The label with the stamp.
pub(in crate::traffic) const STAMP: &str = "sluice.dev/selection";
/// The annotation that makes a Service one of ours: the name of the user's Service that it is beside.
pub(in crate::traffic) const BESIDE: &str = "sluice.dev/beside";
/// No pod has this hash.
const NOBODY: &str = "nobody";
/// Annotations that say who manages an object, or its state: no part of a copy.
const NOT_COPIED: [&str; 5] = [
    "kubectl.kubernetes.io/",
    "argocd.argoproj.io/",
    "meta.helm.sh/",
    "cloud.google.com/neg-status",
    "sluice.dev/",
];
/// What a second Service has as the user's Service has it.
const COPIED: [&str; 8] = [
    "sessionAffinity",
    "sessionAffinityConfig",
    "publishNotReadyAddresses",
    "internalTrafficPolicy",
    "trafficDistribution",
    "ipFamilies",
    "ipFamilyPolicy",
    "ports",
];
/// Of those, what may be changed later.
const FOLLOWED: [&str; 3] = ["ports", "sessionAffinity", "publishNotReadyAddresses"];

/// The label that the pods of one revision have, and no others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::traffic) struct Mark {
    /// One of the keys that controllers set.
    pub(in crate::traffic) key: String,
    /// Its value.
    pub(in crate::traffic) value: String,
}

impl Mark {
    /// The mark of a Deployment's revision.
    pub(in crate::traffic) fn template(hash: &str) -> Self {
        Self {
            key: TEMPLATE_HASH.to_owned(),
            value: hash.to_owned(),
        }
    }

    /// The mark of a StatefulSet's revision.
    pub(in crate::traffic) fn revision(hash: &str) -> Self {
        Self {
            key: REVISION_HASH.to_owned(),
            value: hash.to_owned(),
        }
    }

    /// The mark that no pod has.
    pub(in crate::traffic) fn nobody() -> Self {
        Self::template(NOBODY)
    }
}

/// The pods that a Service selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) enum Selection {
    /// As the user wrote it.
    Everything,
    /// Of those, the ones with the mark.
    Only(Mark),
}

impl Selection {
    /// What `service` selects now.
    pub(in crate::traffic) fn of(service: &Object) -> Self {
        let Some(own) = kept(service) else {
            return Self::Everything;
        };
        let now = selector(&service.body());
        let mark = KEYS.iter().find_map(|key| {
            let value = now.get(*key).filter(|it| own.get(*key) != Some(*it))?;
            Some(Mark {
                key: (*key).to_owned(),
                value: value.as_str()?.to_owned(),
            })
        });
        mark.map_or(Self::Everything, Self::Only)
    }

    /// The merge patch that makes `service` select this; `None` when it does, and has all that
    /// belongs to it. `stamp` must never have been used for the Service before.
    pub(in crate::traffic) fn change(&self, service: &Object, stamp: &str) -> Option<Value> {
        let narrow = *self != Self::Everything;
        let whole =
            service.labels.contains_key(STAMP) == narrow && kept(service).is_some() == narrow;
        if whole && Self::of(service) == *self {
            return None;
        }
        let (now, own) = (selector(&service.body()), own_selector(service));
        let mut keys = Map::new();
        for key in KEYS {
            let wanted = match self {
                Self::Only(mark) if mark.key == key => Some(Value::from(mark.value.as_str())),
                Self::Only(_) | Self::Everything => own.get(key).cloned(),
            };
            if wanted.as_ref() != now.get(key) {
                keys.insert(key.to_owned(), wanted.unwrap_or(Value::Null));
            }
        }
        let mut change = json!({ "metadata": {
            "annotations": { OWN_SELECTOR: narrow.then(|| Value::Object(own).to_string()) },
            "labels": { STAMP: narrow.then_some(stamp) },
        }});
        add_spec(&mut change, "selector", keys);
        Some(change)
    }
}

/// Whether slices with the label `stamp` were made from the selector that `service` has.
pub(in crate::traffic) fn is_stamped(service: &Object, stamp: Option<&str>) -> bool {
    service.labels.get(STAMP).map(String::as_str) == stamp
}

fn add_spec(change: &mut Value, key: &str, value: Map<String, Value>) {
    if let (false, Some(change)) = (value.is_empty(), change.as_object_mut()) {
        let spec = change.entry("spec").or_insert_with(|| json!({}));
        if let Some(spec) = spec.as_object_mut() {
            spec.insert(key.to_owned(), Value::Object(value));
        }
    }
}

fn selector(body: &Value) -> Map<String, Value> {
    let selector = body.pointer("/spec/selector").and_then(Value::as_object);
    selector.cloned().unwrap_or_default()
}

/// The user's selector that was kept when the Service was narrowed.
fn kept(service: &Object) -> Option<Map<String, Value>> {
    let text = service.annotations.get(OWN_SELECTOR)?;
    // An annotation that somebody broke must not hide that the Service is narrowed.
    let read = serde_json::from_str(text);
    Some(read.unwrap_or_else(|_| without_keys(selector(&service.body()))))
}

/// The user's own selector: as it is now, and our key as it was.
pub(in crate::traffic) fn own_selector(service: &Object) -> Map<String, Value> {
    let now = selector(&service.body());
    let Some(kept) = kept(service) else {
        return now;
    };
    let mut own = without_keys(now);
    own.extend(
        kept.into_iter()
            .filter(|(key, _)| KEYS.contains(&key.as_str())),
    );
    own
}

fn without_keys(mut selector: Map<String, Value>) -> Map<String, Value> {
    for key in KEYS {
        selector.remove(key);
    }
    selector
}

/// Why `service` cannot be narrowed, whatever its pods; `None` when it can.
pub(in crate::traffic) fn unfit(service: &Object) -> Option<&'static str> {
    let body = service.body();
    let kind = body.pointer("/spec/type").and_then(Value::as_str);
    if kind == Some("ExternalName") {
        return Some("is of type ExternalName: it has no pods");
    }
    selector(&body)
        .is_empty()
        .then_some("has no selector: its endpoints are somebody else's business")
}

/// The manifest of a second Service beside `service` that selects `mark` only.
///
/// It has the labels, so that whatever finds the user's Service by label (a ServiceMonitor) finds the
/// pods behind this one too; it is owned by the user's Service, so that it goes with it and no
/// GitOps tool takes it for a stray.
pub(in crate::traffic) fn beside(service: &Object, name: &str, mark: &Mark, stamp: &str) -> Value {
    let body = service.body();
    let copied = |key: &str| !NOT_COPIED.iter().any(|it| key.starts_with(it));
    let mut labels = service.labels.clone();
    labels.insert(STAMP.to_owned(), stamp.to_owned());
    let mut annotations = service.annotations.clone();
    annotations.retain(|key, _| copied(key));
    let mut selector = without_keys(own_selector(service));
    annotations.insert(
        OWN_SELECTOR.to_owned(),
        Value::Object(selector.clone()).to_string(),
    );
    annotations.insert(BESIDE.to_owned(), service.name.clone());
    selector.insert(mark.key.clone(), Value::from(mark.value.as_str()));
    let mut spec = Map::from_iter([
        ("type".to_owned(), Value::from("ClusterIP")),
        ("selector".to_owned(), Value::Object(selector)),
    ]);
    for key in COPIED {
        if let Some(value) = body.pointer(&format!("/spec/{key}")) {
            spec.insert(key.to_owned(), value.clone());
        }
    }
    if body.pointer("/spec/clusterIP").and_then(Value::as_str) == Some("None") {
        spec.insert("clusterIP".to_owned(), Value::from("None"));
    }
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        // It belongs to the user's Service alone.
        port.remove("nodePort");
    }
    json!({
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Service",
                "name": service.name,
                "uid": service.uid,
            }],
        },
        "spec": spec,
    })
}

/// Whether `other` was made by [`beside`] for `service`.
pub(in crate::traffic) fn is_beside(service: &Object, other: &Object) -> bool {
    other.annotations.get(BESIDE) == Some(&service.name)
}

/// The merge patch that makes `other`, a Service of ours, what [`beside`] would make it for `mark`.
pub(in crate::traffic) fn beside_change(
    service: &Object,
    other: &Object,
    mark: &Mark,
    stamp: &str,
) -> Option<Value> {
    let (wanted, now) = (beside(service, &other.name, mark, stamp), other.body());
    let mut change = json!({});
    let (mut keys, keys_now) = (selector(&wanted), selector(&now));
    let moved = keys != keys_now || !other.labels.contains_key(STAMP);
    if moved {
        for key in keys_now.keys() {
            keys.entry(key.clone()).or_insert(Value::Null);
        }
        change = json!({ "metadata": { "labels": { STAMP: stamp } } });
        add_spec(&mut change, "selector", keys);
    }
    let mut spec = Map::new();
    for key in FOLLOWED {
        let of = |it: &Value| it.pointer(&format!("/spec/{key}")).cloned();
        if let (Some(wanted), now) = (of(&wanted), of(&now))
            && now.as_ref() != Some(&wanted)
        {
            spec.insert(key.to_owned(), wanted);
        }
    }
    if !moved && spec.is_empty() {
        return None;
    }
    if let Some(change) = change.as_object_mut() {
        let all = change.entry("spec").or_insert_with(|| json!({}));
        all.as_object_mut()
            .into_iter()
            .for_each(|it| it.extend(spec.clone()));
    }
    Some(change)
}

/// The merge patch that takes everything of ours off the user's `service`.
pub(in crate::traffic) fn release(service: &Object) -> Option<Value> {
    let mut change = Selection::Everything.change(service, "");
    if service.annotations.contains_key(EPOCH) {
        let change = change.get_or_insert_with(|| json!({ "metadata": { "annotations": {} } }));
        let annotations = change.pointer_mut("/metadata/annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.insert(EPOCH.to_owned(), Value::Null);
        }
    }
    change
}

#[cfg(test)]
mod tests;
