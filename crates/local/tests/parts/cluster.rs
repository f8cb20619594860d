//! A real Kubernetes control plane: pods on nodes that only seem to be, a crash
//! of the API server, the account of who asked for what, and a Gateway's stub.

use std::time::{Duration, Instant};

use local::kubernetes::gateway::{AGENT, Behaviour, GatewayStub};
use local::kubernetes::{Api, ControlPlane, Entry, Options, Patch, SLUICE};
use local::wait;
use serde_json::{Value, json};

use crate::SOON;

fn deployment(image: &str, replicas: u32) -> String {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
    .to_string()
}

/// Waits until what is at `path` is as `wanted` says.
async fn seen(api: &Api, path: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    wait::until(SOON * 3, what, || async {
        let value = api.get(path).await.map_err(|error| format!("{error:#}"))?;
        if wanted(&value) {
            Ok(value)
        } else {
            Err(value["status"].to_string())
        }
    })
    .await
    .unwrap()
}

/// Entries of one client, as soon as there are `count` of them.
async fn entries(plane: &ControlPlane, agent: &str, count: usize) -> Vec<Entry> {
    let (mut log, mut entries) = (plane.audit_log(), Vec::new());
    wait::until_now(SOON, "the audit log", || {
        let more = log.read().map_err(|error| format!("{error:#}"))?;
        entries.extend(more.into_iter().filter(|entry| entry.user_agent == agent));
        if entries.len() >= count {
            Ok(())
        } else {
            Err(format!("{entries:?}"))
        }
    })
    .await
    .unwrap();
    entries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_runs_pods_counts_requests_and_comes_back_from_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        gateway_api: true,
        ..Options::default()
    };
    let began = Instant::now();
    let mut plane = ControlPlane::start(dir.path(), options).await.unwrap();
    println!("start of the control plane: {:?}", began.elapsed());
    let namespace = plane.namespace("shop").await.unwrap();

    pods_become_ready_or_say_why_not(&plane, &namespace).await;
    requests_are_counted(&plane, &namespace).await;
    routes_are_answered(&plane, &namespace).await;
    the_server_comes_back(&mut plane, &namespace).await;
}

async fn pods_become_ready_or_say_why_not(plane: &ControlPlane, namespace: &str) {
    let api = plane.api("admin", "test").unwrap();
    let apply = ["apply", "-n", namespace, "-f", "-"];
    let began = Instant::now();
    plane
        .kubectl(&apply, &deployment("web:v1", 3))
        .await
        .unwrap();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
    seen(&api, &path, "three pods to be ready", |it| {
        it["status"]["readyReplicas"] == 3
    })
    .await;
    println!("three pods ready: {:?}", began.elapsed());

    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    for (image, reason) in [
        ("web:crash-1", "CrashLoopBackOff"),
        ("web:missing-1", "ImagePullBackOff"),
    ] {
        plane.kubectl(&apply, &deployment(image, 3)).await.unwrap();
        seen(&api, &pods, reason, |it| {
            let reasons =
                it["items"].as_array().into_iter().flatten().map(|pod| {
                    &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
                });
            reasons.into_iter().any(|it| it == reason)
        })
        .await;
    }
    plane
        .kubectl(&apply, &deployment("web:v2", 3))
        .await
        .unwrap();
    let status = [
        "rollout",
        "status",
        "deployment/web",
        "-n",
        namespace,
        "--timeout=60s",
    ];
    let said = plane.kubectl(&status, "").await.unwrap();
    assert!(said.contains("successfully rolled out"), "{said}");
}

