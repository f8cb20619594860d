//! Weights among backends of our own and others'.

use super::*;
use crate::traffic::kubernetes::json_patch::apply;

static SHAPE: Shape = Shape {
    name: "/name",
    names: |entry, _, service| entry.get("name").and_then(Value::as_str) == Some(service),
    renamed: |_, service| service.to_owned(),
    default: 1,
    whole: |_| 10_000,
};

fn names() -> Names {
    Names {
        namespace: "shop".to_owned(),
        own: "web".to_owned(),
        candidate: "web-candidate".to_owned(),
    }
}

fn route(rules: &Value) -> Value {
    json!({ "metadata": { "annotations": { "team": "shop" } }, "spec": { "rules": rules } })
}

fn find(route: &Value) -> Lists {
    let rules = route["spec"]["rules"].as_array().unwrap();
    let pointers: Vec<String> = (0..rules.len())
        .map(|it| format!("/spec/rules/{it}/backendRefs"))
        .collect();
    let annotation = route["metadata"]["annotations"][OWN_WEIGHTS].as_str();
    Lists::find(route, &pointers, &SHAPE, names(), annotation).unwrap()
}

fn shared(route: &Value, percent: u32) -> Value {
    let mut after = route.clone();
    apply(
        &mut after,
        &find(route)
            .share(Weight::from_hundredths(percent * 100))
            .unwrap(),
    )
    .unwrap();
    after
}

fn weights(route: &Value, rule: usize) -> Vec<(String, u64)> {
    let entries = route["spec"]["rules"][rule]["backendRefs"]
        .as_array()
        .unwrap();
    let entry = |it: &Value| {
        (
            it["name"].as_str().unwrap().to_owned(),
            it["weight"].as_u64().unwrap(),
        )
    };
    entries.iter().map(entry).collect()
}

fn mixed() -> Value {
    route(&json!([
        { "name": "main", "matches": [{ "path": { "value": "/" } }],
          "backendRefs": [{ "name": "web", "port": 80, "weight": 7, "filters": [{ "type": "X" }] }] },
        { "name": "shared", "backendRefs": [{ "name": "legacy", "weight": 50 }, { "name": "web", "weight": 150 }] },
        { "name": "other", "backendRefs": [{ "name": "search", "weight": 1 }] },
    ]))
}

#[test]
fn the_two_share_what_the_user_gave_the_one() {
    let listed = shared(&mixed(), 0);
    insta::assert_json_snapshot!(listed);
    assert_eq!(find(&listed).listed(), Listed::Everywhere);
    let quarter = shared(&listed, 25);
    assert_eq!(
        weights(&quarter, 0),
        [("web".into(), 7500), ("web-candidate".into(), 2500)]
    );
    assert_eq!(
        weights(&quarter, 1),
        [
            ("legacy".into(), 50),
            ("web".into(), 112),
            ("web-candidate".into(), 38)
        ]
    );
    assert_eq!(quarter["spec"]["rules"][2], mixed()["spec"]["rules"][2]);
    let found = find(&quarter);
    assert_eq!(found.others(), ["legacy"]);
    let asked = Weight::from_hundredths(2500);
    assert_eq!(
        found.written(),
        Some(asked),
        "38 of 150 is as near as it gets"
    );
    assert_eq!(found.one_of(&[Weight::ZERO, asked]), Some(asked));
    assert_eq!(found.tolerance(), Weight::from_hundredths(66));
    assert!(found.share(asked).unwrap().is_empty(), "nothing to do");
    assert_eq!(
        find(&mixed()).one_of(&[asked, Weight::ZERO]),
        Some(Weight::ZERO)
    );
}

#[test]
fn given_back_it_is_as_it_was() {
    for percent in [0, 1, 50, 99, 100] {
        let after = shared(&shared(&mixed(), 0), percent);
        let mut back = after.clone();
        apply(&mut back, &find(&after).unlist()).unwrap();
        assert_eq!(back, mixed(), "{percent} %");
    }
    let bare = route(&json!([{ "backendRefs": [{ "name": "web" }] }]));
    let mut back = shared(&bare, 30);
    assert_eq!(
        weights(&back, 0),
        [("web".into(), 7000), ("web-candidate".into(), 3000)]
    );
    let found = find(&back.clone()).unlist();
    apply(&mut back, &found).unwrap();
    assert_eq!(back, bare, "there was no weight");
    assert!(find(&bare).unlist().is_empty());
}

#[test]
fn a_share_is_never_rounded_to_nothing_or_all() {
    let small = |weight: u64| {
        route(
            &json!([{ "backendRefs": [{ "name": "web", "weight": weight }, { "name": "x", "weight": 1 }] }]),
        )
    };
    assert_eq!(weights(&shared(&small(10), 1), 0)[2].1, 1);
    assert_eq!(weights(&shared(&small(10), 99), 0)[2].1, 9);
    assert_eq!(weights(&shared(&small(1), 100), 0)[2].1, 1);
    let refused = find(&small(1))
        .share(Weight::from_hundredths(5000))
        .unwrap_err();
    assert!(refused.contains("give it as 100"), "{refused}");
    // Where the user gives it nothing, the two have nothing.
    assert_eq!(weights(&shared(&small(0), 50), 0)[2].1, 0);
}

#[test]
fn what_somebody_changed_is_put_right_in_one_patch() {
    let mut after = shared(&shared(&mixed(), 0), 40);
    after["spec"]["rules"][0] = mixed()["spec"]["rules"][0].clone();
    let found = find(&after);
    assert_eq!(found.listed(), Listed::Somewhere);
    assert_eq!(found.written(), None);
    assert_eq!(found.one_of(&[Weight::ZERO, Weight::ALL]), None);
    let right = shared(&after, 40);
    assert_eq!(
        weights(&right, 0),
        [("web".into(), 6000), ("web-candidate".into(), 4000)]
    );
    let mut back = right.clone();
    apply(&mut back, &find(&right).unlist()).unwrap();
    assert_eq!(back, mixed());
}

#[test]
fn a_service_that_is_named_twice_or_never_is_told() {
    let twice =
        route(&json!([{ "backendRefs": [{ "name": "web" }, { "name": "web", "port": 81 }] }]));
    let pointers = ["/spec/rules/0/backendRefs".to_owned()];
    let found = Lists::find(&twice, &pointers, &SHAPE, names(), None);
    assert!(found.err().is_some_and(|it| it.contains("more than once")));
    assert!(find(&route(&json!([{ "backendRefs": [{ "name": "x" }] }]))).is_empty());
}
