//! The way of a rollout in place: the user's Deployment is paused with strategy `Recreate`, its
//! new ReplicaSet is made by us, and both ReplicaSets are scaled by us. Does the real Deployment
//! controller leave them alone, and take over at the end without touching a pod?
//!
//! `edges` asks what happens when somebody does something else meanwhile, or the Deployment is
//! unusual.

use std::time::Instant;

use serde_json::{Value, json};

mod edges;
mod web;

pub(crate) use web::SOON;
use web::{DESIRED, V1, V2, Web, give_back, set_image};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_in_place_ends_without_touching_a_pod() {
    let web = Web::start(&json!({})).await;
    let stable = web.set(V1).await;
    let before = web.controller_writes();

    web.begin(V2).await;
    web.settled().await;
    assert_eq!(
        web.sets().await.len(),
        1,
        "the controller made a ReplicaSet"
    );
    assert_eq!(web.controller_writes(), before);

    let candidate = web.make_candidate("candidate").await;
    web.settled().await;
    assert_eq!(candidate.revision(), Some("2"));
    assert_eq!(candidate.annotation(DESIRED), None);
    let adopted = [before.clone(), vec![format!("update {}", candidate.name)]].concat();
    assert_eq!(web.controller_writes(), adopted);

    for (v1, v2) in [(6, 1), (1, 4), (6, 6)] {
        web.scale_to([(V2, v2), (V1, v1)]).await;
        assert_eq!(web.wanted([V1, V2]).await, [v1, v2]);
    }
    web.kubectl(&["scale", "deployment/web", "--replicas=8"], "")
        .await;
    web.settled().await;
    assert_eq!(web.wanted([V1, V2]).await, [6, 6]);
    web.scale_to([(V2, 8), (V1, 8)]).await;
    web.scale_to([(V1, 0)]).await;
    assert_eq!(
        web.controller_writes(),
        adopted,
        "the controller interfered"
    );

    let pods = web.pods(V2).await;
    assert_eq!(pods.len(), 8);
    web.give_back().await;
    assert_eq!(web.pods(V2).await, pods, "a pod was replaced");
    ended_as_if_never_paused(&web, &stable.name, &candidate.name).await;
}

async fn ended_as_if_never_paused(web: &Web, stable: &str, candidate: &str) {
    let status = ["rollout", "status", "deployment/web", "--timeout=30s"];
    let said = web.kubectl(&status, "").await;
    assert!(said.contains("successfully rolled out"), "{said}");
    let history = web
        .kubectl(&["rollout", "history", "deployment/web"], "")
        .await;
    let revisions: Vec<&str> = history
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u32>().is_ok())
        .collect();
    assert_eq!(revisions, ["1", "2"]);
    let sets = web.sets().await;
    assert_eq!(sets.len(), 2);
    for (name, wanted) in [(stable, 0), (candidate, 8)] {
        let set = sets.iter().find(|set| set.name == name).unwrap();
        assert_eq!(set.wanted(), wanted, "{name}");
    }
    let progressing = web.condition("Progressing").await.unwrap();
    assert_eq!(progressing.1, "NewReplicaSetAvailable");

    // And the next rollout is Kubernetes' own again.
    web.apply("web:v3", &json!({"replicas": 8})).await;
    web.becomes([("web:v3", 8), (V2, 0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_leaves_the_stable_pods_untouched() {
    let web = Web::start(&json!({})).await;
    let pods = web.pods(V1).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 3)]).await;
    web.scale_to([(V2, 0)]).await;
    let back = |deployment: &mut Value| {
        set_image(deployment, V1);
        give_back(deployment);
    };
    web.edit(back).await;
    web.settled().await;
    assert_eq!(web.wanted([V1, V2]).await, [6, 0]);
    assert_eq!(web.pods(V1).await, pods);
    // As after `kubectl rollout undo`: the revision that is back has the newest number.
    assert_eq!(web.set(V1).await.revision(), Some("3"));
    assert_eq!(web.set(V2).await.revision(), Some("2"));
    let status = ["rollout", "status", "deployment/web", "--timeout=30s"];
    web.kubectl(&status, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpaused_with_its_strategy_kubernetes_ends_the_rollout_from_where_it_is() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 2), (V1, 4)]).await;
    let pods = web.pods(V2).await;
    web.edit(give_back).await;
    web.becomes([(V1, 0), (V2, 6)]).await;
    web.settled().await;
    assert_eq!(web.sets().await.len(), 2);
    assert!(web.pods(V2).await.is_superset(&pods), "a pod was replaced");
    let status = ["rollout", "status", "deployment/web", "--timeout=30s"];
    web.kubectl(&status, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_unpaused_kubernetes_stops_every_stable_pod_first() {
    // Its pods take so long to end that what happens meanwhile can be seen.
    let template = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"sluice.test/drain": "2s"}},
        "spec": {"containers": [{"name": "web", "image": V1}]},
    });
    let web = Web::start(&json!({"template": template, "progressDeadlineSeconds": 8})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 1)]).await;
    web.edit(|deployment| deployment["spec"]["paused"] = json!(false))
        .await;
    // Six of seven ready pods are being stopped, and none is started for them.
    web.becomes([(V1, 0), (V2, 1)]).await;
    web.pods_become(V1, 0).await;
    assert_eq!(web.pods(V2).await.len(), 1);
    // It ends well, later: before 1.35 not when the last old pod is gone, which the controller
    // overlooks as long as there are others, but when the progress deadline has passed.
    let began = Instant::now();
    web.becomes([(V1, 0), (V2, 6)]).await;
    println!("one of six pods for {:?}", began.elapsed());
}
