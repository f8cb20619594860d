//! The second Ingress: what it must be, and how far it is from that.

use std::{collections::BTreeMap, sync::Arc};

use rollout::Weight;
use serde_json::{Map, Value, json};

use super::{INGRESS, IngressNginx, TAKEN_AFTER};
use crate::{
    kubernetes::{Change, Object},
    traffic::kubernetes::{
        pair::Listed,
        selection::BESIDE,
        two::{Taken, View, Write},
    },
};

/// The user's Ingress, and ours when it is there.
pub(super) struct Ingresses {
    pub(super) settings: IngressNginx,
    pub(super) own: Arc<Object>,
    pub(super) canary: Option<Arc<Object>>,
}

impl Ingresses {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.settings.annotation_prefix)
    }

    /// The second Ingress with `share`; `None`: no path of the user's leads to the Service.
    pub(super) fn manifest(&self, share: Weight) -> Option<Value> {
        let body = self.own.body();
        let mut spec = Map::new();
        if let Some(class) = body.pointer("/spec/ingressClassName") {
            spec.insert("ingressClassName".to_owned(), class.clone());
        }
        let backend = body
            .pointer("/spec/defaultBackend")
            .and_then(|it| self.renamed(it));
        if let Some(backend) = backend {
            spec.insert("defaultBackend".to_owned(), backend);
        }
        let rules = body.pointer("/spec/rules").and_then(Value::as_array);
        let rules: Vec<Value> = rules
            .into_iter()
            .flatten()
            .filter_map(|it| self.rule(it))
            .collect();
        if !rules.is_empty() {
            spec.insert("rules".to_owned(), Value::Array(rules));
        }
        if !spec.contains_key("rules") && !spec.contains_key("defaultBackend") {
            return None;
        }
        let mut annotations = self.annotations();
        annotations.extend(self.weight(share));
        Some(json!({
            "metadata": {
                "name": self.settings.canary(),
                "labels": self.own.labels,
                "annotations": annotations,
                "ownerReferences": [{
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "Ingress",
                    "name": self.own.name,
                    "uid": self.own.uid,
                }],
            },
            "spec": spec,
        }))
    }

    /// The paths of a rule that lead to the user's Service, led to ours.
    fn rule(&self, rule: &Value) -> Option<Value> {
        let paths = rule.pointer("/http/paths").and_then(Value::as_array)?;
        let path = |path: &Value| {
            let backend = self.renamed(path.get("backend")?)?;
            let mut path = path.as_object()?.clone();
            path.insert("backend".to_owned(), backend);
            Some(Value::Object(path))
        };
        let paths: Vec<Value> = paths.iter().filter_map(path).collect();
        if paths.is_empty() {
            return None;
        }
        let mut renamed = json!({ "http": { "paths": paths } });
        if let Some(host) = rule.get("host") {
            renamed
                .as_object_mut()?
                .insert("host".to_owned(), host.clone());
        }
        Some(renamed)
    }

    /// A backend that is the user's Service, made ours.
    fn renamed(&self, backend: &Value) -> Option<Value> {
        let mut backend = backend.clone();
        let name = backend.pointer_mut("/service/name")?;
        if name.as_str() != Some(&self.settings.services.service) {
            return None;
        }
        *name = Value::from(self.settings.services.candidate());
        Some(backend)
    }

    /// What decides how a backend is talked to, and whose Ingress it is.
    fn annotations(&self) -> BTreeMap<String, Option<String>> {
        let (prefix, canary) = (self.key(""), self.key("canary"));
        let copied = |key: &str| {
            (key.starts_with(&prefix) && !key.starts_with(&canary))
                || key == "kubernetes.io/ingress.class"
        };
        let own = self.own.annotations.iter().filter(|(key, _)| copied(key));
        let mut annotations: BTreeMap<String, Option<String>> = own
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .collect();
        annotations.insert(BESIDE.to_owned(), Some(self.own.name.clone()));
        annotations.insert(canary, Some("true".to_owned()));
        annotations
    }

    fn weight(&self, share: Weight) -> [(String, Option<String>); 2] {
        let hundredths = share.hundredths();
        let (weight, total) = match hundredths.is_multiple_of(100) {
            true => (hundredths / 100, None),
            false => (hundredths, Some("10000".to_owned())),
        };
        [
            (self.key("canary-weight"), Some(weight.to_string())),
            (self.key("canary-weight-total"), total),
        ]
    }

    fn written(&self, canary: &Object) -> Option<Weight> {
        let number = |name: &str| canary.annotations.get(&self.key(name))?.parse::<u64>().ok();
        let weight = number("canary-weight")?;
        let total = number("canary-weight-total").unwrap_or(100);
        Some(Weight::of(weight, total))
    }

    /// The merge patch that makes `canary` the Ingress with `share`.
    pub(super) fn change(&self, canary: &Object, share: Weight) -> Option<Value> {
        let wanted = self.manifest(share)?;
        let mut annotations = self.annotations();
        annotations.extend(self.weight(share));
        let differs = |(key, value): &(&String, &Option<String>)| {
            canary.annotations.get(*key) != value.as_ref()
        };
        let annotations: BTreeMap<_, _> = annotations.iter().filter(differs).collect();
        let (body, spec) = (canary.body(), wanted.get("spec"));
        let mut change = Map::new();
        if !annotations.is_empty() {
            change.insert("metadata".to_owned(), json!({ "annotations": annotations }));
        }
        if body.get("spec") != spec {
            let mut spec = spec.cloned().unwrap_or_default();
            let gone = body
                .get("spec")
                .and_then(Value::as_object)
                .into_iter()
                .flatten();
            for (key, _) in gone {
                if let Some(spec) = spec.as_object_mut() {
                    spec.entry(key.clone()).or_insert(Value::Null);
                }
            }
            change.insert("spec".to_owned(), spec);
        }
        (!change.is_empty()).then_some(Value::Object(change))
    }

    fn delete(&self) -> Vec<Write> {
        let canary = self.canary.iter();
        canary
            .map(|it| Write::Delete(&INGRESS, Arc::clone(it)))
            .collect()
    }
}

