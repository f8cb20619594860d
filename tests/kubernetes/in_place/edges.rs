//! Deployments that are unusual, and people and programs that do something else meanwhile.

use std::time::Duration;

use local::kubernetes::ADMIN;
use local::wait;
use serde_json::{Value, json};

use super::web::{DESIRED, KEPT, SOON, V1, V2, Web, give_back, set_image};

/// Another revision than the two of the rollout.
const V3: &str = "web:v3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_recreates_is_given_back_without_a_restart() {
    let web = Web::start(&json!({"strategy": {"type": "Recreate"}})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 6)]).await;
    web.scale_to([(V1, 0)]).await;
    let pods = web.pods(V2).await;
    web.give_back().await;
    assert_eq!(web.pods(V2).await, pods);
    assert_eq!(
        web.deployment().await["spec"]["strategy"]["type"],
        "Recreate"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_history_the_old_revision_is_deleted_as_soon_as_it_has_no_pods() {
    let web = Web::start(&json!({"revisionHistoryLimit": 0})).await;
    web.begin_with_candidate(V2).await;
    // A candidate without pods is no history: it equals the template.
    web.settled().await;
    assert_eq!(web.sets().await.len(), 2);
    web.scale_to([(V2, 6)]).await;
    web.scale(V1, 0).await;
    only_set_is(&web, V2).await;
    web.give_back().await;
    assert_eq!(web.pods(V2).await.len(), 6);

    // An abort deletes the candidate as soon as the template is back.
    web.begin(V1).await;
    web.make_candidate("again").await;
    web.scale_to([(V1, 1)]).await;
    web.scale_to([(V1, 0)]).await;
    assert_eq!(web.sets().await.len(), 2);
    web.edit(|deployment| set_image(deployment, V2)).await;
    only_set_is(&web, V2).await;
}

async fn only_set_is(web: &Web, image: &str) {
    wait::until(SOON, "the other ReplicaSet to be deleted", || async {
        let count = web.sets().await.len();
        if count == 1 { Ok(()) } else { Err(count) }
    })
    .await
    .unwrap();
    web.set(image).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_candidate_alone_follows_the_deployments_min_ready_seconds() {
    let web = Web::start(&json!({"minReadySeconds": 1})).await;
    web.begin_with_candidate(V2).await;
    web.settled().await;
    // We made it without.
    let seconds = |set: &super::web::Set| set.object["spec"]["minReadySeconds"].clone();
    assert_eq!(seconds(&web.set(V2).await), 1);
    web.edit(|deployment| deployment["spec"]["minReadySeconds"] = json!(2))
        .await;
    web.settled().await;
    assert_eq!(seconds(&web.set(V2).await), 2);
    assert_eq!(seconds(&web.set(V1).await), 1);

    web.scale(V2, 1).await;
    wait::until(SOON, "a pod that is ready and not available", || async {
        let set = web.set(V2).await;
        let counts = [
            set.counted("readyReplicas"),
            set.counted("availableReplicas"),
        ];
        if counts == [1, 0] {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await
    .unwrap();
    web.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_paused_no_progress_deadline_passes() {
    let web = Web::start(&json!({"progressDeadlineSeconds": 1})).await;
    web.begin_with_candidate("web:never-1").await;
    let paused = Some(("Unknown".to_owned(), "DeploymentPaused".to_owned()));
    assert_eq!(web.condition("Progressing").await, paused);
    web.scale("web:never-1", 1).await;
    web.settled().await;
    let began = tokio::time::Instant::now();
    wait::until_now(SOON, "the deadline to be over", || {
        let over = began.elapsed() > Duration::from_secs(3);
        over.then_some(()).ok_or("not yet")
    })
    .await
    .unwrap();
    web.settled().await;
    assert_eq!(web.condition("Progressing").await, paused);
    assert_eq!(web.wanted([V1, "web:never-1"]).await, [6, 1]);

    // Given back in the middle, it is stuck as a rollout of Kubernetes' own would be.
    web.edit(give_back).await;
    web.progressing_is("ProgressDeadlineExceeded").await;

    // Once it has passed, a pause does not hide it, nor does what the candidate does.
    web.begin(V2).await;
    web.make_candidate("good").await;
    web.scale_to([(V2, 6), ("web:never-1", 0)]).await;
    let condition = web.condition("Progressing").await.unwrap();
    assert_eq!(condition.1, "ProgressDeadlineExceeded");
    web.scale_to([(V1, 0)]).await;
    web.give_back().await;
    web.progressing_is("NewReplicaSetAvailable").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_template_changes_nothing_while_it_is_paused() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 2)]).await;
    let writes = web.controller_writes();
    web.kubectl(&["set", "image", "deployment/web", "web=web:v3"], "")
        .await;
    web.settled().await;
    assert_eq!(web.controller_writes(), writes);
    assert_eq!(web.wanted([V1, V2]).await, [6, 2]);
    // Nothing counts as updated: whoever waits for the rollout goes on waiting.
    assert_eq!(
        web.deployment().await["status"]["updatedReplicas"],
        Value::Null
    );
    // The one way on: the candidate is an old revision now. Kubernetes takes the third.
    web.edit(give_back).await;
    web.becomes([(V1, 0), (V2, 0), (V3, 6)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_one_with_pods_is_held_at_the_deployments_scale() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    // Before the candidate has pods: an HPA or a person scales the stable one.
    web.kubectl(&["scale", "deployment/web", "--replicas=4"], "")
        .await;
    web.becomes([(V1, 4), (V2, 0)]).await;
    // Nobody else can.
    web.scale(V1, 3).await;
    web.becomes([(V1, 4), (V2, 0)]).await;
    web.settled().await;
    // With the candidate first, stable may be smaller.
    web.scale_to([(V2, 1), (V1, 3)]).await;
    assert_eq!(web.wanted([V1, V2]).await, [3, 1]);
    // The last pod of the candidate: stable goes back to full size by itself.
    web.scale(V2, 0).await;
    web.becomes([(V1, 4), (V2, 0)]).await;
    web.settled().await;
    // And the same for the candidate when stable has none.
    web.scale_to([(V2, 1), (V1, 0)]).await;
    web.becomes([(V1, 0), (V2, 4)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_both_have_pods_an_autoscaler_reaches_neither() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 6)]).await;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 8,
            "maxReplicas": 10,
        },
    });
    web.kubectl(&["apply", "-f", "-"], &autoscaler.to_string())
        .await;
    wait::until(SOON, "the autoscaler to scale the Deployment", || async {
        let replicas = web.deployment().await["spec"]["replicas"].clone();
        if replicas == 8 { Ok(()) } else { Err(replicas) }
    })
    .await
    .unwrap();
    web.settled().await;
    assert_eq!(web.wanted([V1, V2]).await, [6, 6]);
    assert_eq!(web.deployment().await["status"]["replicas"], 12);
    // We follow it, and the end is as quiet as without it.
    web.scale_to([(V2, 8), (V1, 0)]).await;
    let pods = web.pods(V2).await;
    web.give_back().await;
    assert_eq!(web.pods(V2).await, pods);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_without_replicas_lets_no_candidate_live() {
    let web = Web::start(&json!({"replicas": 0})).await;
    web.begin_with_candidate(V2).await;
    web.scale(V2, 1).await;
    web.becomes([(V1, 0), (V2, 0)]).await;
    web.settled().await;
    assert_eq!(web.pods(V2).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_template_written_back_stops_the_candidate_where_stable_is_full() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 2), (V1, 5)]).await;
    web.edit(|deployment| set_image(deployment, V1)).await;
    // Five of six: nothing happens.
    web.settled().await;
    assert_eq!(web.wanted([V1, V2]).await, [5, 2]);
    // Six of six: stable is what the Deployment asks for, and all of it is there.
    web.scale(V1, 6).await;
    web.becomes([(V1, 6), (V2, 0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_manifest_applied_in_the_middle_resizes_both() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 1), (V1, 5)]).await;
    // Git holds the new image too; `paused` is not in it, the strategy is.
    web.apply(V2, &json!({})).await;
    let deployment = web.deployment().await;
    assert_eq!(deployment["spec"]["paused"], true);
    assert_eq!(deployment["spec"]["strategy"]["type"], "RollingUpdate");
    // Six and the two of `maxSurge`, shared out in proportion.
    web.becomes([(V1, 7), (V2, 1)]).await;
    // And both bear the mark, with which the candidate takes over when it is full.
    for image in [V1, V2] {
        assert_eq!(web.set(image).await.annotation(DESIRED), Some("6"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_without_a_strategy_applied_in_the_middle_changes_nothing() {
    let web = Web::start(&json!({"strategy": null})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 1), (V1, 5)]).await;
    let writes = web.controller_writes();
    web.apply(V2, &json!({"strategy": null})).await;
    web.settled().await;
    assert_eq!(
        web.deployment().await["spec"]["strategy"]["type"],
        "Recreate"
    );
    assert_eq!(web.controller_writes(), writes);
    assert_eq!(web.wanted([V1, V2]).await, [5, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_was_there_before_takes_over_as_soon_as_it_is_full() {
    let web = Web::start(&json!({})).await;
    web.apply(V2, &json!({})).await;
    web.becomes([(V1, 0), (V2, 6)]).await;
    web.settled().await;
    // Back to the first: its ReplicaSet is still there, with the controller's memory.
    web.begin(V1).await;
    web.scale_to([(V1, 5)]).await;
    assert_eq!(web.wanted([V1, V2]).await, [5, 6]);
    web.scale(V1, 6).await;
    web.becomes([(V1, 6), (V2, 0)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_controllers_memory_a_revision_of_before_is_like_a_new_one() {
    let web = Web::start(&json!({})).await;
    web.apply(V2, &json!({})).await;
    web.becomes([(V1, 0), (V2, 6)]).await;
    web.settled().await;
    web.begin(V1).await;
    web.forget(V1).await;
    web.scale_to([(V1, 6)]).await;
    assert_eq!(web.wanted([V1, V2]).await, [6, 6]);
    web.scale_to([(V2, 0)]).await;
    let pods = web.pods(V1).await;
    web.give_back().await;
    assert_eq!(web.pods(V1).await, pods);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_reach_the_candidate_and_come_back_with_an_undo() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 6), (V1, 0)]).await;
    web.give_back().await;
    assert_eq!(
        web.deployment().await["metadata"]["annotations"][KEPT],
        Value::Null
    );
    // The controller copies annotations to the ReplicaSet, and never takes one away.
    assert!(web.set(V2).await.annotation(KEPT).is_some());
    web.apply(V3, &json!({})).await;
    web.becomes([(V1, 0), (V2, 0), (V3, 6)]).await;
    web.settled().await;
    web.kubectl(&["rollout", "undo", "deployment/web"], "")
        .await;
    web.becomes([(V2, 6), (V3, 0)]).await;
    let annotations = web.deployment().await["metadata"]["annotations"].clone();
    assert!(annotations[KEPT].is_string(), "{annotations}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_differs_in_one_field_is_not_the_deployments() {
    let web = Web::start(&json!({})).await;
    web.begin(V2).await;
    web.edit(|deployment| {
        // What a client of an older version would not know and drop.
        deployment["spec"]["template"]["spec"]["containers"][0]["restartPolicyRules"] = Value::Null;
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(31);
    })
    .await;
    web.make_candidate("candidate").await;
    web.edit(|deployment| {
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(32);
    })
    .await;
    web.scale_to([(V2, 3)]).await;
    assert_eq!(
        web.deployment().await["status"]["updatedReplicas"],
        Value::Null
    );
    web.edit(give_back).await;
    wait::until(SOON, "a third ReplicaSet", || async {
        let count = web.sets().await.len();
        if count == 3 { Ok(()) } else { Err(count) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_cannot_be_made_show_on_the_replica_set_only() {
    let web = Web::start(&json!({})).await;
    web.begin(V2).await;
    web.edit(|deployment| {
        deployment["spec"]["template"]["spec"]["serviceAccountName"] = json!("nobody");
    })
    .await;
    web.make_candidate("candidate").await;
    web.scale(V2, 1).await;
    wait::until(SOON, "the reason on the ReplicaSet", || async {
        let set = web.set(V2).await;
        let condition = set.object["status"]["conditions"][0].clone();
        if condition["type"] == "ReplicaFailure" && condition["reason"] == "FailedCreate" {
            Ok(())
        } else {
            Err(condition)
        }
    })
    .await
    .unwrap();
    web.scale(V2, 0).await;
    web.settled().await;
    assert_eq!(web.condition("ReplicaFailure").await, None);
    web.edit(give_back).await;
    wait::until(SOON, "the reason on the Deployment", || async {
        let failure = web.condition("ReplicaFailure").await;
        failure.ok_or("none")
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disruption_budget_counts_the_pods_of_both_against_the_deployments_scale() {
    let web = Web::start(&json!({})).await;
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    web.kubectl(&["apply", "-f", "-"], &budget.to_string())
        .await;
    allowed(&web, 1).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 6)]).await;
    // Twelve healthy, five needed: all six pods with traffic may be evicted.
    allowed(&web, 7).await;
}

/// Waits until so many pods may be evicted.
async fn allowed(web: &Web, count: u32) {
    let path = format!(
        "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/web",
        web.namespace
    );
    wait::until(SOON, "the budget", || async {
        let budget = web
            .api
            .get(&path)
            .await
            .map_err(|error| error.to_string())?;
        let allowed = &budget["status"]["disruptionsAllowed"];
        if *allowed == count {
            Ok(())
        } else {
            Err(allowed.to_string())
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_refuses_a_restart_and_an_undo_while_it_is_paused() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    let said = web.refused(&["rollout", "restart", "deployment/web"]).await;
    assert!(said.contains("can't restart paused deployment"), "{said}");
    let said = web.refused(&["rollout", "undo", "deployment/web"]).await;
    assert!(
        said.contains("cannot rollback a paused deployment"),
        "{said}"
    );
    // Whoever waits for the rollout waits on: full is not enough while old pods are there.
    web.scale_to([(V2, 6)]).await;
    let status = ["rollout", "status", "deployment/web", "--timeout=1s"];
    let said = web.refused(&status).await;
    assert!(said.contains("timed out waiting"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_deleted_in_the_middle_takes_both_along() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 2)]).await;
    web.kubectl(&["delete", "deployment", "web", "--wait=false"], "")
        .await;
    web.pods_become(V1, 0).await;
    web.pods_become(V2, 0).await;
    assert!(web.sets().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_the_controller_has_scaled_does_not_let_stable_come_back() {
    let web = Web::start(&json!({})).await;
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 6), (V1, 0)]).await;
    // An autoscaler's or a person's change while only the candidate has pods.
    web.kubectl(&["scale", "deployment/web", "--replicas=5"], "")
        .await;
    web.becomes([(V1, 0), (V2, 5)]).await;
    web.settled().await;
    assert_eq!(web.set(V2).await.annotation(DESIRED), Some("5"));
    // An abort now: stable is scaled down again before it is up.
    web.scale(V1, 2).await;
    web.becomes([(V1, 0), (V2, 5)]).await;
    web.settled().await;
    web.forget(V2).await;
    web.scale_to([(V1, 2)]).await;
    assert_eq!(web.wanted([V1, V2]).await, [2, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_refuses_the_writes_that_would_hurt() {
    let web = Web::start(&json!({})).await;
    let policy = include_str!("policy.yaml").replace("NAMESPACE", &web.namespace);
    web.cluster.apply(&policy).await.unwrap();
    web.begin_with_candidate(V2).await;
    web.scale_to([(V2, 1)]).await;
    let unpause = json!({"spec": {"paused": false}}).to_string();
    let patch = [
        "patch",
        "deployment/web",
        "--dry-run=server",
        "-p",
        &unpause,
    ];
    let arguments = [&patch[..], &["-n", &web.namespace]].concat();
    wait::until(SOON, "the policy to be known", || async {
        let tried = web.cluster.kubectl_as(ADMIN, &arguments, "").await.unwrap();
        if tried.code == Some(0) {
            Err("not refused")
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let said = web.refused(&["rollout", "resume", "deployment/web"]).await;
    assert!(
        said.contains("a rollout of Sluice's is under way"),
        "{said}"
    );
    let manifest = Web::manifest(V2, &json!({})).to_string();
    let said = web.refused_with(&["apply", "-f", "-"], &manifest).await;
    assert!(
        said.contains("a rollout of Sluice's is under way"),
        "{said}"
    );
    // What does no harm goes through, and so does the end.
    web.kubectl(&["scale", "deployment/web", "--replicas=5"], "")
        .await;
    web.scale_to([(V2, 5), (V1, 0)]).await;
    let pods = web.pods(V2).await;
    web.give_back().await;
    assert_eq!(web.pods(V2).await, pods);
}
