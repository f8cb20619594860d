//! A Deployment in place, by the driver, against the real controllers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use drivers::{Workload, workload::kubernetes::Trigger};
use serde_json::json;

use local::{kubernetes::Patch, wait};
use rollout::observation::InstanceState;

use crate::{
    rig::{Plane, SOON, app, deployment},
    shop::{R1, R2, R3, Shop, spec_of},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_adopted_as_it_is() {
    let mut shop = Shop::start(3, json!({})).await;
    let (before, pods) = (shop.deployment().await, shop.pods("web:v1").await);
    let cx = &shop.replica.cx;
    assert_eq!(shop.config.replicas(cx, &shop.app).await.unwrap(), 3);
    let offer = shop
        .config
        .offered(cx, &shop.app, &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(offer.artifact.artifact, "web:v1");
    shop.adopt().await;
    let after = shop.deployment().await;
    assert_eq!(spec_of(&before), spec_of(&after));
    assert_eq!(
        after["metadata"]["annotations"]["sluice.dev/app"],
        "default/web"
    );
    assert_eq!(shop.pods("web:v1").await, pods, "a pod was replaced");
    let (_, set) = shop.sets().await.remove(0);
    assert_eq!(set["metadata"]["labels"]["sluice.dev/revision"], "1");
    let statuses = shop.observe().await;
    let instances = &statuses[&R1].instances;
    assert_eq!(instances.len(), 3);
    let address = instances[0].address.as_deref().unwrap();
    assert!(address.ends_with(":8080"), "{address}");
    let writes = shop.requests();
    let writes: Vec<_> = writes.iter().filter(|it| it.starts_with("patch")).collect();
    assert_eq!(writes, ["patch replicasets 200", "patch deployments 200"]);
    let again = shop
        .config
        .offered(&shop.replica.cx, &shop.app, &shop.known);
    assert_eq!(again.await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_ends_without_touching_a_pod() {
    let mut shop = Shop::adopted(6, json!({})).await;
    let before = shop.deployment().await;
    let candidate = shop.deploy("web:v2").await;
    assert_eq!(candidate, R2);
    for count in [1, 2, 3, 5, 6] {
        shop.reach(&[(R1, 6), (R2, count)], &[R1, R2]).await;
        assert_eq!(
            shop.wanted(["web:v1", "web:v2"]).await,
            [6, u64::from(count)]
        );
    }
    let pods = shop.pods("web:v2").await;
    let held = shop.deployment().await;
    assert_eq!(held["spec"]["paused"], true);
    // Nothing is stopped while it can get requests.
    shop.ensure(&[(R2, 6)], &[R1, R2]).await.unwrap();
    assert_eq!(shop.wanted(["web:v1"]).await, [6]);
    shop.rest(R2).await;
    assert_eq!(shop.pods("web:v2").await, pods, "a pod was replaced");
    let after = shop.deployment().await;
    assert_eq!(after["spec"]["strategy"], before["spec"]["strategy"]);
    assert_ne!(after["spec"]["paused"], true);
    let requests = shop.requests();
    let writes: Vec<_> = requests
        .iter()
        .filter(|it| it.starts_with("patch") || it.starts_with("create"))
        .collect();
    assert!(writes.len() <= 13, "{writes:#?}");
    assert!(requests.len() <= 20, "{requests:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_leaves_stable_untouched() {
    let mut shop = Shop::adopted(4, json!({})).await;
    let (before, pods) = (shop.deployment().await, shop.pods("web:v1").await);
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 4), (R2, 2)], &[R1, R2]).await;
    shop.rest(R1).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [4, 0]);
    assert_eq!(shop.pods("web:v1").await, pods);
    assert_eq!(spec_of(&shop.deployment().await), spec_of(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_were_scaled_away_are_ready_for_nothing() {
    let mut shop = Shop::adopted(4, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 4), (R2, 4)], &[R1, R2]).await;
    for left in [2, 0] {
        // Looked at before their controller has stopped one of them.
        shop.ensure(&[(R1, left), (R2, 4)], &[R2]).await.unwrap();
        let ready = shop.observe().await.get(&R1).map_or(0, |it| it.ready);
        assert!(ready <= left, "{ready} of {left}");
    }
    shop.rest(R2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_deploy_supersedes_from_stable() {
    let mut shop = Shop::adopted(4, json!({})).await;
    let pods = shop.pods("web:v1").await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 4), (R2, 2)], &[R1, R2]).await;
    assert_eq!(shop.deploy("web:v3").await, R3);
    shop.rest(R1).await;
    shop.reach(&[(R1, 4), (R3, 1)], &[R1, R3]).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2", "web:v3"]).await, [4, 0, 1]);
    // And without that it was given back in between, as when that could not be written.
    shop.reach(&[(R1, 4), (R2, 1)], &[R1]).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2", "web:v3"]).await, [4, 1, 0]);
    assert_eq!(shop.pods("web:v1").await, pods);
    shop.reach(&[(R1, 4), (R2, 4)], &[R1, R2]).await;
    shop.rest(R2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_in_the_middle_is_followed_in_proportion() {
    let mut shop = Shop::adopted(4, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 4), (R2, 1)], &[R1, R2]).await;
    shop.edit("hpa", json!({"spec": {"replicas": 8}})).await;
    shop.deployment_becomes("seen", |it| {
        it["status"]["observedGeneration"] == it["metadata"]["generation"]
    })
    .await;
    wait::until(SOON, "it to be seen", || async {
        let replicas = shop.config.replicas(&shop.replica.cx, &shop.app).await;
        match replicas.unwrap() {
            8 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
    // The plan goes on counting in four.
    shop.reach(&[(R1, 4), (R2, 1)], &[R1, R2]).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [8, 2]);
    shop.reach(&[(R1, 4), (R2, 4)], &[R1, R2]).await;
    let pods = shop.pods("web:v2").await;
    assert_eq!(pods.len(), 8);
    shop.rest(R2).await;
    assert_eq!(shop.pods("web:v2").await, pods);
    // At rest it is Kubernetes that scales, and a pass counts in what there is.
    shop.edit("hpa", json!({"spec": {"replicas": 3}})).await;
    shop.whole = 3;
    shop.reach(&[(R2, 3)], &[R2]).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [0, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_without_pods_is_left_alone_and_not_rolled_out() {
    let mut shop = Shop::start(0, json!({})).await;
    shop.adopt().await;
    let resolved = shop
        .config
        .resolve(&shop.replica.cx, &shop.app, "web:v2", None);
    let refused = resolved.await.unwrap_err();
    assert!(refused.contains("wants 0 pods"), "{refused}");
    shop.ensure(&[(R1, 0)], &[]).await.unwrap();
    assert_eq!(shop.deployment().await["spec"]["replicas"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_deleted_by_hand_is_made_again() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 3), (R2, 2)], &[R1, R2]).await;
    for image in ["web:v2", "web:v1"] {
        let sets = shop.sets().await;
        let (_, set) = sets.iter().find(|(it, _)| it == image).unwrap();
        let name = set["metadata"]["name"].as_str().unwrap();
        shop.api
            .delete(&shop.path("replicasets", Some(name)))
            .await
            .unwrap();
        wait::until(SOON, "it to be gone", || async {
            let statuses = shop.observe().await;
            let ready: u32 = statuses.values().map(|it| it.ready).sum();
            if ready < 5 { Ok(()) } else { Err(ready) }
        })
        .await
        .unwrap();
        shop.reach(&[(R1, 3), (R2, 2)], &[R1, R2]).await;
    }
    shop.reach(&[(R1, 3), (R2, 3)], &[R1, R2]).await;
    shop.rest(R2).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [0, 3]);
    let images: Vec<String> = shop.sets().await.into_iter().map(|(it, _)| it).collect();
    assert_eq!(images.len(), 2, "{images:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_sets_back_is_set_again_three_times_a_minute() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 3), (R2, 1)], &[R1, R2]).await;
    let unpause = async || {
        let before = shop.deployment().await["metadata"]["generation"].as_i64();
        let annotations = json!({"synced": before.unwrap().to_string()});
        let change = json!({"metadata": {"annotations": annotations}, "spec": {"paused": false}});
        shop.edit("argocd-controller", change).await;
        before
    };
    for _ in 0..3 {
        let before = unpause().await;
        shop.deployment_becomes_by("paused again", &[(R1, 3), (R2, 1)], |it| {
            it["spec"]["paused"] == true && it["metadata"]["generation"].as_i64() > before
        })
        .await;
        shop.reach(&[(R1, 3), (R2, 1)], &[R1, R2]).await;
    }
    unpause().await;
    let refused = wait::until(SOON, "it to give up", || async {
        match shop.ensure(&[(R1, 3), (R2, 1)], &[R1, R2]).await {
            Ok(()) => Err("not yet"),
            Err(error) => Ok(error),
        }
    });
    let refused = refused.await.unwrap();
    assert!(
        refused.contains("hold spec.paused of Deployment") && refused.contains("argocd-controller"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_epoch_writes_nothing() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    shop.epoch = 7;
    shop.reach(&[(R1, 3), (R2, 1)], &[R1, R2]).await;
    shop.epoch = 6;
    let refused = shop
        .ensure(&[(R1, 3), (R2, 3)], &[R1, R2])
        .await
        .unwrap_err();
    assert!(
        refused.contains("another replica has taken over"),
        "{refused}"
    );
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [3, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    let role = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/sluice",
        shop.namespace
    );
    let rules = json!({"rules": [
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    ]});
    shop.api.patch(&role, Patch::Merge, &rules).await.unwrap();
    let refused = wait::until(SOON, "a refusal", || async {
        match shop.ensure(&[(R1, 3), (R2, 1)], &[R1]).await {
            Ok(()) => Err("none"),
            Err(error) => Ok(error),
        }
    });
    let refused = refused.await.unwrap();
    assert!(
        refused.contains("cannot patch resource \"deployments\""),
        "{refused}"
    );
    assert!(refused.contains("give Sluice that right"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn released_in_the_middle_kubernetes_ends_it_by_itself() {
    let mut shop = Shop::start(4, json!({})).await;
    let before = shop.deployment().await;
    shop.adopt().await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 4), (R2, 2)], &[R1, R2]).await;
    let cx = &shop.replica.cx;
    let told = shop.config.release(cx, &shop.app, true).await.unwrap();
    assert!(
        told.iter()
            .any(|it| it.contains("gets its own strategy back")),
        "{told:?}"
    );
    let held = shop.deployment().await;
    assert_eq!(held["spec"]["paused"], true, "a dry run changes nothing");
    let done = shop.config.release(cx, &shop.app, false).await.unwrap();
    assert_eq!(done, told);
    shop.deployment_becomes("rolled out", |it| {
        it["status"]["observedGeneration"] == it["metadata"]["generation"]
            && it["status"]["updatedReplicas"] == 4
            && it["status"]["replicas"] == 4
    })
    .await;
    let after = shop.deployment().await;
    let mut expected = spec_of(&before);
    expected["template"]["spec"]["containers"][0]["image"] = json!("web:v2");
    assert_eq!(spec_of(&after), expected);
    for object in [after]
        .into_iter()
        .chain(shop.sets().await.into_iter().map(|it| it.1))
    {
        let left = object["metadata"].clone();
        let left = json!([left["labels"], left["annotations"]]).to_string();
        assert!(!left.contains("sluice"), "{left}");
    }
    let again = shop
        .config
        .release(&shop.replica.cx, &shop.app, false)
        .await;
    assert_eq!(again.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_to_an_old_revision_keeps_the_live_one_until_the_end() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 3), (R2, 3)], &[R1, R2]).await;
    shop.rest(R2).await;
    let pods = shop.pods("web:v2").await;
    // Its ReplicaSet is there and remembers that the controller has scaled it.
    shop.reach(&[(R2, 3), (R1, 3)], &[R1, R2]).await;
    assert_eq!(
        shop.pods("web:v2").await,
        pods,
        "the live revision lost a pod"
    );
    shop.rest(R1).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [3, 0]);
    assert_eq!(shop.sets().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_living_revisions_of_one_template_are_two_replica_sets() {
    let mut shop = Shop::adopted(2, json!({})).await;
    let pods = shop.pods("web:v1").await;
    assert_eq!(shop.deploy("web:v1").await, R2);
    shop.reach(&[(R1, 2), (R2, 1)], &[R1, R2]).await;
    assert!(shop.pods("web:v1").await.is_superset(&pods));
    shop.reach(&[(R1, 2), (R2, 2)], &[R1, R2]).await;
    shop.rest(R2).await;
    assert!(shop.pods("web:v1").await.is_disjoint(&pods));
    // What is deployed next is the template as the user wrote it.
    shop.deploy("web:v3").await;
    let content = shop.known[2].content.clone().unwrap().to_string();
    assert!(!content.contains("sluice"), "{content}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreate_stops_everything_and_starts_the_new_one() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[], &[]).await;
    assert_eq!(shop.pods("web:v1").await.len(), 0);
    let replicas = shop.config.replicas(&shop.replica.cx, &shop.app).await;
    assert_eq!(replicas.unwrap(), 3, "what the user wants is kept");
    shop.rest(R2).await;
    assert_eq!(shop.wanted(["web:v1", "web:v2"]).await, [0, 3]);
    assert_eq!(shop.deployment().await["spec"]["replicas"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_revision_is_never_stopped() {
    let shop = Shop::adopted(3, json!({})).await;
    let refused = shop.ensure(&[], &[]).await.unwrap_err();
    assert!(refused.contains("no revision to go back to"), "{refused}");
    assert_eq!(shop.wanted(["web:v1"]).await, [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_changed_past_sluice_is_told_and_not_fought() {
    let shop = Shop::adopted(2, json!({})).await;
    shop.set_image("kubectl-set", "web:v9").await;
    shop.deployment_becomes("rolled out", |it| {
        it["status"]["observedGeneration"] == it["metadata"]["generation"]
            && it["status"]["updatedReplicas"] == 2
            && it["status"]["replicas"] == 2
    })
    .await;
    let mut tries = 0..;
    let told = wait::until(SOON, "it to be told", || {
        // The server notes who did something by the second only.
        let key = format!("try-{}", tries.next().unwrap_or(0));
        let shop = &shop;
        async move {
            let change = json!({"metadata": {"annotations": {key: ""}}});
            shop.edit("kubectl-set", change).await;
            shop.ensure(&[(R1, 2)], &[R1]).await?;
            let statuses = shop.observe().await;
            let told = statuses.values().flat_map(|it| &it.problems);
            let told: Vec<&str> = told.map(|it| it.detail.as_str()).collect();
            let expected = "changed past Sluice by kubectl-set";
            match told.iter().any(|it| it.contains(expected)) {
                true => Ok(()),
                false => Err(format!("{statuses:?}")),
            }
        }
    });
    told.await.unwrap();
    assert_eq!(shop.wanted(["web:v1", "web:v9"]).await, [0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_trigger_template_an_edit_is_an_offer_and_changes_nothing() {
    let mut shop = Shop::start(3, json!({})).await;
    let before = shop.deployment().await;
    shop.config.trigger = Trigger::Template;
    shop.adopt().await;
    assert_eq!(shop.deployment().await["spec"]["paused"], true);
    let pods = shop.pods("web:v1").await;
    let offered = async |shop: &Shop| {
        let offered = shop
            .config
            .offered(&shop.replica.cx, &shop.app, &shop.known);
        offered.await.unwrap()
    };
    assert_eq!(offered(&shop).await, None);

    shop.set_image("kubectl-set", "web:v2").await;
    let offer = wait::until(SOON, "an offer", || async {
        offered(&shop).await.ok_or("none")
    });
    let offer = offer.await.unwrap();
    assert_eq!(offer.artifact.artifact, "web:v2");
    shop.ensure(&[(R1, 3)], &[R1]).await.unwrap();
    let held = shop.deployment().await;
    assert_eq!(
        held["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:v2"
    );
    shop.know(offer.artifact.artifact, offer.artifact.content);
    assert_eq!(offered(&shop).await, None, "it is known");
    shop.reach(&[(R1, 3), (R2, 1)], &[R1, R2]).await;

    // A second edit in the middle is offered too, and not overwritten.
    shop.set_image("kubectl-set", "web:v3").await;
    let offer = wait::until(SOON, "an offer", || async {
        offered(&shop).await.ok_or("none")
    });
    let offer = offer.await.unwrap();
    shop.reach(&[(R1, 3), (R2, 2)], &[R1, R2]).await;
    let (again, content) = (offer.artifact.artifact, offer.artifact.content);
    assert_eq!(shop.know(again, content), R3);
    shop.reach(&[(R1, 3)], &[R1]).await;
    shop.reach(&[(R1, 3), (R3, 3)], &[R1, R3]).await;
    assert_eq!(shop.pods("web:v1").await, pods);
    shop.reach(&[(R3, 3)], &[R3]).await;
    shop.deployment_becomes_by("at rest", &[(R3, 3)], |it| {
        it["spec"]["strategy"] == before["spec"]["strategy"]
    })
    .await;
    let after = shop.deployment().await;
    assert_eq!(after["spec"]["paused"], true);
    assert_eq!(
        after["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:v3"
    );
    assert_eq!(offered(&shop).await, None);
    // Nobody else may let it run past the plan.
    shop.edit("kubectl-rollout", json!({"spec": {"paused": false}}))
        .await;
    shop.deployment_becomes_by("paused again", &[(R3, 3)], |it| {
        it["spec"]["paused"] == true
    })
    .await;
    let done = shop
        .config
        .release(&shop.replica.cx, &shop.app, false)
        .await;
    assert!(
        done.unwrap()
            .iter()
            .any(|it| it.contains("not paused any more"))
    );
    shop.deployment_becomes("unpaused", |it| it["spec"]["paused"].is_null())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_template_written_back_in_the_middle_is_replaced_again() {
    let mut shop = Shop::adopted(3, json!({})).await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 3), (R2, 2)], &[R1, R2]).await;
    shop.set_image("flux", "web:v1").await;
    shop.deployment_becomes_by("the candidate's again", &[(R1, 3), (R2, 2)], |it| {
        it["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v2"
    })
    .await;
    shop.reach(&[(R1, 3), (R2, 2)], &[R1, R2]).await;
    shop.reach(&[(R1, 3), (R2, 3)], &[R1, R2]).await;
    shop.rest(R2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_is_restarted_in_the_middle() {
    let plane = Arc::new(Plane::own().await);
    let mut shop = Shop::on(plane, 3, json!({})).await;
    shop.adopt().await;
    shop.deploy("web:v2").await;
    shop.reach(&[(R1, 3), (R2, 1)], &[R1, R2]).await;
    let plane = shop.plane.clone();
    drop(std::mem::replace(&mut shop.plane, Plane::shared().await));
    let mut plane = Arc::into_inner(plane).unwrap();
    plane.plane.kill_api_server().unwrap();
    let unknown = wait::until(SOON, "it to be unknown", || async {
        shop.look().await.err().ok_or("still known")
    });
    let unknown = unknown.await.unwrap();
    assert!(unknown.transient, "{unknown}");
    plane.plane.restart_api_server().await.unwrap();
    shop.reach(&[(R1, 3), (R2, 3)], &[R1, R2]).await;
    let pods = shop.pods("web:v2").await;
    shop.rest(R2).await;
    assert_eq!(shop.pods("web:v2").await, pods);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_of_another_app_is_refused() {
    let mut shop = Shop::adopted(1, json!({})).await;
    shop.app = app("other");
    let refused = shop.ensure(&[(R1, 1)], &[R1]).await.unwrap_err();
    assert!(refused.contains("belongs to app default/web"), "{refused}");
    let released = shop
        .config
        .release(&shop.replica.cx, &shop.app, false)
        .await;
    assert_eq!(released.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_at_rest_costs_no_request() {
    let shop = Shop::adopted(2, json!({})).await;
    let cluster = shop.replica.cluster().await;
    // The controller has copied what the adoption wrote.
    let copied = wait::until(SOON, "the last write to be seen", || async {
        let (_, set) = shop.sets().await.remove(0);
        let version = set["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .to_owned();
        shop.reach(&[(R1, 2)], &[R1]).await;
        let (_, set) = shop.sets().await.remove(0);
        match set["metadata"]["resourceVersion"] == *version
            && !set["metadata"]["annotations"]["sluice.dev/app"].is_null()
        {
            true => Ok(()),
            false => Err("it changes still"),
        }
    });
    copied.await.unwrap();
    shop.observe().await;
    shop.replica.cx.at_rest(&shop.app);
    let before = cluster.requests();
    for _ in 0..3 {
        let statuses = shop.observe().await;
        assert_eq!(statuses[&R1].instances.len(), 2);
        shop.ensure(&[(R1, 2)], &[R1]).await.unwrap();
        shop.replica.cx.at_rest(&shop.app);
    }
    assert_eq!(cluster.requests(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_made_anew_with_another_template_is_told_and_left_alone() {
    let shop = Shop::adopted(2, json!({})).await;
    let path = shop.path("deployments", Some("web"));
    shop.api.delete(&path).await.unwrap();
    let gone = wait::until(SOON, "it to be gone", || async {
        shop.look().await.err().ok_or("still there")
    });
    let gone = gone.await.unwrap().to_string();
    assert!(gone.contains("there is no such Deployment"), "{gone}");
    let object = deployment("web", "web:v9", 2);
    let all = shop.path("deployments", None);
    shop.api.create(&all, &object).await.unwrap();
    shop.told_by(&[(R1, 2)], "changed past Sluice").await;
    let after = shop.deployment().await;
    assert_eq!(
        after["spec"]["template"]["spec"]["containers"][0]["image"],
        "web:v9"
    );
    assert_ne!(after["spec"]["paused"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_counts_once_it_was_ready_for_long_enough() {
    let mut shop = Shop::adopted(1, json!({"minReadySeconds": 3})).await;
    shop.deploy("web:v2").await;
    let early = AtomicBool::new(false);
    wait::until(SOON, "it to count", || async {
        shop.ensure(&[(R1, 1), (R2, 1)], &[R1, R2]).await?;
        let statuses = shop.look().await.map_err(|error| error.to_string())?;
        let status = statuses.get(&R2).cloned().unwrap_or_default();
        let ready = status
            .instances
            .iter()
            .any(|it| it.state == InstanceState::Ready);
        early.fetch_or(status.ready == 0 && ready, Ordering::Relaxed);
        match status.ready {
            1 => Ok(()),
            _ => Err(format!("{statuses:?}")),
        }
    })
    .await
    .unwrap();
    assert!(early.into_inner(), "it counted at once");
}
