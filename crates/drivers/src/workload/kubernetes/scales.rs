//! The writes to ReplicaSets: made, marked, scaled, in an order that their controller agrees with.
//!
//! | rule | because |
//! |---|---|
//! | what grows is written before what shrinks | with one ReplicaSet that wants pods, the controller holds that one at `spec.replicas` |
//! | the only one that wants pods gets all | the same |
//! | the mark of saturation is taken off first | with it, a full ReplicaSet has all others scaled to nothing |

use std::collections::BTreeMap;

use rollout::Revision;
use serde_json::json;

use super::{
    content,
    count::Scale,
    desired::{World, Write},
    ops::{Operations, annotation, label},
    runs::Run,
    view::{self, KEPT, SATURATION, SCALE, Set},
};
use crate::{
    kubernetes::{
        references::{self, COPIES},
        revisions::{APP, REVISION},
        template,
    },
    workload::WorkloadTarget,
};

/// The annotation with a ReplicaSet's number in the Deployment's history.
const NUMBER: &str = "deployment.kubernetes.io/revision";

/// In which order ReplicaSets are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Unsaturate,
    Raise,
    Mark,
    Lower,
}

/// All of them. `ours`: we scale, not the controller.
pub(super) fn writes(
    world: &World<'_>,
    target: &WorkloadTarget,
    runs: &[Run<'_>],
    ours: bool,
) -> Vec<Write> {
    let wanted = wanted(world, target, runs);
    let mut writes: Vec<(Turn, Write)> = Vec::new();
    let complete = runs.iter().all(|run| {
        let pods = wanted.get(&run.revision).copied().unwrap_or(0);
        pods == 0
            || run
                .set
                .is_some_and(|it| it.replicas >= pods && it.is_complete())
    });
    let any = runs
        .iter()
        .any(|it| wanted.contains_key(&it.revision) && it.pods() > 0);
    for set in world.sets {
        let run = runs
            .iter()
            .find(|it| it.set.is_some_and(|it| it.uid() == set.uid()));
        let mut operations = Operations::default();
        let mut turn = Turn::Mark;
        match run {
            Some(run) => mark(world, set, run, &mut operations),
            None => turn = unmark(set, runs, &mut operations),
        }
        if ours {
            let pods = run.and_then(|it| wanted.get(&it.revision)).copied();
            // What nobody knows has to wait until others can do its work; nothing goes before
            // there is anything else.
            let may_go = (set.revision.is_some() && any) || complete;
            if let Some(pods) = pods {
                turn = scale(world, target, set, pods, run, &mut operations);
            } else if may_go && set.replicas > 0 && !is_in_use(world, set, target) {
                turn = Turn::Lower;
                none(set, &mut operations);
            }
            let others = wanted
                .iter()
                .any(|(revision, pods)| *pods > 0 && run.map(|it| it.revision) != Some(*revision));
            if others && set.digest == world.deployment.digest && unsaturate(set, &mut operations) {
                turn = Turn::Unsaturate;
            }
        } else if let Some(run) = run.filter(|it| wanted.contains_key(&it.revision)) {
            // The controller holds it at all pods. That fewer were asked for is what is noted, or
            // they would be waited for for ever.
            note(target, set, Some(run), &mut operations);
        }
        if !operations.is_empty() {
            writes.push((turn, write(set, operations)));
        }
    }
    // A paused controller makes none. While nothing has begun, one that is not the template's would
    // be an old one from its first moment.
    let deployment = world.deployment;
    let missing = runs.iter().filter(|it| it.set.is_none());
    let missing = missing.filter_map(|run| Some((run, *wanted.get(&run.revision)?)));
    let made = missing
        .filter(|(run, _)| deployment.has_begun() || (deployment.paused && run.is_in(deployment)));
    writes.extend(made.map(|(run, pods)| (Turn::Raise, create(world, target, run, pods))));
    writes.sort_by_key(|(turn, _)| *turn);
    writes.into_iter().map(|(_, write)| write).collect()
}

/// The pods that each revision is to have.
fn wanted(world: &World<'_>, target: &WorkloadTarget, runs: &[Run<'_>]) -> BTreeMap<Revision, u32> {
    let live = world.deployment.live();
    let asked = |run: &Run<'_>| {
        let count = *target.scales.get(&run.revision)?;
        let scale = Scale {
            count,
            whole: target.whole,
        };
        let held = target.held.contains(&run.revision) && run.pods() == 0;
        Some((run.revision, if held { 0 } else { scale.pods(live) }))
    };
    let mut wanted: BTreeMap<_, _> = runs.iter().filter_map(asked).collect();
    let mut some = wanted.values_mut().filter(|it| **it > 0);
    if let (Some(only), None) = (some.next(), some.next()) {
        *only = live;
    }
    wanted
}

/// Brings a ReplicaSet to `pods`.
fn scale(
    world: &World<'_>,
    target: &WorkloadTarget,
    set: &Set,
    pods: u32,
    run: Option<&Run<'_>>,
    operations: &mut Operations,
) -> Turn {
    let lower = pods < set.replicas;
    if lower && (target.in_use.is_none() || (pods == 0 && is_in_use(world, set, target))) {
        return Turn::Mark;
    }
    note(target, set, run, operations);
    if pods != set.replicas {
        operations.replace("/spec/replicas", &json!(set.replicas), json!(pods));
    }
    match pods.cmp(&set.replicas) {
        std::cmp::Ordering::Greater => Turn::Raise,
        std::cmp::Ordering::Equal => Turn::Mark,
        std::cmp::Ordering::Less => Turn::Lower,
    }
}

