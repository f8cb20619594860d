//! The pods behind a Service, as its EndpointSlices say: what a data plane can really send to.

use std::collections::BTreeMap;

use rollout::Revision;
use serde_json::Value;

use super::selection::STAMP;
use crate::kubernetes::Object;

/// The endpoints of one Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::traffic) struct Endpoints {
    /// The stamp that all slices show; the inner `None`: they have none. The outer `None`: there are
    /// no slices, or they were made from different selectors.
    pub(in crate::traffic) stamp: Option<Option<String>>,
    /// By the pod's name, or by address where it is no pod.
    pub(in crate::traffic) pods: BTreeMap<String, Endpoint>,
}

/// One pod behind a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::traffic) struct Endpoint {
    /// Its revision; `None`: it is none of the app's.
    pub(in crate::traffic) revision: Option<Revision>,
    /// It gets new requests.
    pub(in crate::traffic) ready: bool,
}

impl Endpoints {
    /// Reads `slices`; `revision_of` tells the revision of a pod by its name.
    pub(in crate::traffic) fn read<'a>(
        slices: impl IntoIterator<Item = &'a Object>,
        revision_of: impl Fn(&str) -> Option<Revision>,
    ) -> Self {
        let mut endpoints = Self::default();
        let mut stamps = Vec::new();
        for slice in slices {
            stamps.push(slice.labels.get(STAMP).cloned());
            let body = slice.body();
            let list = body.get("endpoints").and_then(Value::as_array);
            for endpoint in list.into_iter().flatten() {
                // A pod without a condition is ready, says the API.
                let ready = endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
                let Some((name, revision)) = named(endpoint, &revision_of) else {
                    continue;
                };
                // Of two families of addresses, one that works is enough.
                let known = endpoints
                    .pods
                    .entry(name)
                    .or_insert(Endpoint { revision, ready });
                known.ready |= ready;
            }
        }
        stamps.dedup();
        endpoints.stamp = match (stamps.pop(), stamps.is_empty()) {
            (Some(stamp), true) => Some(stamp),
            (Some(_), false) | (None, _) => None,
        };
        endpoints
    }

    /// Ready endpoints by revision.
    pub(in crate::traffic) fn ready(&self) -> BTreeMap<Revision, u32> {
        let mut ready = BTreeMap::new();
        let pods = self.pods.values().filter(|it| it.ready);
        for revision in pods.filter_map(|it| it.revision) {
            *ready.entry(revision).or_default() += 1;
        }
        ready
    }

    /// The names of what gets requests.
    pub(in crate::traffic) fn names(&self) -> impl Iterator<Item = &str> {
        let ready = self.pods.iter().filter(|(_, it)| it.ready);
        ready.map(|(name, _)| name.as_str())
    }

    /// The names of what gets requests and is none of the app's.
    pub(in crate::traffic) fn strangers(&self) -> Vec<String> {
        let pods = self
            .pods
            .iter()
            .filter(|(_, it)| it.ready && it.revision.is_none());
        pods.map(|(name, _)| name.clone()).collect()
    }
}

fn named(
    endpoint: &Value,
    revision_of: &impl Fn(&str) -> Option<Revision>,
) -> Option<(String, Option<Revision>)> {
    let target = endpoint.get("targetRef");
    let pod = target.filter(|it| it.get("kind").and_then(Value::as_str) == Some("Pod"));
    if let Some(name) = pod.and_then(|it| it.get("name")).and_then(Value::as_str) {
        return Some((name.to_owned(), revision_of(name)));
    }
    let address = endpoint.pointer("/addresses/0").and_then(Value::as_str)?;
    Some((address.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::kind::ENDPOINT_SLICE;

    fn slice(stamp: Option<&str>, endpoints: &Value) -> Object {
        let labels = stamp.map(|it| json!({ STAMP: it }));
        let metadata = json!({ "name": "a", "uid": "u", "resourceVersion": "1", "labels": labels });
        let slice = json!({ "metadata": metadata, "endpoints": endpoints });
        Object::read(&ENDPOINT_SLICE, slice).unwrap()
    }

    fn pod(name: &str, ready: Option<bool>) -> Value {
        json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": ready },
            "targetRef": { "kind": "Pod", "name": name } })
    }

    #[test]
    fn a_pod_counts_once_and_a_stranger_is_named() {
        let slices = [
            slice(
                Some("abc"),
                &json!([pod("a-1", Some(true)), pod("a-2", Some(false))]),
            ),
            slice(
                Some("abc"),
                &json!([pod("a-1", Some(true)), pod("a-3", None), { "addresses": ["10.0.0.9"] }]),
            ),
        ];
        let revision = |name: &str| name.starts_with("a-").then_some(Revision(1));
        let endpoints = Endpoints::read(&slices, revision);
        assert_eq!(endpoints.stamp, Some(Some("abc".to_owned())));
        assert_eq!(endpoints.ready(), BTreeMap::from([(Revision(1), 2)]));
        assert_eq!(endpoints.strangers(), ["10.0.0.9"]);
        assert_eq!(
            endpoints.names().collect::<Vec<_>>(),
            ["10.0.0.9", "a-1", "a-3"]
        );
    }

    #[test]
    fn slices_made_from_different_selectors_prove_nothing() {
        let none = Endpoints::read([], |_| None);
        assert_eq!(none.stamp, None, "no slices yet");
        let own = [slice(None, &json!([]))];
        assert_eq!(Endpoints::read(&own, |_| None).stamp, Some(None));
        let mixed = [slice(Some("abc"), &json!([])), slice(None, &json!([]))];
        assert_eq!(Endpoints::read(&mixed, |_| None).stamp, None);
    }
}
