//! The rights: the two lists are one, and nothing beyond them is allowed.

use e2e::Cluster;
use local::kubernetes::ADMIN;
use serde_json::Value;

use super::{ACCOUNT, installed, objects, path};

async fn rules(cluster: &Cluster, file: &str, kind: &str) -> Value {
    let all = objects(cluster, file).await;
    let role = all.into_iter().find(|it| it["kind"] == kind);
    role.unwrap()["rules"].take()
}

/// Whether the account may do it.
async fn may(cluster: &Cluster, verb: &str, resource: &str, namespace: &str) -> bool {
    let ask = [
        "auth", "can-i", verb, resource, "--as", ACCOUNT, "-n", namespace,
    ];
    let output = cluster.kubectl_as(ADMIN, &ask, "").await.unwrap();
    output.stdout.trim() == "yes"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_namespace_gets_the_same_rights_as_all() {
    let cluster = installed().await;
    let everywhere = rules(&cluster, "rights.yaml", "ClusterRole").await;
    let here = rules(&cluster, "namespaced/rights.yaml", "Role").await;
    assert_eq!(here, everywhere);

    // And it can be applied by itself: to a namespace, for an account of another one.
    let namespace = cluster.namespace("rights").await.unwrap();
    let directory = path("namespaced");
    let apply = ["apply", "-n", &namespace, "-k", directory.to_str().unwrap()];
    cluster.kubectl(&apply, "").await.unwrap();
    let get = [
        "get",
        "rolebinding",
        "sluice",
        "-o",
        "json",
        "-n",
        &namespace,
    ];
    let binding: Value = serde_json::from_str(&cluster.kubectl(&get, "").await.unwrap()).unwrap();
    assert_eq!(binding["subjects"][0]["namespace"], "sluice");
    assert_eq!(binding["roleRef"]["kind"], "Role");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_else_is_allowed() {
    let cluster = installed().await;
    assert!(may(&cluster, "patch", "deployments.apps", "default").await);
    let never = [
        ("get", "secrets"),
        ("list", "secrets"),
        ("list", "configmaps"),
        ("create", "pods"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("create", "deployments.apps"),
        ("delete", "deployments.apps"),
        ("update", "deployments.apps"),
        ("delete", "replicasets.apps"),
        ("create", "httproutes.gateway.networking.k8s.io"),
        ("delete", "httproutes.gateway.networking.k8s.io"),
        ("patch", "horizontalpodautoscalers.autoscaling"),
        ("create", "serviceaccounts/token"),
        ("escalate", "roles.rbac.authorization.k8s.io"),
        ("bind", "clusterroles.rbac.authorization.k8s.io"),
        ("impersonate", "users"),
        ("list", "nodes"),
    ];
    for (verb, resource) in never {
        assert!(
            !may(&cluster, verb, resource, "default").await,
            "may {verb} {resource}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_configs_needs_is_given_by_kind_and_namespace() {
    let cluster = installed().await;
    let namespace = cluster.namespace("configs").await.unwrap();
    let file = path("configmaps.yaml");
    let apply = ["apply", "-n", &namespace, "-f", file.to_str().unwrap()];
    cluster.kubectl(&apply, "").await.unwrap();
    assert!(may(&cluster, "create", "configmaps", &namespace).await);
    for (verb, resource) in [("patch", "configmaps"), ("get", "secrets")] {
        assert!(!may(&cluster, verb, resource, &namespace).await, "{verb}");
    }
    let file = path("secrets.yaml");
    let apply = ["apply", "-n", &namespace, "-f", file.to_str().unwrap()];
    cluster.kubectl(&apply, "").await.unwrap();
    assert!(may(&cluster, "get", "secrets", &namespace).await);
    assert!(!may(&cluster, "patch", "secrets", &namespace).await);
    assert!(!may(&cluster, "get", "secrets", "default").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_is_what_adopt_makes_of_it() {
    let cluster = installed().await;
    let directory = path("example");
    let apply = ["apply", "-k", directory.to_str().unwrap()];
    cluster.kubectl(&apply, "").await.unwrap();
    let kubeconfig = cluster.kubeconfig(ADMIN).unwrap();
    let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
    let adopt = "adopt deployment/checkout -n shop --project shop -o json";
    let adopt: Vec<&str> = adopt.split(' ').collect();
    let ran = e2e::binary::run(&adopt, &environment, "").await.unwrap();
    let adopted = ran.expect(0).unwrap().json().unwrap();
    let plain = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim_end);
        let lines = lines.filter(|it| !it.is_empty() && !it.trim_start().starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let example = std::fs::read_to_string(path("example/app.yaml")).unwrap();
    assert_eq!(plain(&example), plain(adopted["file"].as_str().unwrap()));
}