impl View for Ingresses {
    fn name(&self) -> String {
        format!("Ingress {}/{}", self.own.namespace, self.settings.canary())
    }

    fn listed(&self) -> Listed {
        let Some(canary) = &self.canary else {
            return Listed::Nowhere;
        };
        // Paths of the user's that were added meanwhile, or annotations that somebody took.
        let share = self.written(canary).unwrap_or_default();
        match self.change(canary, share) {
            None => Listed::Everywhere,
            Some(_) => Listed::Somewhere,
        }
    }

    fn state(&self) -> String {
        let canary = self.canary.as_ref();
        canary.map_or_else(String::new, |it| {
            format!("{:?} {}", self.written(it), it.body())
        })
    }

    fn one_of(&self, _asked: &[Weight]) -> Option<Weight> {
        match &self.canary {
            None => Some(Weight::ZERO),
            Some(canary) => self.written(canary),
        }
    }

    fn acceptance(&self) -> Taken {
        Taken::After(TAKEN_AFTER, self.state())
    }

    fn share(&self, share: Weight) -> Result<Vec<Write>, String> {
        let Some(manifest) = self.manifest(share) else {
            return Err(format!(
                "no path of it leads to Service {}",
                self.settings.services.service
            ));
        };
        let Some(canary) = &self.canary else {
            return Ok(vec![Write::Create(&INGRESS, without_nulls(manifest))]);
        };
        let change = self.change(canary, share).map(Change::Merge);
        let patch = change.map(|it| Write::Patch(&INGRESS, Arc::clone(canary), it));
        Ok(patch.into_iter().collect())
    }

    fn unlist(&self) -> Vec<Write> {
        self.delete()
    }

    fn release(&self) -> Vec<Write> {
        self.delete()
    }
}

/// A manifest has no annotation that is to be taken away.
pub(super) fn without_nulls(mut manifest: Value) -> Value {
    let annotations = manifest.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.retain(|_, value| !value.is_null());
    }
    manifest
}
