//! Rollouts as they are written, told by a Deployment, its ReplicaSets and a controller that does
//! what `docs/kubernetes-in-place.md` says of the real one.

mod model;
mod properties;
mod words;

use rollout::Revision;
use serde_json::json;

use self::model::Model;
use super::Trigger;

const R1: Revision = Revision(1);
const R2: Revision = Revision(2);

/// The writes of each target, a line each.
fn story(model: &mut Model, targets: &[&[(Revision, u32)]]) -> String {
    let mut lines = Vec::new();
    for target in targets {
        let scales: Vec<String> = target.iter().map(|(it, n)| format!("{it} {n}")).collect();
        lines.push(format!("-> {}", scales.join(", ")));
        lines.extend(model.hold(target).into_iter().map(|it| format!("   {it}")));
    }
    lines.push(model.told());
    lines.join("\n")
}

#[test]
fn a_canary() {
    let mut model = Model::new(6, "web:1");
    model.know("web:1");
    model.know("web:2");
    let targets: [&[_]; 6] = [
        &[(R1, 6)],
        &[(R1, 6), (R2, 1)],
        &[(R1, 6), (R2, 3)],
        &[(R1, 6), (R2, 6)],
        &[(R2, 6)],
        &[(R2, 6)],
    ];
    insta::assert_snapshot!(story(&mut model, &targets));
}

#[test]
fn a_rolling_update_without_surge_that_is_aborted() {
    let mut model = Model::new(3, "web:1");
    model.know("web:1");
    model.know("web:2");
    let targets: [&[_]; 6] = [
        &[(R1, 3)],
        &[(R1, 2)],
        &[(R1, 2), (R2, 1)],
        &[(R1, 1), (R2, 2)],
        &[(R1, 3), (R2, 2)],
        &[(R1, 3)],
    ];
    insta::assert_snapshot!(story(&mut model, &targets));
}

#[test]
fn a_service_that_cannot_run_twice() {
    let mut model = Model::new(2, "web:1");
    model.know("web:1");
    model.know("web:2");
    let targets: [&[_]; 3] = [&[(R1, 2)], &[], &[(R2, 2)]];
    insta::assert_snapshot!(story(&mut model, &targets));
}

#[test]
fn an_edit_of_the_template_is_brought_out() {
    let mut model = Model::new(2, "web:1");
    model.trigger = Trigger::Template;
    model.know("web:1");
    let before = story(&mut model, &[&[(R1, 2)]]);
    model.set_image("web:2");
    model.know("web:2");
    let targets: [&[_]; 3] = [&[(R1, 2), (R2, 1)], &[(R1, 2), (R2, 2)], &[(R2, 2)]];
    let after = story(&mut model, &targets);
    insta::assert_snapshot!(format!("{before}\n\n(the image is set to web:2)\n{after}"));
}

#[test]
fn a_change_of_a_config_map_alone_is_brought_out_and_taken_back() {
    let mut model = Model::new(2, "web:1");
    model.set_config("a");
    model.know("web:1");
    model.hold(&[(R1, 2)]);
    assert_eq!(model.reads(), [(2, vec!["web".to_owned()])], "untouched");
    assert_eq!(model.deployment["spec"]["paused"], true);
    model.set_config("b");
    model.know("web:1");
    let own = model.deployment["spec"]["template"].clone();
    let targets: [&[_]; 4] = [
        &[(R1, 2), (R2, 1)],
        &[(R1, 2), (R2, 2)],
        &[(R2, 2)],
        &[(R1, 2), (R2, 2)],
    ];
    let mut told = story(&mut model, &targets);
    // Its ReplicaSet reads the original: so another one reads what the original held before.
    model.hold(&[(R1, 2)]);
    let reads = model.reads();
    told.push_str(&format!("\nreads {reads:?}"));
    insta::assert_snapshot!(told);
    let alive: Vec<_> = reads.iter().filter(|it| it.0 > 0).collect();
    assert_eq!(alive.len(), 1, "{reads:?}");
    assert!(alive[0].1[0].starts_with("web-"), "{reads:?}");
    let template = &model.deployment["spec"]["template"];
    assert_eq!(template["spec"], own["spec"], "it names the original");
}

