//! The ConfigMaps and Secrets that a pod template names, and copies of them that its pods read
//! instead.
//!
//! A template that reads copies says so itself, in an annotation: so it can always be taken back to
//! what its author wrote, and whoever looks at a pod sees what it reads.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    kind::{CONFIG_MAP, Kind, SECRET},
    merge, template,
};

/// The annotation of a pod template (and of a ReplicaSet whose pods read the originals) that names
/// the copies: `{"ConfigMap/web": "web-bcdfg24567"}`.
pub const COPIES: &str = "sluice.dev/copies";

/// Which of the two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
}

impl ConfigKind {
    /// The kind of its objects.
    pub fn kind(self) -> &'static Kind {
        match self {
            Self::ConfigMap => &CONFIG_MAP,
            Self::Secret => &SECRET,
        }
    }
}

/// A ConfigMap or Secret by its name, in the namespace of whoever refers to it: `ConfigMap/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// Its kind.
    pub kind: ConfigKind,
    /// Its name.
    pub name: String,
}

/// What pods read instead of what their author wrote.
pub type Copies = BTreeMap<Reference, String>;

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.kind().kind, self.name)
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.split_once('/').and_then(|(kind, name)| {
            let kinds = [ConfigKind::ConfigMap, ConfigKind::Secret];
            let kind = kinds.into_iter().find(|it| it.kind().kind == kind)?;
            let name = name.to_owned();
            Some(Self { kind, name })
        });
        read.ok_or_else(|| format!("\"{text}\" is neither ConfigMap/NAME nor Secret/NAME"))
    }
}

impl TryFrom<String> for Reference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

/// What the containers and volumes of a pod template name, each with whether pods start without it.
/// What only the platform reads (image pull secrets, drivers of other volumes) is not among it.
pub fn named(template: &Value) -> BTreeMap<Reference, bool> {
    let mut found: BTreeMap<Reference, bool> = BTreeMap::new();
    visit(&mut template.clone(), &mut |kind, holder, key| {
        let Some(name) = holder.get(key).and_then(Value::as_str) else {
            return;
        };
        let name = name.to_owned();
        let optional = holder.get("optional").and_then(Value::as_bool) == Some(true);
        let all = found.entry(Reference { kind, name }).or_insert(true);
        *all &= optional;
    });
    found
}

/// The template with `copies` instead of what it names.
pub fn with_copies(template: &Value, copies: &Copies) -> Value {
    let mut copied = template.clone();
    if copies.is_empty() {
        return copied;
    }
    rename(&mut copied, copies);
    let text = json!(copies).to_string();
    merge(
        &mut copied,
        json!({"metadata": {"annotations": {COPIES: text}}}),
    );
    copied
}

/// The template as its author wrote it.
pub fn without_copies(template: &Value) -> Value {
    let mut plain = template.clone();
    let back = copies(template).into_iter().map(|(original, copy)| {
        let copy = Reference {
            kind: original.kind,
            name: copy,
        };
        (copy, original.name)
    });
    rename(&mut plain, &back.collect());
    template::strip(&mut plain, "annotations", COPIES);
    plain
}

/// The copies that a template reads.
pub fn copies(template: &Value) -> Copies {
    let annotations = template.pointer("/metadata/annotations");
    let text = annotations.and_then(|it| it.get(COPIES)?.as_str());
    text.map(read_copies).unwrap_or_default()
}

/// Reads the annotation [`COPIES`]. What cannot be read is not ours: it names nothing.
pub fn read_copies(text: &str) -> Copies {
    serde_json::from_str(text).unwrap_or_default()
}

fn rename(template: &mut Value, names: &Copies) {
    visit(template, &mut |kind, holder, key| {
        let name = holder.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = name.to_owned();
        if let Some(other) = names.get(&Reference { kind, name }) {
            holder.insert(key.to_owned(), json!(other));
        }
    });
}

/// Called with each map that names one, and the key of the name.
type Visitor<'a> = dyn FnMut(ConfigKind, &mut Map<String, Value>, &'static str) + 'a;

fn visit(template: &mut Value, on: &mut Visitor<'_>) {
    let Some(spec) = template.get_mut("spec") else {
        return;
    };
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            for source in items(container, "envFrom") {
                both(source, ["configMapRef", "secretRef"], "name", on);
            }
            for variable in items(container, "env") {
                if let Some(from) = variable.get_mut("valueFrom") {
                    both(from, ["configMapKeyRef", "secretKeyRef"], "name", on);
                }
            }
        }
    }
    for volume in items(spec, "volumes") {
        one(volume, ConfigKind::ConfigMap, "configMap", "name", on);
        one(volume, ConfigKind::Secret, "secret", "secretName", on);
        if let Some(projected) = volume.get_mut("projected") {
            for source in items(projected, "sources") {
                both(source, ["configMap", "secret"], "name", on);
            }
        }
    }
}

fn items<'a>(value: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    let items = value.get_mut(key).and_then(Value::as_array_mut);
    items.into_iter().flatten()
}

fn both(value: &mut Value, fields: [&str; 2], key: &'static str, on: &mut Visitor<'_>) {
    let [config_map, secret] = fields;
    one(value, ConfigKind::ConfigMap, config_map, key, on);
    one(value, ConfigKind::Secret, secret, key, on);
}

fn one(value: &mut Value, kind: ConfigKind, field: &str, key: &'static str, on: &mut Visitor<'_>) {
    if let Some(holder) = value.get_mut(field).and_then(Value::as_object_mut) {
        on(kind, holder, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template that names one of each kind in every place.
    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "a"}}]}],
                "containers": [{"name": "w", "env": [
                    {"name": "PLAIN", "value": "1"},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k", "optional": true}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}},
                ], "envFrom": [{"configMapRef": {"name": "b"}}, {"configMapRef": {"name": "d", "optional": true}}]}],
                "volumes": [
                    {"name": "v1", "configMap": {"name": "e"}},
                    {"name": "v2", "secret": {"secretName": "f", "optional": true}},
                    {"name": "v3", "projected": {"sources": [{"configMap": {"name": "g"}}, {"secret": {"name": "h"}}, {"downwardAPI": {}}]}},
                    {"name": "v4", "emptyDir": {}},
                ],
            },
        })
    }

    #[test]
    fn every_place_that_pods_read_from_is_found() {
        let named = named(&template());
        let told: Vec<String> = named
            .iter()
            .map(|(it, may)| format!("{it} {may}"))
            .collect();
        let expected = [
            "ConfigMap/b false",
            "ConfigMap/d true",
            "ConfigMap/e false",
            "ConfigMap/g false",
            "Secret/a false",
            "Secret/c false",
            "Secret/f true",
            "Secret/h false",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn copies_are_read_everywhere_and_leave_no_trace_when_they_are_taken_back() {
        let plain = template();
        let copies: Copies = named(&plain)
            .into_keys()
            .map(|it| (it.clone(), format!("{}-copy", it.name)))
            .collect();
        let copied = with_copies(&plain, &copies);
        assert!(named(&copied).keys().all(|it| it.name.ends_with("-copy")));
        assert_eq!(super::copies(&copied), copies);
        assert_eq!(without_copies(&copied), plain);
        assert_eq!(template::digest(&copied), template::digest(&plain));
        assert_eq!(with_copies(&plain, &Copies::new()), plain);
    }

    #[test]
    fn an_annotation_of_somebody_elses_names_nothing() {
        let mut foreign = template();
        foreign["metadata"]["annotations"] = json!({COPIES: "Pod/x"});
        assert_eq!(copies(&foreign), Copies::new());
    }
}
