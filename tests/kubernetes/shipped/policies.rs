//! The two policies: what they refuse, and what they let through.

use std::sync::Arc;

use e2e::Cluster;
use local::kubernetes::{ADMIN, Api, ApiError, Patch};
use serde_json::{Value, json};

use super::installed;

const KEPT: &str = r#"{"candidate":2,"strategy":{"type":"RollingUpdate"},"paused":false}"#;

/// A Deployment without pods, as it is in the middle of a rollout.
pub(super) fn held(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "annotations": {"sluice.dev/kept": KEPT}},
        "spec": {
            "replicas": 0,
            "paused": true,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

struct Objects {
    cluster: Arc<Cluster>,
    api: Api,
    namespace: String,
}

impl Objects {
    async fn start() -> Self {
        let cluster = installed().await;
        Self {
            api: cluster.api(ADMIN, "test").unwrap(),
            namespace: cluster.namespace("policies").await.unwrap(),
            cluster,
        }
    }

    fn path(&self, collection: &str) -> String {
        let (group, plural) = collection.rsplit_once('/').unwrap();
        format!("/{group}/namespaces/{}/{plural}", self.namespace)
    }

    async fn make(&self, collection: &str, object: &Value) {
        self.api
            .create(&self.path(collection), object)
            .await
            .unwrap();
    }

    async fn patch(&self, object: &str, manager: &str, change: &Value) -> Result<Value, ApiError> {
        let (collection, name) = object.rsplit_once('/').unwrap();
        let path = format!("{}/{name}?fieldManager={manager}", self.path(collection));
        self.api.patch(&path, Patch::Merge, change).await
    }

    async fn refuses(&self, object: &str, manager: &str, change: &Value, words: &str) {
        let error = self.patch(object, manager, change).await.unwrap_err();
        assert_eq!(error.status(), Some(403), "{change}: {error}");
        assert!(error.to_string().contains(words), "{change}: {error}");
    }
}

const DEPLOYMENTS: &str = "apis/apps/v1/deployments";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_in_the_middle_of_a_rollout_stays_held() {
    let objects = Objects::start().await;
    objects.make(DEPLOYMENTS, &held("web")).await;
    let web = format!("{DEPLOYMENTS}/web");
    let refuses = async |change: Value, words: &str| {
        objects.refuses(&web, "somebody", &change, words).await;
    };
    refuses(json!({"spec": {"paused": false}}), "every stable pod").await;
    refuses(json!({"spec": {"paused": null}}), "every stable pod").await;
    let rolling = json!({"type": "RollingUpdate"});
    refuses(json!({"spec": {"strategy": rolling}}), "would be resized").await;
    // Also Sluice itself, should it forget to take back what it keeps.
    let whole = json!({"spec": {"paused": false, "strategy": rolling}});
    objects
        .refuses(&web, "sluice", &whole, "every stable pod")
        .await;
    let resume = [
        "rollout",
        "resume",
        "deployment/web",
        "-n",
        &objects.namespace,
    ];
    let output = objects
        .cluster
        .kubectl_as(ADMIN, &resume, "")
        .await
        .unwrap();
    assert!(
        output.stderr.contains("`sluice abort`"),
        "{}",
        output.stderr
    );

    // What does no harm goes through, and so does what ends the rollout.
    let containers = json!([{"name": "web", "image": "web:2"}]);
    let end = json!({
        "metadata": {"annotations": {"sluice.dev/kept": null}},
        "spec": {"paused": false, "strategy": {"type": "RollingUpdate"}},
    });
    for change in [
        json!({"spec": {"replicas": 3}}),
        json!({"spec": {"template": {"spec": {"containers": containers}}}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        end,
    ] {
        objects.patch(&web, "somebody", &change).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_without_a_rollout_is_nobodys_business() {
    let objects = Objects::start().await;
    let with = |name: &str, kept: Option<&str>, paused: bool, strategy: &str| {
        let mut object = held(name);
        object["metadata"]["annotations"]["sluice.dev/kept"] = json!(kept);
        object["spec"]["paused"] = json!(paused);
        object["spec"]["strategy"] = json!({"type": strategy});
        object
    };
    // At rest with `trigger: template`; Sluice was never here; an undo of kubectl brought the
    // annotation back, without what it stands for.
    let cases = [
        with("rest", Some(r#"{"paused":false}"#), true, "Recreate"),
        with("plain", None, true, "Recreate"),
        with("undone", Some(KEPT), false, "Recreate"),
        with("rolling", Some(KEPT), true, "RollingUpdate"),
    ];
    for case in cases {
        objects.make(DEPLOYMENTS, &case).await;
        let name = case["metadata"]["name"].as_str().unwrap();
        let change = json!({"spec": {"paused": false, "strategy": {"type": "RollingUpdate"}}});
        let web = format!("{DEPLOYMENTS}/{name}");
        objects.patch(&web, "somebody", &change).await.unwrap();
    }
}

fn at_epoch(epoch: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {"sluice.dev/epoch": epoch}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_under_a_newer_lease_is_not_overwritten() {
    let objects = Objects::start().await;
    let mut set = held("web");
    set["spec"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key != "paused" && key != "strategy");
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    let route = json!({"metadata": {"name": "web"}, "spec": {}});
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "web"}, "spec": {"defaultBackend": backend}});
    let kinds = [
        (DEPLOYMENTS, held("web")),
        ("apis/apps/v1/replicasets", set),
        ("api/v1/services", service),
        (
            "apis/gateway.networking.k8s.io/v1/httproutes",
            route.clone(),
        ),
        ("apis/gateway.networking.k8s.io/v1/grpcroutes", route),
        ("apis/networking.k8s.io/v1/ingresses", ingress),
    ];
    for (collection, mut object) in kinds {
        let kind = collection.rsplit('/').next().unwrap();
        if let Some((group, version)) = collection
            .strip_prefix("apis/")
            .and_then(|it| it.rsplit_once('/'))
            .and_then(|(it, _)| it.split_once('/'))
            .filter(|(group, _)| group.contains("gateway"))
        {
            let name = if kind == "httproutes" {
                "HTTPRoute"
            } else {
                "GRPCRoute"
            };
            object["apiVersion"] = json!(format!("{group}/{version}"));
            object["kind"] = json!(name);
        }
        objects.make(collection, &object).await;
        let web = format!("{collection}/web");
        let write = async |epoch| objects.patch(&web, "sluice", &at_epoch(epoch)).await;
        for epoch in ["9", "9", "10"] {
            write(Some(epoch)).await.unwrap();
        }
        let older = at_epoch(Some("9"));
        objects
            .refuses(&web, "sluice", &older, "under epoch 10, this is 9")
            .await;
        let broken = at_epoch(Some("-1"));
        objects
            .refuses(&web, "sluice", &broken, "another replica")
            .await;
        // Not by Sluice: an undo brings back what was there before. And the way out.
        objects
            .patch(&web, "kubectl", &at_epoch(Some("3")))
            .await
            .unwrap();
        write(Some("4")).await.unwrap();
        write(None).await.unwrap();
        write(Some("1")).await.unwrap();
        objects
            .patch(&web, "somebody", &at_epoch(Some("x")))
            .await
            .unwrap();
        write(Some("2")).await.unwrap();
    }
}