#[test]
fn what_was_stopped_does_not_start_again_where_the_deployment_stays_paused() {
    for trigger in [Trigger::Artifact, Trigger::Template] {
        let mut model = Model::new(2, "web:1");
        model.trigger = trigger;
        model.set_config("a");
        model.know("web:1");
        model.know("web:2");
        model.hold(&[(R1, 2)]);
        model.hold(&[]);
        assert_eq!(model.pods(), [("web:1", 0)]);
        let told = model.hold(&[(R2, 2)]);
        assert_eq!(model.pods(), [("web:1", 0), ("web:2", 2)]);
        let stops = |it: &&String| it.starts_with("web-1:") && it.contains("replicas");
        assert_eq!(told.iter().find(stops), None, "{told:#?}");
    }
}

#[test]
fn what_is_not_held_any_more_and_was_not_copied_is_not_brought_out() {
    let mut model = Model::new(2, "web:1");
    model.set_config("a");
    model.know("web:1");
    model.hold(&[(R1, 2)]);
    model.set_config("b");
    model.know("web:2");
    model.set_config("c");
    let refused = model.try_desired(&[(R1, 2), (R2, 1)]).unwrap_err();
    assert!(refused.to_string().contains("deploy again"), "{refused}");
    // Nobody names the copies of a revision that was forgotten.
    model.specs.truncate(1);
    model.sets[0]["metadata"]["annotations"] = json!({});
    model.specs[0].content =
        Some(json!({"container": "web", "template": model.deployment["spec"]["template"]}));
    assert!(model.hold(&[(R1, 2)]).contains(&"delete a copy".to_owned()));
}

#[test]
fn nothing_is_stopped_while_it_is_in_use_or_that_is_not_known() {
    let mut model = Model::new(2, "web:1");
    model.know("web:1");
    model.know("web:2");
    model.hold(&[(R1, 2), (R2, 2)]);
    model.in_use = Some(vec![R1]);
    assert_eq!(model.hold(&[(R2, 2)]), Vec::<String>::new());
    model.in_use = None;
    assert_eq!(model.hold(&[(R1, 1), (R2, 2)]), Vec::<String>::new());
    model.in_use = Some(vec![R2]);
    assert_eq!(model.hold(&[(R2, 2)]).len(), 3, "{}", model.told());
}

#[test]
fn what_is_held_gets_no_pod() {
    let mut model = Model::new(2, "web:1");
    model.know("web:1");
    model.know("web:2");
    model.held = vec![R2];
    model.hold(&[(R1, 2), (R2, 1)]);
    assert_eq!(model.pods(), [("web:1", 2), ("web:2", 0)]);
    model.held.clear();
    model.hold(&[(R1, 2), (R2, 1)]);
    assert_eq!(model.pods(), [("web:1", 2), ("web:2", 1)]);
}

#[test]
fn no_replica_set_is_touched_before_the_controller_has_seen_the_deployment() {
    let mut model = Model::new(2, "web:1");
    model.know("web:1");
    model.know("web:2");
    model.hold(&[(R1, 2)]);
    model.controller_sleeps = true;
    let written = model.hold(&[(R1, 2), (R2, 1)]);
    assert_eq!(written.len(), 1, "{written:?}");
    model.wake_controller();
    model.hold(&[(R1, 2), (R2, 1)]);
    assert_eq!(model.pods(), [("web:1", 2), ("web:2", 1)]);
}

#[test]
fn the_users_own_pause_and_strategy_come_back() {
    let mut model = Model::new(2, "web:1");
    let own =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    model.deployment["spec"]["strategy"] = own.clone();
    model.deployment["spec"]["paused"] = json!(true);
    model.know("web:1");
    model.know("web:2");
    model.hold(&[(R1, 2), (R2, 2)]);
    assert_eq!(model.deployment["spec"]["strategy"]["type"], "Recreate");
    model.hold(&[(R2, 2)]);
    assert_eq!(model.deployment["spec"]["strategy"], own);
    assert_eq!(model.deployment["spec"]["paused"], true);
}
