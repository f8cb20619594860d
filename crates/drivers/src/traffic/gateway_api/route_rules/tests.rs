//! Header and mirror routes in a route as users write it.

use super::*;
use crate::traffic::kubernetes::json_patch::apply;

fn route() -> Value {
    json!({
        "metadata": { "annotations": {} },
        "spec": { "rules": [
            { "name": "static", "backendRefs": [{ "name": "assets", "port": 80 }] },
            {
                "name": "shop",
                "matches": [
                    { "path": { "type": "PathPrefix", "value": "/cart" } },
                    { "headers": [{ "type": "Exact", "name": "x-a", "value": "1" }] }
                ],
                "timeouts": { "request": "5s" },
                "backendRefs": [
                    { "name": "checkout", "port": 80, "weight": 3 },
                    { "name": "legacy", "port": 80, "weight": 1 }
                ]
            },
            { "filters": [{ "type": "URLRewrite" }], "backendRefs": [{ "name": "checkout", "port": 80 }] }
        ] }
    })
}

fn read(route: &Value) -> RouteRules {
    let names = Names {
        namespace: "shop".to_owned(),
        own: "checkout".to_owned(),
        candidate: "checkout-candidate".to_owned(),
    };
    let rules = route["spec"]["rules"].as_array().unwrap().len();
    let lists: Vec<String> = (0..rules)
        .map(|it| format!("/spec/rules/{it}/backendRefs"))
        .collect();
    let kept = route["metadata"]["annotations"][ROUTES].as_str();
    RouteRules::read(route, &lists, &names, kept)
}

fn patched(route: &Value, operations: &[Value]) -> Value {
    let mut route = route.clone();
    apply(&mut route, operations).unwrap();
    route
}

fn headers(value: ValueMatch) -> RouteRule {
    RouteRule::Headers(vec![HeaderMatch {
        header: "X-Tester".to_owned(),
        value,
    }])
}

fn rules(rules: &[(&str, RouteRule)]) -> BTreeMap<String, RouteRule> {
    let named = rules
        .iter()
        .map(|(name, it)| ((*name).to_owned(), it.clone()));
    named.collect()
}

#[test]
fn rules_come_and_go_and_leave_nothing() {
    let before = route();
    let exact = headers(ValueMatch::Exact("yes".to_owned()));
    let testers = rules(&[("testers", exact.clone())]);
    let with = patched(&before, &read(&before).write(&testers));
    let all = with["spec"]["rules"].as_array().unwrap();
    assert_eq!(all.len(), 5, "one for each rule that names the Service");
    assert_eq!(all[..3], before["spec"]["rules"].as_array().unwrap()[..]);
    let asks = json!({ "type": "Exact", "name": "X-Tester", "value": "yes" });
    assert_eq!(
        all[3],
        json!({
            "matches": [
                { "path": { "type": "PathPrefix", "value": "/cart" }, "headers": [asks] },
                { "headers": [{ "type": "Exact", "name": "x-a", "value": "1" }, asks] }
            ],
            "timeouts": { "request": "5s" },
            "backendRefs": [{ "name": "checkout-candidate", "port": 80 }]
        })
    );
    assert_eq!(all[4]["matches"], json!([{ "headers": [asks] }]));
    assert_eq!(all[4]["filters"], json!([{ "type": "URLRewrite" }]));
    assert_eq!(read(&with).standing(), testers);
    assert!(read(&with).write(&testers).is_empty(), "nothing to do");

    let mirror = RouteRule::Mirror(Weight::from_hundredths(2_500));
    let both = rules(&[("copies", mirror.clone()), ("testers", exact)]);
    let more = patched(&with, &read(&with).write(&both));
    assert_eq!(read(&more).standing(), both);
    let copies = json!({
        "type": "RequestMirror",
        "requestMirror": {
            "backendRef": { "name": "checkout-candidate", "port": 80 },
            "fraction": { "numerator": 2_500, "denominator": 10_000 }
        }
    });
    let rule = |route: &Value, at: usize| route["spec"]["rules"][at].clone();
    assert_eq!(rule(&more, 1)["filters"], json!([copies]));
    assert_eq!(
        rule(&more, 2)["filters"],
        json!([{ "type": "URLRewrite" }, copies])
    );
    assert_eq!(
        rule(&more, 3).get("filters"),
        None,
        "testers' requests are not copied"
    );

    let only = rules(&[("copies", mirror)]);
    let less = patched(&more, &read(&more).write(&only));
    assert_eq!(read(&less).standing(), only);
    let after = patched(&less, &read(&less).write(&BTreeMap::new()));
    assert_eq!(after, before);
}

#[test]
fn what_was_taken_away_by_hand_does_not_stand() {
    let testers = rules(&[("testers", headers(ValueMatch::Prefix("a.b".to_owned())))]);
    let before = route();
    let mut with = patched(&before, &read(&before).write(&testers));
    let written = &with["spec"]["rules"][4]["matches"][0]["headers"][0];
    assert_eq!(written["value"], json!(r"a\.b.*"));
    assert!(!read(&with).is_spoilt());
    with["spec"]["rules"].as_array_mut().unwrap().remove(3);
    assert!(read(&with).standing().is_empty() && read(&with).is_spoilt());
    let again = patched(&with, &read(&with).write(&testers));
    assert_eq!(read(&again).standing(), testers);
    // The annotation is gone: what names the candidate alone is ours all the same.
    with["metadata"]["annotations"] = json!({});
    assert!(read(&with).standing().is_empty());
    let after = patched(&with, &read(&with).write(&BTreeMap::new()));
    assert_eq!(after["spec"], before["spec"]);
}

#[test]
fn a_rule_that_moved_in_between_is_a_conflict() {
    let before = route();
    let testers = rules(&[("testers", headers(ValueMatch::Regex("y|z".to_owned())))]);
    let with = patched(&before, &read(&before).write(&testers));
    let removal = read(&with).write(&BTreeMap::new());
    let mut moved = with;
    let first = json!({ "backendRefs": [{ "name": "new", "port": 80 }] });
    moved["spec"]["rules"]
        .as_array_mut()
        .unwrap()
        .insert(0, first);
    assert!(apply(&mut moved, &removal).is_err());
}