/// Notes at a ReplicaSet what it was told to have.
fn note(target: &WorkloadTarget, set: &Set, run: Option<&Run<'_>>, operations: &mut Operations) {
    let count = run.and_then(|it| target.scales.get(&it.revision)).copied();
    let scale = Scale {
        count: count.unwrap_or(0),
        whole: target.whole,
    };
    // One without a note has what the Deployment wants, or nothing.
    let noted = set.scale.unwrap_or(Scale { count: 1, whole: 1 });
    if !noted.is_like(scale) {
        operations.set(&annotation(SCALE), json!(scale.to_string()));
    }
}

/// Whether one of its pods may get requests; also when that is not known.
pub(super) fn is_in_use(world: &World<'_>, set: &Set, target: &WorkloadTarget) -> bool {
    let Some(in_use) = &target.in_use else {
        return true;
    };
    let mut pods = world.pods.iter().filter(|it| it.owner == set.uid());
    pods.any(|pod| {
        let address = pod.address.as_ref();
        in_use.contains(&pod.name) || address.is_some_and(|it| in_use.contains(it))
    })
}

/// A ReplicaSet that is to have no pods.
pub(super) fn empty(set: &Set) -> Write {
    let mut operations = Operations::default();
    none(set, &mut operations);
    write(set, operations)
}

fn none(set: &Set, operations: &mut Operations) {
    operations.replace("/spec/replicas", &json!(set.replicas), json!(0));
    if set.scale.is_some() {
        operations.remove(&annotation(SCALE));
    }
}

fn mark(world: &World<'_>, set: &Set, run: &Run<'_>, operations: &mut Operations) {
    let annotations = &set.object.annotations;
    if annotations.get(APP).map(String::as_str) != Some(world.app) {
        operations.set(&annotation(APP), json!(world.app));
    }
    let text = run.revision.0.to_string();
    if set.object.labels.get(REVISION) != Some(&text) {
        operations.set(&label(REVISION), json!(text));
    }
    // Copied by the controller, and by an undo of kubectl back to a Deployment at rest.
    let ended = !world.deployment.object.annotations.contains_key(KEPT);
    if ended && annotations.contains_key(KEPT) {
        operations.remove(&annotation(KEPT));
    }
    // Its pods read the originals; the copies are for when its revision comes back.
    if !set.is_isolated() && set.copies != run.copies {
        operations.set(&annotation(COPIES), json!(json!(run.copies).to_string()));
    }
}

/// A revision has one ReplicaSet: one without pods makes room for the one that reads copies.
fn unmark(set: &Set, runs: &[Run<'_>], operations: &mut Operations) -> Turn {
    let known = |revision| runs.iter().any(|it| it.revision == revision);
    if set.replicas > 0 || !set.revision.is_some_and(known) {
        return Turn::Mark;
    }
    operations.remove(&label(REVISION));
    Turn::Unsaturate
}

/// Whether there was something to take off.
fn unsaturate(set: &Set, operations: &mut Operations) -> bool {
    let mut found = false;
    for name in SATURATION {
        if set.object.annotations.contains_key(name) {
            operations.remove(&annotation(name));
            found = true;
        }
    }
    found
}

/// A new ReplicaSet of so many pods.
pub(super) fn create(
    world: &World<'_>,
    target: &WorkloadTarget,
    run: &Run<'_>,
    pods: u32,
) -> Write {
    let names: Vec<&str> = world
        .sets
        .iter()
        .map(|it| it.object.name.as_str())
        .collect();
    let deployment = world.deployment;
    let digest = template::digest(&run.template);
    let mut hash = content::hash(&digest, 0);
    for attempt in 1..=world.sets.len() {
        let name = format!("{}-{hash}", deployment.object.name);
        if !names.contains(&name.as_str()) {
            break;
        }
        hash = content::hash(&digest, attempt);
    }
    // As the server gave it, so that the controller finds them equal.
    let pods_template = match run.is_in(deployment) {
        true => &deployment.template,
        false => &run.template,
    };
    let pods_template = references::with_copies(pods_template, &run.copies);
    let mut manifest = view::set_manifest(deployment, &hash, &pods_template);
    let scale = Scale {
        count: target.scales.get(&run.revision).copied().unwrap_or(0),
        whole: target.whole,
    };
    crate::kubernetes::merge(
        &mut manifest,
        json!({
            "metadata": {
                "labels": {REVISION: run.revision.0.to_string()},
                "annotations": {APP: world.app, SCALE: scale.to_string()},
            },
            "spec": {"replicas": pods},
        }),
    );
    if !run.copies.is_empty() {
        // Its controller numbers only those that equal the template, and deletes the lowest first.
        let numbers = world
            .sets
            .iter()
            .filter_map(|it| it.object.annotations.get(NUMBER));
        let last = numbers.filter_map(|it| it.parse::<u64>().ok()).max();
        let number = last.unwrap_or(0).saturating_add(1).to_string();
        let numbered = json!({"metadata": {"annotations": {NUMBER: number}}});
        crate::kubernetes::merge(&mut manifest, numbered);
    }
    Write::Create { manifest }
}

fn write(set: &Set, operations: Operations) -> Write {
    Write::Set {
        name: set.object.name.clone(),
        operations: operations.done(),
    }
}
