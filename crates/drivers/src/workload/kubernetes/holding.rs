//! The write to a Deployment that brings it into a stance.

use rollout::Revision;
use serde_json::json;

use super::{
    Trigger,
    desired::{World, Write},
    ops::{Operations, annotation},
    runs::Run,
    stance::Stance,
    view::{KEPT, Kept},
};
use crate::kubernetes::revisions::APP;

/// The write that brings the Deployment into its stance, if it is not in it.
pub(super) fn deployment_write(
    world: &World<'_>,
    runs: &[Run<'_>],
    stance: Stance,
) -> Option<Write> {
    let deployment = world.deployment;
    let mut operations = Operations::default();
    let mut again = Vec::new();
    let mut kept = deployment.kept.clone();
    match stance {
        Stance::AsItIs => {}
        Stance::Begun {
            candidate,
            template,
        } => {
            restore_replicas(world, &mut kept, &mut operations);
            let run = runs.iter().find(|it| it.revision == candidate);
            again = begin(world, candidate, &mut kept, &mut operations);
            let run = run.filter(|it| template && !it.is_in(deployment));
            if let Some(run) = run.filter(|_| may_replace_template(world, runs)) {
                operations.replace("/spec/template", &deployment.template, run.template.clone());
                again.push("spec.template");
            }
            let had_begun = deployment.has_begun();
            if !had_begun || deployment.kept.candidate != Some(candidate.0) {
                again.clear();
            }
        }
        Stance::Rest(revision) => {
            again = rest(world, runs, revision, &mut kept, &mut operations);
        }
    }
    if kept != deployment.kept {
        keep(&kept, &mut operations);
    }
    if !deployment.is_adopted() {
        operations.set(&annotation(APP), json!(world.app));
    }
    let operations = operations.done();
    (!operations.is_empty()).then_some(Write::Deployment { operations, again })
}

/// A template that nobody knows may be what is asked for next: then it is offered, not overwritten.
fn may_replace_template(world: &World<'_>, runs: &[Run<'_>]) -> bool {
    let known = |it: &Run<'_>| it.is_meant_by(world.deployment);
    world.trigger == Trigger::Artifact || runs.iter().any(known)
}

/// Takes the Deployment out of its controller's hands; the fields that are not so already.
fn begin(
    world: &World<'_>,
    candidate: Revision,
    kept: &mut Kept,
    operations: &mut Operations,
) -> Vec<&'static str> {
    let deployment = world.deployment;
    let mut changed = Vec::new();
    kept.candidate = Some(candidate.0);
    let recreate = json!({"type": "Recreate"});
    if kept.strategy.is_none() {
        kept.strategy = Some(deployment.strategy.clone());
    }
    if deployment.strategy != recreate {
        operations.replace("/spec/strategy", &deployment.strategy, recreate);
        changed.push("spec.strategy");
    }
    if kept.paused.is_none() {
        kept.paused = Some(deployment.paused);
    }
    if !deployment.paused {
        operations.set("/spec/paused", json!(true));
        changed.push("spec.paused");
    }
    changed
}

/// Ends that everything is stopped.
fn restore_replicas(world: &World<'_>, kept: &mut Kept, operations: &mut Operations) {
    if let Some(replicas) = kept.replicas.take()
        && world.deployment.replicas == 0
    {
        operations.set("/spec/replicas", json!(replicas));
    }
}

/// What holds while nothing is going on.
fn rest(
    world: &World<'_>,
    runs: &[Run<'_>],
    revision: Revision,
    kept: &mut Kept,
    operations: &mut Operations,
) -> Vec<&'static str> {
    let deployment = world.deployment;
    let mut again = Vec::new();
    if let Some(run) = runs.iter().find(|it| it.revision == revision)
        && !run.is_in(deployment)
        && may_replace_template(world, runs)
    {
        operations.replace("/spec/template", &deployment.template, run.template.clone());
    }
    if let Some(strategy) = kept.strategy.take()
        && strategy != deployment.strategy
    {
        operations.replace("/spec/strategy", &deployment.strategy, strategy);
    }
    restore_replicas(world, kept, operations);
    kept.candidate = None;
    match world.pauses_at_rest(runs) {
        true if deployment.paused => {
            kept.paused = Some(kept.paused.unwrap_or(true));
        }
        true => {
            if kept.paused.is_some() {
                again.push("spec.paused");
            }
            kept.paused = Some(kept.paused.unwrap_or(false));
            operations.set("/spec/paused", json!(true));
        }
        false => {
            if kept.paused.take() == Some(false) && deployment.paused {
                operations.set("/spec/paused", json!(false));
            }
        }
    }
    again
}

/// Keeps what the user had set.
pub(super) fn keep(kept: &Kept, operations: &mut Operations) {
    match kept.is_empty() {
        true => operations.remove(&annotation(KEPT)),
        false => {
            let text = serde_json::to_string(kept).unwrap_or_default();
            operations.set(&annotation(KEPT), json!(text));
        }
    }
}
