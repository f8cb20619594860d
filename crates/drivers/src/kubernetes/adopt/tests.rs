//! Drafts for worlds as users have them.

use serde_json::{Value, json};

use super::*;

fn deployment(name: &str, replicas: u64) -> Value {
    json!({
        "metadata": {"name": name, "generation": 2},
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {"app": name, "tier": "web"}},
                "spec": {"containers": [{"name": "web", "image": format!("registry.example/{name}:1.4")}]},
            },
        },
        "status": {
            "observedGeneration": 2, "replicas": replicas, "updatedReplicas": replicas,
            "availableReplicas": replicas,
        },
    })
}

fn service(name: &str, selector: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"selector": selector}})
}

fn route(name: &str, services: &[&str]) -> Value {
    let rule = |it: &&str| json!({"backendRefs": [{"name": it, "port": 80}]});
    json!({"metadata": {"name": name}, "spec": {"rules": services.iter().map(rule).collect::<Vec<_>>()}})
}

fn ingress(name: &str, class: &str, service: &str) -> Value {
    let path = json!({"path": "/", "backend": {"service": {"name": service}}});
    json!({
        "metadata": {"name": name},
        "spec": {"ingressClassName": class, "rules": [{"http": {"paths": [path]}}]},
    })
}

/// A Deployment with a Service, and nothing else.
fn shop(replicas: u64) -> Found {
    Found {
        namespace: "shop".to_owned(),
        deployment: deployment("checkout", replicas),
        deployments: vec![deployment("checkout", replicas), deployment("cart", 2)],
        services: vec![
            service("checkout", &json!({"app": "checkout"})),
            service("cart", &json!({"app": "cart"})),
        ],
        ..Found::default()
    }
}

fn with_route() -> Found {
    Found {
        http_routes: vec![route("shop", &["cart", "checkout", "checkout"])],
        ..shop(6)
    }
}

fn told(found: &Found, choice: &Choice) -> String {
    match draft(found, choice) {
        Ok(draft) => {
            let touches: Vec<String> = draft.touches.iter().map(|it| format!("- {it}")).collect();
            format!("{}\nLater:\n{}", draft.text, touches.join("\n"))
        }
        Err(error) => error.to_string(),
    }
}

fn chosen() -> Choice {
    Choice::default()
}

#[test]
fn a_route_gives_a_canary_by_weights() {
    let choice = Choice {
        project: Some("shop".to_owned()),
        context: Some("prod eu".to_owned()),
        ..chosen()
    };
    insta::assert_snapshot!(told(&with_route(), &choice));
}

#[test]
fn everything_that_matters_is_told() {
    let mut found = with_route();
    let object = &mut found.deployment;
    object["metadata"]["annotations"] =
        json!({"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/checkout"});
    object["spec"]["template"]["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/default-container": "web"});
    object["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "proxy", "image": "proxy:1"}, {"name": "web", "image": "web:1"}]);
    object["status"]["updatedReplicas"] = json!(4);
    found
        .services
        .push(service("metrics", &json!({"app": "checkout"})));
    found
        .services
        .push(service("checkout-candidate", &json!({"app": "other"})));
    let shared = service("checkout", &json!({"tier": "web"}));
    found.services[0] = shared;
    found.autoscalers = vec![json!({
        "metadata": {"name": "checkout"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "checkout"}, "minReplicas": 4, "maxReplicas": 12},
    })];
    found.budgets = vec![json!({
        "metadata": {"name": "checkout"},
        "spec": {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["checkout"]}]}},
    })];
    found.ingresses = vec![ingress("old", "traefik", "checkout")];
    found.unseen = vec!["grpcroutes could not be looked at: forbidden".to_owned()];
    insta::assert_snapshot!(told(&found, &chosen()));
}

#[test]
fn without_a_route_the_number_of_pods_decides() {
    insta::assert_snapshot!("six_pods", told(&shop(6), &chosen()));
    insta::assert_snapshot!("two_pods", told(&shop(2), &chosen()));
}

#[test]
fn an_ingress_of_nginx_is_a_route_and_any_other_is_not() {
    let mut found = shop(6);
    found.ingresses = vec![ingress("web", "public", "checkout")];
    let class = |controller: &str| json!({"metadata": {"name": "public"}, "spec": {"controller": controller}});
    found.ingress_classes = vec![class("k8s.io/ingress-nginx")];
    insta::assert_snapshot!(told(&found, &chosen()));
    found.ingress_classes = vec![class("traefik.io/ingress-controller")];
    let draft = draft(&found, &chosen()).unwrap();
    assert!(draft.text.contains("replicaRatio:"), "{}", draft.text);
    assert!(
        draft.warnings[0].contains("Ingress web (class public)"),
        "{:?}",
        draft.warnings
    );
}

#[test]
fn what_cannot_be_decided_is_asked() {
    let mut lines = Vec::new();
    let mut ask = |found: &Found, choice: Choice| lines.push(told(found, &choice));
    let mut found = shop(6);
    found
        .services
        .push(service("metrics", &json!({"app": "checkout"})));
    ask(&found, chosen());
    let wrong = Choice {
        service: Some("cart".to_owned()),
        ..chosen()
    };
    ask(&found, wrong);
    found.http_routes = vec![route("shop", &["checkout"]), route("ops", &["metrics"])];
    ask(&found, chosen());
    found.http_routes = vec![route("shop", &["checkout"]), route("beta", &["checkout"])];
    ask(&found, chosen());
    let wrong = Choice {
        route: Some("grpcroute/shop".parse().unwrap()),
        ..chosen()
    };
    ask(&found, wrong);
    let wrong = Choice {
        container: Some("app".to_owned()),
        ..chosen()
    };
    ask(&found, wrong);
    found.deployment["metadata"]["annotations"] = json!({"sluice.dev/app": "default/other"});
    ask(&found, chosen());
    found = shop(6);
    found.services.clear();
    ask(&found, chosen());
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_choice_settles_it() {
    let mut found = shop(6);
    found
        .services
        .push(service("metrics", &json!({"app": "checkout"})));
    found.http_routes = vec![route("shop", &["checkout"]), route("beta", &["checkout"])];
    let choice = Choice {
        route: Some("httproute/beta".parse().unwrap()),
        ..chosen()
    };
    let draft = draft(&found, &choice).unwrap();
    assert!(
        draft.text.contains("    httpRoute: beta\n"),
        "{}",
        draft.text
    );
    let choice = Choice {
        service: Some("metrics".to_owned()),
        ..chosen()
    };
    let draft = super::draft(&found, &choice).unwrap();
    assert!(
        draft.text.contains("    service: metrics\n"),
        "{}",
        draft.text
    );
}

#[test]
fn names_that_are_none_of_an_app_are_made_fit() {
    for (name, app) in [("web", "web"), ("web.v2", "web-v2"), ("2048", "app-2048")] {
        assert_eq!(app_name(name), app);
    }
    let long = app_name(&"a.".repeat(100));
    assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
}

#[test]
fn a_route_is_named_by_kind_and_name() {
    let route: Route = "HTTPRoute/shop".parse().unwrap();
    assert_eq!(route.to_string(), "httproute/shop");
    for wrong in ["shop", "httproute/", "service/shop", ""] {
        let error = wrong.parse::<Route>().unwrap_err();
        assert!(error.contains("httproute/NAME"), "{error}");
    }
}
