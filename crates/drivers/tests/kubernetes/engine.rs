//! What the drivers share: caches, wakes, writes.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use drivers::{
    DriverError,
    kubernetes::{
        Change, Cluster, Failure, Object,
        kind::{DEPLOYMENT, GroupBy, Kind, REPLICA_SET},
    },
};
use futures::{FutureExt, stream};
use local::{
    kubernetes::{Component, Entry, Patch},
    wait,
};
use serde_json::json;

use crate::rig::{Plane, Replica, SOON, admin, allow, app, deployment, deployments};

/// Deployment `web` in a namespace of its own, as a replica sees it.
struct Web {
    plane: Arc<Plane>,
    namespace: String,
    cluster: Arc<Cluster>,
    #[expect(dead_code, reason = "its clusters end with it")]
    replica: Replica,
}

impl Web {
    async fn start() -> Self {
        let plane = Plane::shared().await;
        let namespace = plane.plane.namespace("engine").await.unwrap();
        allow(&plane.plane, &namespace).await;
        let object = deployment("web", "web:v1", 1);
        let made = admin(&plane.plane);
        made.create(&deployments(&namespace), &object)
            .await
            .unwrap();
        let replica = Replica::new(&plane.plane);
        Self {
            cluster: replica.cluster().await,
            plane,
            namespace,
            replica,
        }
    }