async fn requests_are_counted(plane: &ControlPlane, namespace: &str) {
    let api = plane.api(SLUICE, "counted").unwrap();
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let map = json!({"metadata": {"name": "counted"}, "data": {"a": "1"}});
    let refused = api.create(&path, &map).await.unwrap_err();
    assert_eq!(refused.status(), Some(403));
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "patch"]}]);
    plane.allow(SLUICE, namespace, &rules).await.unwrap();
    wait::until(SOON, "the role to be known", || api.create(&path, &map))
        .await
        .unwrap();
    let one = format!("{path}/counted");
    api.get(&one).await.unwrap();
    let change = json!({"data": {"a": "2"}});
    let changed = api.patch(&one, Patch::Merge, &change).await.unwrap();
    assert_eq!(changed["data"]["a"], "2");

    let entries = entries(plane, "counted", 4).await;
    let counted = |verb: &str, code| {
        let matches = |entry: &&Entry| entry.verb == verb && entry.code == code;
        entries.iter().filter(matches).count()
    };
    assert_eq!(
        (
            counted("create", 201),
            counted("get", 200),
            counted("patch", 200)
        ),
        (1, 1, 1)
    );
    assert!(counted("create", 403) >= 1);
    assert_eq!(entries.iter().filter(|it| !it.is_write()).count(), 1);
    assert!(
        entries
            .iter()
            .all(|it| it.user == SLUICE && it.namespace == namespace)
    );
}

async fn routes_are_answered(plane: &ControlPlane, namespace: &str) {
    let api = plane.api("admin", "test").unwrap();
    let stub = GatewayStub::start(plane, namespace, Behaviour::accept()).unwrap();
    let routes = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes");
    let backends = |weight: u32| {
        json!([
            {"name": "web-stable", "port": 80, "weight": 100 - weight},
            {"name": "web-candidate", "port": 80, "weight": weight},
        ])
    };
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web"},
        "spec": {
            "parentRefs": [{"name": "gateway"}],
            "rules": [{"name": "main", "backendRefs": backends(0)}],
        },
    });
    api.create(&routes, &route).await.unwrap();
    let path = format!("{routes}/web");
    let condition =
        |route: &Value, number: usize| route["status"]["parents"][0]["conditions"][number].clone();
    let answered = |generation: u32, status: &'static str| {
        move |route: &Value| {
            let resolved = condition(route, 1);
            resolved["observedGeneration"] == generation && resolved["status"] == status
        }
    };
    seen(&api, &path, "an answer", answered(1, "True")).await;

    let weight =
        json!([{"op": "replace", "path": "/spec/rules/0/backendRefs", "value": backends(20)}]);
    stub.behave(Behaviour::Accept {
        after: Duration::from_millis(300),
    });
    let began = Instant::now();
    let written = api.patch(&path, Patch::Json, &weight).await.unwrap();
    assert_eq!(condition(&written, 1)["observedGeneration"], 1);
    seen(&api, &path, "a late answer", answered(2, "True")).await;
    assert!(began.elapsed() >= Duration::from_millis(300));

    stub.behave(Behaviour::Refuse {
        condition: "ResolvedRefs".to_owned(),
        reason: "BackendNotFound".to_owned(),
    });
    let refused = seen(&api, &path, "a refusal", answered(2, "False")).await;
    assert_eq!(condition(&refused, 1)["reason"], "BackendNotFound");
    assert_eq!(condition(&refused, 0)["status"], "True");
    let writes = entries(plane, AGENT, 1).await;
    assert!(
        writes
            .iter()
            .filter(|it| it.is_write())
            .all(|it| it.subresource == "status")
    );
}

async fn the_server_comes_back(plane: &mut ControlPlane, namespace: &str) {
    plane.freeze_api_server();
    let api = plane.api("admin", "test").unwrap();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
    let asked = tokio::time::timeout(Duration::from_millis(200), api.get(&path)).await;
    assert!(asked.is_err(), "a frozen server answered");
    plane.thaw_api_server();
    api.get(&path).await.unwrap();

    plane.kill_api_server().unwrap();
    assert_eq!(api.get(&path).await.unwrap_err().status(), None);
    let began = Instant::now();
    plane.restart_api_server().await.unwrap();
    println!("restart of the API server: {:?}", began.elapsed());
    // The controllers, the scheduler and KWOK have found it again.
    let scale = json!({"spec": {"replicas": 5}});
    api.patch(&path, Patch::Merge, &scale).await.unwrap();
    seen(&api, &path, "five pods to be ready", |it| {
        it["status"]["readyReplicas"] == 5
    })
    .await;
}
