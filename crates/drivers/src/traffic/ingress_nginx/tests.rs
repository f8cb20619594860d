//! Settings, and the second Ingress.

use std::sync::Arc;

use rollout::{Weight, document::read};
use serde_json::{Value, json};

use super::{second::without_nulls, *};
use crate::{
    kubernetes::{EPOCH, Object},
    traffic::kubernetes::{pair::Listed, two::View},
};

fn settings() -> IngressNginx {
    let document = json!({ "namespace": "shop", "ingress": "checkout", "service": "checkout" });
    read(&document, IngressNginx::read).unwrap()
}

fn object(name: &str, annotations: &Value, spec: &Value) -> Arc<Object> {
    let metadata = json!({ "name": name, "namespace": "shop", "uid": "u", "resourceVersion": "1",
        "labels": { "app": "checkout" }, "annotations": annotations });
    Arc::new(Object::read(&INGRESS, json!({ "metadata": metadata, "spec": spec })).unwrap())
}

fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

fn own() -> Arc<Object> {
    let annotations = json!({
        "nginx.ingress.kubernetes.io/backend-protocol": "GRPC",
        "nginx.ingress.kubernetes.io/affinity": "cookie",
        "cert-manager.io/issuer": "main",
    });
    let path = |path: &str, service: &str| json!({ "path": path, "pathType": "Prefix", "backend": backend(service) });
    let spec = json!({
        "ingressClassName": "nginx",
        "tls": [{ "hosts": ["shop.example.org"], "secretName": "cert" }],
        "rules": [
            { "host": "shop.example.org", "http": { "paths": [path("/", "checkout"), path("/search", "search")] } },
            { "host": "other.example.org", "http": { "paths": [path("/", "search")] } },
            { "http": { "paths": [path("/checkout", "checkout")] } },
        ],
    });
    object("checkout", &annotations, &spec)
}

fn pair(own: Arc<Object>, canary: Option<Arc<Object>>) -> Ingresses {
    Ingresses {
        settings: settings(),
        own,
        canary,
    }
}

/// The canary as the server would have it after the writes.
fn after(pair: &Ingresses, share: Weight) -> Arc<Object> {
    let manifest = without_nulls(pair.manifest(share).unwrap());
    object(
        "checkout-canary",
        &manifest["metadata"]["annotations"],
        &manifest["spec"],
    )
}

#[test]
fn the_second_ingress_leads_the_same_paths_to_the_candidate() {
    let manifest = pair(own(), None)
        .manifest(Weight::from_hundredths(500))
        .unwrap();
    insta::assert_yaml_snapshot!(manifest);
}

#[test]
fn weights_are_whole_percent_where_they_can_be() {
    let none = pair(own(), None);
    for (hundredths, weight, total) in [
        (0, "0", None),
        (2500, "25", None),
        (1250, "1250", Some("10000")),
        (10_000, "100", None),
    ] {
        let share = Weight::from_hundredths(hundredths);
        let canary = after(&none, share);
        let annotation = |name: &str| canary.annotations.get(&none.key(name)).map(String::as_str);
        assert_eq!(
            (
                annotation("canary-weight"),
                annotation("canary-weight-total")
            ),
            (Some(weight), total)
        );
        let now = pair(own(), Some(canary));
        assert_eq!(
            (now.listed(), now.one_of(&[])),
            (Listed::Everywhere, Some(share))
        );
        assert!(now.share(share).unwrap().is_empty(), "nothing to do");
    }
}

#[test]
fn only_what_differs_is_changed() {
    let canary = after(&pair(own(), None), Weight::from_hundredths(1250));
    let now = pair(own(), Some(Arc::clone(&canary)));
    let change = now.change(&canary, Weight::from_hundredths(5000)).unwrap();
    let prefix = "nginx.ingress.kubernetes.io";
    assert_eq!(
        change,
        json!({ "metadata": { "annotations": {
        format!("{prefix}/canary-weight"): "50", format!("{prefix}/canary-weight-total"): null } } })
    );

    // A path that the user adds is led to the candidate as well.
    let mut spec = own().body()["spec"].clone();
    spec["rules"][1]["http"]["paths"][0]["backend"] = backend("checkout");
    let more = object("checkout", &json!({}), &spec);
    let behind = pair(more, Some(Arc::clone(&canary)));
    assert_eq!(behind.listed(), Listed::Somewhere);
    let change = behind
        .change(&canary, Weight::from_hundredths(1250))
        .unwrap();
    assert_eq!(change["spec"]["rules"].as_array().unwrap().len(), 3);
    // Annotations of ours on it, such as the epoch, are nobody else's business.
    let mut written = (*canary).clone();
    written.annotations.insert(EPOCH.to_owned(), "4".to_owned());
    assert_eq!(now.change(&written, Weight::from_hundredths(1250)), None);
}

#[test]
fn an_ingress_that_does_not_lead_to_the_service_is_told() {
    let spec = json!({ "rules": [{ "http": { "paths": [{ "path": "/", "backend": backend("search") }] } }] });
    assert_eq!(
        pair(object("checkout", &json!({}), &spec), None).manifest(Weight::ZERO),
        None
    );
    let default = json!({ "defaultBackend": backend("checkout") });
    let manifest = pair(object("checkout", &json!({}), &default), None).manifest(Weight::ZERO);
    assert_eq!(
        manifest.unwrap()["spec"],
        json!({ "defaultBackend": backend("checkout-candidate") })
    );
}