    async fn get(&self) -> Arc<Object> {
        let me = app("web");
        let found = self.cluster.get(&me, &DEPLOYMENT, &self.namespace, "web");
        found.await.unwrap().unwrap()
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_wakes_only_the_apps_that_asked_for_the_object() {
    let plane = Plane::shared().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let api = admin(&plane.plane);
    let object = deployment("one", "web:v1", 1);
    api.create(&deployments(&namespace), &object).await.unwrap();
    // Its controller has nothing to do for it once it has seen it.
    let mut object = deployment("two", "web:v1", 0);
    object["spec"]["paused"] = json!(true);
    api.create(&deployments(&namespace), &object).await.unwrap();
    let mut replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let (one, two) = (app("one"), app("two"));
    let get = async |app, name| cluster.get(app, &DEPLOYMENT, &namespace, name).await;
    let first = get(&one, "one").await.unwrap().unwrap();
    assert_eq!(get(&two, "three").await.unwrap(), None);
    wait::until(SOON, "its ReplicaSet to be complete", async || {
        let sets = cluster.group(&one, &REPLICA_SET, &namespace, &first.uid);
        let sets = sets.await.unwrap();
        let complete = |it: &Object| it.body()["status"]["availableReplicas"] == 1;
        match sets.as_slice() {
            [set] if complete(set) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    wait::until(SOON, "the controller to have seen the other", async || {
        let found = get(&two, "two").await.unwrap().unwrap();
        match found.body()["status"]["observedGeneration"] == found.generation {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    })
    .await
    .unwrap();
    // What was listed is known before the watch that follows is asked for.
    let before = wait::until_now(SOON, "one watch for each kind", || {
        let before = cluster.requests();
        match before.get("watch") == Some(&2) {
            true => Ok(before),
            false => Err(format!("{before:?}")),
        }
    })
    .await
    .unwrap();
    replica.woken();

    let path = format!("{}/one", deployments(&namespace));
    let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
    api.patch(&path, Patch::Merge, &annotated).await.unwrap();
    let mut woken = BTreeSet::new();
    // Its controller may still write to it, before and after.
    wait::until(SOON, "a wake by which the change is seen", || {
        woken.extend(replica.woken());
        let told = !woken.is_empty();
        let seen = get(&one, "one");
        async move {
            let seen = seen.await.unwrap().unwrap();
            match told && seen.annotations.contains_key("a") {
                true => Ok(()),
                false => Err(format!("{seen:?}")),
            }
        }
    })
    .await
    .unwrap();
    woken.extend(replica.woken());
    assert_eq!(woken, names(&["one"]));
    assert_eq!(cluster.requests(), before, "reading costs no request");
    let by_verb: Vec<_> = before.into_iter().collect();
    assert_eq!(by_verb, [("watch", 2)], "a watch begins with everything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_fenced_and_known_at_once() {
    let web = Web::start().await;
    let cluster = &web.cluster;
    let get = async || web.get().await;
    let patch = async |object: &Object, epoch, change| {
        cluster.patch(&DEPLOYMENT, object, epoch, change).await
    };
    let set = |replicas: u32| json!({"op": "replace", "path": "/spec/replicas", "value": replicas});
    let was = |replicas: u32| json!({"op": "test", "path": "/spec/replicas", "value": replicas});

    let old = get().await;
    let written = wait::until(SOON, "a write between the controller's", async || {
        let change = Change::Json(vec![was(1), set(2)]);
        let now = get().await;
        patch(&now, 7, change).await
    })
    .await
    .unwrap();
    assert_eq!(written.epoch(), Some(7));
    let known = get().await;
    assert!(
        !written.is_newer_than(&known),
        "its answer is known at once"
    );
    assert_eq!(known.body()["spec"]["replicas"], 2);

    // What it was decided on has changed since.
    let merge = Change::Merge(json!({"spec": {"replicas": 9}}));
    let refused = patch(&old, 7, merge.clone()).await.unwrap_err();
    assert_eq!(refused.failure, Failure::Conflict, "{refused}");
    let refused = patch(&known, 7, Change::Json(vec![was(1), set(9)]));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.failure, Failure::Conflict, "{refused}");
    assert!(DriverError::from(refused).transient);

    // A field that has not changed is enough for a JSON patch.
    let path = format!("{}/web", deployments(&web.namespace));
    let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
    admin(&web.plane.plane)
        .patch(&path, Patch::Merge, &annotated)
        .await
        .unwrap();
    let change = Change::Json(vec![was(2), set(3)]);
    let written = patch(&known, 7, change).await.unwrap();

    // Another replica took over: the older one is refused here, and at the server.
    let newer = patch(&written, 8, Change::Json(vec![was(3), set(4)]));
    let newer = newer.await.unwrap();
    let refused = patch(&newer, 7, merge).await.unwrap_err();
    assert!(refused.message.contains("epoch 8"), "{refused}");
    let refused = patch(&written, 7, Change::Json(vec![set(5)])).await;
    assert_eq!(refused.unwrap_err().failure, Failure::Conflict);
    assert_eq!(get().await.body()["spec"]["replicas"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_caller_went_away_is_known_to_the_next_look() {
    let web = Web::start().await;
    let cluster = &web.cluster;
    let get = async || web.get().await;
    let set = |replicas: u32| {
        let set = json!({"op": "replace", "path": "/spec/replicas", "value": replicas});
        Change::Json(vec![set])
    };
    let signed = wait::until(SOON, "a write between the controller's", async || {
        cluster.patch(&DEPLOYMENT, &*get().await, 1, set(2)).await
    });
    signed.await.unwrap();
    for replicas in 3..9 {
        let known = get().await;
        let write = cluster.patch(&DEPLOYMENT, &known, 1, set(replicas));
        // Dropped after one poll, as by a pass that an urgent one interrupts.
        assert!(write.now_or_never().is_none());
        let dropped = Instant::now();
        let seen = get().await.body()["spec"]["replicas"].clone();
        let late = dropped.elapsed() >= Duration::from_millis(250);
        assert!(late || seen == replicas, "{seen}, not {replicas}");
        let made = wait::until(SOON, "it to be made all the same", async || {
            let seen = get().await.body()["spec"]["replicas"].clone();
            if seen == replicas { Ok(()) } else { Err(seen) }
        });
        made.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_or_written_is_an_error_with_the_reason() {
    let plane = Plane::shared().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    let replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let me = app("web");
    let get = async |kind| cluster.get(&me, kind, &namespace, "web").await;
    let refused = get(&DEPLOYMENT).await.unwrap_err().to_string();
    assert!(
        refused.contains("cannot watch resource \"deployments\""),
        "{refused}"
    );
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list", "watch"]},
        {"apiGroups": ["sluice.test"], "resources": ["things"], "verbs": ["list", "watch"]},
    ]);
    plane
        .plane
        .allow("sluice", &namespace, &rules)
        .await
        .unwrap();
    let object = deployment("web", "web:v1", 1);
    let api = admin(&plane.plane);
    api.create(&deployments(&namespace), &object).await.unwrap();
    let found = wait::until(SOON, "the right to help", async || {
        get(&DEPLOYMENT)
            .await
            .map_err(|error| error.to_string())
            .and_then(|it| it.ok_or_else(|| "nothing".to_owned()))
    })
    .await
    .unwrap();
    let change = Change::Merge(json!({"spec": {"replicas": 2}}));
    let refused = cluster.patch(&DEPLOYMENT, &found, 1, change).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.failure, Failure::Forbidden);
    assert!(refused.message.contains("cannot patch"), "{refused}");

    static THINGS: Kind = Kind {
        group: "sluice.test",
        version: "v1",
        kind: "Thing",
        plural: "things",
        group_by: GroupBy::Name,
        claims: &[],
        metadata_only: false,
        prune: |_| (),
    };
    let none = get(&THINGS).await.unwrap_err().to_string();
    assert!(none.contains("has no things.sluice.test"), "{none}");
    let unknown = replica.cx.kubernetes.get(Some("elsewhere")).await;
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("it has: "), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_watched_until_the_app_is_at_rest() {
    let plane = Plane::shared().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let api = admin(&plane.plane);
    let object = deployment("web", "web:v1", 2);
    api.create(&deployments(&namespace), &object).await.unwrap();
    let replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let me = app("web");
    let pods = async |as_of: &str| {
        wait::until(SOON, "its pods", async || {
            let pods = cluster
                .pods(&me, &namespace, "app=web", as_of)
                .await
                .unwrap();
            match pods.len() {
                2 => Ok(()),
                other => Err(other),
            }
        })
        .await
        .unwrap();
    };
    pods("one").await;
    pods("one").await;
    assert_eq!(cluster.requests().get("watch"), Some(&1));
    // What was last seen holds as long as what it depends on is the same.
    replica.cx.at_rest(&me);
    pods("one").await;
    assert_eq!(cluster.requests().get("watch"), Some(&1));
    pods("two").await;
    assert_eq!(cluster.requests().get("watch"), Some(&2));
}

/// One is done with the app while others look at its pods, as when an app is released during a pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_pods_is_not_cut_off_by_who_is_done_with_them() {
    let plane = Plane::shared().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let me = app("web");
    let reads = async || {
        for _ in 0..40 {
            let pods = cluster.pods(&me, &namespace, "app=web", "one");
            pods.await.unwrap();
            replica.cx.forget(&me);
        }
    };
    tokio::join!(reads(), reads(), reads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_watch_begins_with_everything_it_is_listed() {
    let without = "--feature-gates=WatchList=false".to_owned();
    let plane = Plane::with(vec![(Component::ApiServer, without)]).await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let api = admin(&plane.plane);
    let object = deployment("web", "web:v1", 1);
    api.create(&deployments(&namespace), &object).await.unwrap();
    let replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let me = app("web");
    let found = cluster.get(&me, &DEPLOYMENT, &namespace, "web").await;
    let found = found.unwrap().unwrap();
    wait::until(SOON, "its ReplicaSet", async || {
        let sets = cluster.group(&me, &REPLICA_SET, &namespace, &found.uid);
        match sets.await.unwrap().len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
    // One was refused; that is enough to know for the second kind. A watch is opened after its list.
    wait::until_now(SOON, "both watches", || {
        let by_verb: Vec<_> = cluster.requests().into_iter().collect();
        match by_verb == [("list", 2), ("watch", 3)] {
            true => Ok(()),
            false => Err(format!("{by_verb:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_watched_for_an_app_that_another_replica_drives() {
    let plane = Plane::shared().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let api = admin(&plane.plane);
    let object = deployment("web", "web:v1", 1);
    api.create(&deployments(&namespace), &object).await.unwrap();
    let mut replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let (mine, other) = (app("mine"), app("other"));
    for app in [&mine, &other] {
        let found = cluster.get(app, &DEPLOYMENT, &namespace, "web").await;
        assert!(found.unwrap().is_some());
    }
    let pods = cluster.pods(&other, &namespace, "app=web", "one");
    pods.await.unwrap();
    let (mut log, mut entries) = (plane.plane.audit_log(), Vec::new());
    let mut watches = |begins: bool| {
        entries.extend(log.read().unwrap());
        let pods = |it: &&Entry| it.namespace == namespace && it.resource == "pods";
        let mut watches = entries.iter().filter(pods).filter(|it| it.verb == "watch");
        match watches.any(|it| it.begins == begins) {
            true => Ok(()),
            false => Err("none"),
        }
    };
    let begun = wait::until_now(SOON, "a watch of its pods", || watches(true));
    begun.await.unwrap();
    replica.cx.forget(&other);
    let ended = wait::until_now(SOON, "its end", || watches(false));
    ended.await.unwrap();
    replica.woken();

    let path = format!("{}/web", deployments(&namespace));
    let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
    api.patch(&path, Patch::Merge, &annotated).await.unwrap();
    let woken = wait::until_now(SOON, "a wake", || {
        let woken = replica.woken();
        if woken.is_empty() {
            Err("none")
        } else {
            Ok(woken)
        }
    });
    assert_eq!(woken.await.unwrap(), names(&["mine"]));
    // What was seen of its pods before says nothing any more.
    let pods = cluster.pods(&other, &namespace, "app=web", "one");
    assert_eq!(pods.await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_api_server_is_read_anew() {
    let mut plane = Plane::own().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let api = admin(&plane.plane);
    for name in ["one", "two"] {
        let object = deployment(name, "web:v1", 1);
        api.create(&deployments(&namespace), &object).await.unwrap();
    }
    let mut replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let me = app("one");
    let get = async |name| cluster.get(&me, &DEPLOYMENT, &namespace, name).await;
    assert!(get("one").await.unwrap().is_some());
    plane.plane.kill_api_server().unwrap();
    let noticed = wait::until(SOON, "it to be noticed", async || match get("one").await {
        Ok(_) => Err("still answered"),
        Err(error) => Ok(error),
    });
    let noticed = noticed.await.unwrap();
    assert!(noticed.transient, "{noticed}");
    replica.woken();
    plane.plane.restart_api_server().await.unwrap();
    let path = format!("{}/one", deployments(&namespace));
    api.delete(&path).await.unwrap();
    wait::until(SOON, "it to be read again", async || {
        match get("one").await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err("still there".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    assert!(get("two").await.unwrap().is_some());
    assert_eq!(replica.woken(), names(&["one"]), "it was told");
}

/// A priority level that serves one request of user `sluice` at a time, and refuses the others.
const ONE_AT_A_TIME: &str = r#"
{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: zero}, spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}}}
---
{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: zero}, spec: {priorityLevelConfiguration: {name: zero}, matchingPrecedence: 50, rules: [{subjects: [{kind: User, user: {name: sluice}}],
  resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}]}]}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_asks() {
    let plane = Plane::own().await;
    let namespace = plane.plane.namespace("engine").await.unwrap();
    allow(&plane.plane, &namespace).await;
    let api = admin(&plane.plane);
    let object = deployment("web", "web:v1", 1);
    api.create(&deployments(&namespace), &object).await.unwrap();
    let replica = Replica::new(&plane.plane);
    let cluster = replica.cluster().await;
    let me = app("web");
    let known = cluster.get(&me, &DEPLOYMENT, &namespace, "web").await;
    let known = known.unwrap().unwrap();
    plane.plane.apply(ONE_AT_A_TIME).await.unwrap();
    let write = async || {
        let change = Change::Merge(json!({"spec": {"replicas": 1}}));
        cluster.patch(&DEPLOYMENT, &known, 1, change).await
    };
    // Its only seat is taken by a request that is never sent to its end.
    let held = format!("{}{}/web", plane.plane.url(), deployments(&namespace));
    let authority = std::fs::read(plane.plane.authority()).unwrap();
    let holding = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&authority).unwrap()])
        .no_proxy()
        .build()
        .unwrap();
    let body = stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let token = plane.plane.token("sluice").unwrap().to_owned();
    let holding = holding
        .patch(held)
        .bearer_auth(token)
        .header("content-type", "application/merge-patch+json")
        .body(reqwest::Body::wrap_stream(body))
        .send();
    let holding = tokio::spawn(holding);
    let refused = wait::until(SOON, "a refusal", async || match write().await {
        Err(error) if error.failure == Failure::TooMany => Ok(error),
        other => Err(format!("{other:?}")),
    });
    refused.await.unwrap();
    let before = cluster.requests();
    let refused = write().await.unwrap_err();
    assert!(refused.message.contains("is asked again in"), "{refused}");
    assert_eq!(cluster.requests(), before, "it was asked all the same");
    holding.abort();
    wait::until(SOON, "it to answer again", async || match write().await {
        Err(error) if error.failure == Failure::TooMany => Err(error.to_string()),
        Ok(_) | Err(_) => Ok(()),
    })
    .await
    .unwrap();
}
