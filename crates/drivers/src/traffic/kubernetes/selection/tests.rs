//! Selectors as they are narrowed and widened.

use serde_json::json;

use super::*;
use crate::kubernetes::kind::SERVICE;

fn read(value: Value) -> Object {
    Object::read(&SERVICE, value).unwrap()
}

fn user_service() -> Value {
    json!({
        "metadata": {
            "name": "checkout", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
            "labels": { "app": "checkout", "team": "shop" },
            "annotations": {
                "prometheus.io/scrape": "true",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
                "argocd.argoproj.io/tracking-id": "shop:v1/Service:checkout",
            },
        },
        "spec": {
            "type": "NodePort", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"],
            "selector": { "app": "checkout" }, "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080,
                "nodePort": 31000, "appProtocol": "kubernetes.io/h2c" }],
        },
    })
}

/// RFC 7386, as the API server does it.
fn merged(value: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let map = value.as_object_mut().unwrap();
    for (key, patch) in patch {
        if patch.is_null() {
            map.remove(key);
        } else {
            merged(map.entry(key).or_insert(Value::Null), patch);
        }
    }
}

fn changed(service: &Value, to: &Selection, stamp: &str) -> Value {
    let mut after = service.clone();
    if let Some(patch) = to.change(&read(service.clone()), stamp) {
        merged(&mut after, &patch);
    }
    after
}

fn only(hash: &str) -> Selection {
    Selection::Only(Mark::template(hash))
}

#[test]
fn a_service_is_narrowed_and_given_back_as_it_was() {
    let own = user_service();
    let narrow = changed(&own, &only("aaa"), "s1");
    assert_eq!(
        narrow["spec"]["selector"],
        json!({ "app": "checkout", "pod-template-hash": "aaa" })
    );
    assert_eq!(narrow["metadata"]["labels"][STAMP], "s1");
    assert_eq!(Selection::of(&read(narrow.clone())), only("aaa"));
    assert_eq!(
        only("aaa").change(&read(narrow.clone()), "s2"),
        None,
        "nothing to do"
    );

    let other = changed(&narrow, &only("bbb"), "s2");
    assert_eq!(other["spec"]["selector"]["pod-template-hash"], "bbb");
    assert_eq!(other["metadata"]["labels"][STAMP], "s2");
    assert_eq!(changed(&other, &Selection::Everything, "s3"), own);
    assert_eq!(Selection::Everything.change(&read(own), "s3"), None);
}

#[test]
fn what_others_do_to_a_narrowed_service_is_seen_and_kept() {
    let own = user_service();
    let narrow = changed(&own, &only("aaa"), "s1");
    // Somebody replaced the selector: it is not narrow any more, and will be again.
    let mut replaced = narrow.clone();
    replaced["spec"]["selector"] = json!({ "app": "checkout" });
    assert_eq!(
        Selection::of(&read(replaced.clone())),
        Selection::Everything
    );
    assert_eq!(
        changed(&replaced, &only("aaa"), "s2")["spec"]["selector"],
        narrow["spec"]["selector"]
    );
    // Somebody took the stamp: the slices would prove nothing.
    let mut unproved = narrow.clone();
    unproved["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .remove(STAMP);
    assert_eq!(
        changed(&unproved, &only("aaa"), "s2")["metadata"]["labels"][STAMP],
        "s2"
    );
    // A key that was added meanwhile stays.
    let mut added = narrow;
    added["spec"]["selector"]["tier"] = json!("web");
    let back = changed(&added, &Selection::Everything, "s2");
    assert_eq!(
        back["spec"]["selector"],
        json!({ "app": "checkout", "tier": "web" })
    );
}

#[test]
fn a_hash_in_the_users_own_selector_comes_back() {
    let mut own = user_service();
    own["spec"]["selector"]["pod-template-hash"] = json!("mine");
    assert_eq!(Selection::of(&read(own.clone())), Selection::Everything);
    let narrow = changed(&own, &only("aaa"), "s1");
    assert_eq!(Selection::of(&read(narrow.clone())), only("aaa"));
    assert_eq!(changed(&narrow, &Selection::Everything, "s2"), own);
}

#[test]
fn the_second_service_is_as_the_first_but_for_its_pods() {
    let mark = Mark::template("bbb");
    let narrow = changed(&user_service(), &only("aaa"), "s1");
    let manifest = beside(&read(narrow), "checkout-candidate", &mark, "s2");
    insta::assert_yaml_snapshot!(manifest);
}

#[test]
fn the_second_service_follows_the_first() {
    let own = read(user_service());
    let mark = |hash| Mark::template(hash);
    let mut second = beside(&own, "checkout-candidate", &mark("bbb"), "s1");
    merged(
        &mut second,
        &json!({ "metadata": { "uid": "u2", "resourceVersion": "8" },
        "spec": { "clusterIP": "10.0.0.10" } }),
    );
    let change = |second: &Value, own: &Object, hash| {
        beside_change(own, &read(second.clone()), &mark(hash), "s2")
    };
    assert!(is_beside(&own, &read(second.clone())) && !is_beside(&own, &own));
    assert_eq!(change(&second, &own, "bbb"), None);
    let moved = change(&second, &own, "ccc").unwrap();
    assert_eq!(
        moved,
        json!({ "metadata": { "labels": { STAMP: "s2" } },
        "spec": { "selector": { "app": "checkout", "pod-template-hash": "ccc" } } })
    );
    let mut ported = user_service();
    ported["spec"]["ports"][0]["targetPort"] = json!(9090);
    let followed = change(&second, &read(ported), "bbb").unwrap();
    assert_eq!(followed["spec"]["ports"][0]["targetPort"], 9090);
    assert!(
        followed.get("metadata").is_none(),
        "the same pods: {followed}"
    );
    // Whatever else somebody put into its selector goes.
    merged(
        &mut second,
        &json!({ "spec": { "selector": { "stray": "x" } } }),
    );
    assert_eq!(
        change(&second, &own, "bbb").unwrap()["spec"]["selector"]["stray"],
        Value::Null
    );
}

#[test]
fn services_without_pods_of_their_own_are_unfit() {
    assert_eq!(unfit(&read(user_service())), None);
    for (pointer, value) in [("type", json!("ExternalName")), ("selector", Value::Null)] {
        let mut service = user_service();
        service["spec"][pointer] = value;
        assert!(unfit(&read(service)).is_some(), "{pointer}");
    }
}

#[test]
fn a_release_leaves_the_users_service_alone() {
    let own = user_service();
    assert_eq!(release(&read(own.clone())), None);
    let mut narrow = changed(&own, &only("aaa"), "s1");
    narrow["metadata"]["annotations"][EPOCH] = json!("3");
    let patch = release(&read(narrow.clone())).unwrap();
    merged(&mut narrow, &patch);
    assert_eq!(narrow, own);
}
