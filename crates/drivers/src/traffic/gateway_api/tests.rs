//! Settings, and routes as users write them.

use rollout::{Weight, document::read};
use serde_json::json;

use super::*;
use crate::TrafficRouter;

fn settings(extra: &Value) -> Result<GatewayApi, Vec<String>> {
    let mut document =
        json!({ "namespace": "shop", "httpRoute": "checkout", "service": "checkout" });
    for (key, value) in extra.as_object().unwrap() {
        document[key] = value.clone();
    }
    let read = read(&document, GatewayApi::read);
    read.map_err(|problems| problems.into_iter().map(|it| it.detail).collect())
}

#[test]
fn settings_are_read_and_survive_json() {
    for extra in [
        json!({}),
        json!({ "context": "prod", "candidateService": "next", "rule": 2 }),
        json!({ "httpRoute": null, "grpcRoute": "checkout.v1", "rule": "main" }),
    ] {
        let read = settings(&extra).unwrap();
        let text = serde_json::to_string(&read).unwrap();
        assert_eq!(
            serde_json::from_str::<GatewayApi>(&text).unwrap(),
            read,
            "{text}"
        );
    }
    assert_eq!(
        settings(&json!({})).unwrap().services.candidate(),
        "checkout-candidate"
    );
    let place = settings(&json!({ "context": "prod" })).unwrap().place();
    assert_eq!(place, "HTTPRoute shop/checkout in prod");
    for (extra, expected) in [
        (
            json!({ "grpcRoute": "x" }),
            "one of httpRoute and grpcRoute",
        ),
        (
            json!({ "httpRoute": null }),
            "one of httpRoute and grpcRoute",
        ),
        (
            json!({ "httpRoute": "Bad Name" }),
            "not the name of an object",
        ),
        (
            json!({ "candidateService": "checkout" }),
            "must be another one",
        ),
        (json!({ "service": "c".repeat(60) }), "too long"),
        (json!({ "rule": 1000 }), "a whole number from 0 to 999"),
        (json!({ "weights": 1 }), "unknown key"),
    ] {
        let problems = settings(&extra).unwrap_err();
        assert!(
            problems.iter().any(|it| it.contains(expected)),
            "{extra}: {problems:?}"
        );
    }
}

fn route(rules: &Value) -> Object {
    let metadata =
        json!({ "name": "checkout", "namespace": "shop", "uid": "u", "resourceVersion": "1" });
    Object::read(
        &HTTP_ROUTE,
        json!({ "metadata": metadata, "spec": { "rules": rules } }),
    )
    .unwrap()
}

#[test]
fn only_the_rules_with_the_service_are_concerned() {
    let of_others = json!([
        { "name": "checkout", "kind": "ServiceImport", "group": "multicluster.x-k8s.io" },
        { "name": "checkout", "namespace": "elsewhere" },
        { "name": "search" },
    ]);
    let own = json!([{ "group": "", "kind": "Service", "name": "checkout", "namespace": "shop", "weight": 1 }]);
    let object = route(&json!([
        { "backendRefs": of_others },
        { "name": "main", "backendRefs": own },
        { "name": "api", "backendRefs": [{ "name": "checkout", "weight": 1 }] },
        { "name": "redirect" },
    ]));
    let touched = |extra: &Value| {
        let lists = settings(extra).unwrap().lists(&object)?;
        let operations = lists.share(Weight::ZERO)?;
        let tests = operations.iter().filter(|it| it["op"] == "test");
        let paths = tests.map(|it| it["path"].as_str().unwrap_or_default().to_owned());
        Ok::<Vec<String>, String>(paths.collect())
    };
    let (main, api) = (
        "/spec/rules/1/backendRefs/0/name",
        "/spec/rules/2/backendRefs/0/name",
    );
    assert_eq!(touched(&json!({})).unwrap(), [main, api]);
    assert_eq!(touched(&json!({ "rule": "api" })).unwrap(), [api]);
    assert_eq!(touched(&json!({ "rule": 1 })).unwrap(), [main]);
    assert!(
        touched(&json!({ "rule": "redirect" }))
            .unwrap_err()
            .contains("no rule \"redirect\"")
    );
    assert!(
        touched(&json!({ "rule": 0 }))
            .unwrap_err()
            .contains("rule 0")
    );
    assert!(
        touched(&json!({ "service": "pay" }))
            .unwrap_err()
            .contains("none of its rules")
    );
}
