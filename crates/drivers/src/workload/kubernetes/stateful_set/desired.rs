//! What is to be written so that a StatefulSet is as a target wants it. Pure; it is asked again until
//! it wants nothing more.
//!
//! | rule | because |
//! |---|---|
//! | the template is written with a partition that no pod reaches | its pods must be told apart, and kept from traffic, before there are any |
//! | what goes back is deleted, broken pods first, then one ready one at a time | a higher partition alone moves nothing, and the controller waits for a broken pod for ever |
//! | a pod that is to be replaced and is broken is deleted, too | the controller waits for that one as well |
//! | the template goes back when no pod of the candidate is left | then there is nothing for the controller to do |

use rollout::{Revision, observation::InstanceState};
use serde_json::{Value, json};

use super::{
    runs::{Run, runs},
    view::{DIGEST, FENCE, History, Member, StatefulSet},
};
use crate::{
    DriverError,
    kubernetes::revisions::{APP, REVISION},
    workload::{
        WorkloadTarget,
        kubernetes::{
            count::Scale,
            desired::refuse_foreign,
            holding::keep,
            ops::{Operations, annotation, label},
            view::Kept,
        },
    },
};

/// What one pass knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    /// `project/app`.
    pub(super) app: &'a str,
    pub(super) set: &'a StatefulSet,
    pub(super) history: &'a [History],
    pub(super) members: &'a [Member],
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// Operations of a JSON patch on the StatefulSet; `again`: the fields that had been written
    /// before, and that somebody else has changed since.
    Set {
        operations: Vec<Value>,
        again: Vec<&'static str>,
    },
    /// The same on a ControllerRevision.
    Mark {
        name: String,
        operations: Vec<Value>,
    },
    /// A pod that is to come back as what it was.
    Remove { name: String },
}

/// How the StatefulSet is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    AsItIs,
    /// Pods from this one on are the candidate's.
    Begun {
        candidate: Revision,
        partition: u32,
    },
    /// The user's own again, with the template of this revision.
    Rest(Revision),
}

/// The writes that bring the world closer to the target.
pub(super) fn desired(
    world: &World<'_>,
    target: &WorkloadTarget,
) -> Result<Vec<Write>, DriverError> {
    let set = world.set;
    refuse_foreign("StatefulSet", &set.object, world.app)?;
    let runs = runs(&target.revisions, set, world.history)?;
    if let Some(mark) = mark(world, &runs) {
        return Ok(vec![mark]);
    }
    if target.scales.is_empty() {
        return stop_all(world, target, &runs);
    }
    let stance = stance(world, target, &runs);
    if let Some(write) = set_write(world, &runs, stance) {
        return Ok(vec![write]);
    }
    Ok(removed(world, target, &runs, stance).into_iter().collect())
}

/// Marks what the template is known as, once its controller has said so.
fn mark(world: &World<'_>, runs: &[Run<'_>]) -> Option<Write> {
    let set = world.set;
    let run = runs.iter().find(|it| it.is_in(set) && set.observed)?;
    let history = world
        .history
        .iter()
        .find(|it| it.object.name == set.update)?;
    let known = history.revision == Some(run.revision) && history.digest() == Some(&set.digest);
    if known {
        return None;
    }
    let mut operations = Operations::default();
    let object = &history.object;
    if object.labels.is_empty() {
        operations.set("/metadata/labels", json!({}));
    }
    operations.set(&label(REVISION), json!(run.revision.0.to_string()));
    operations.set(&annotation(APP), json!(world.app));
    operations.set(&annotation(DIGEST), json!(set.digest));
    Some(Write::Mark {
        name: object.name.clone(),
        operations: operations.done(),
    })
}

fn stance(world: &World<'_>, target: &WorkloadTarget, runs: &[Run<'_>]) -> Stance {
    let set = world.set;
    let wanted: Vec<Revision> = target.scales.keys().copied().collect();
    // What its controller makes of a pod below the partition.
    let is_current = |it: Revision| hash_of(world, runs, it) == Some(&set.current);
    let leaves = set.candidate().filter(|it| !wanted.contains(it));
    if let Some(candidate) = leaves.filter(|it| !is_current(*it))
        && members_of(world, runs, candidate).next().is_some()
    {
        let partition = FENCE;
        return Stance::Begun {
            candidate,
            partition,
        };
    }
    match (wanted.as_slice(), set.candidate()) {
        ([only], Some(_)) => {
            let settled = set.observed && set.current == set.update && is_current(*only);
            let all = members_of(world, runs, *only).count();
            let all = settled && u32::try_from(all) == Ok(set.live());
            match all || (leaves.is_some() && is_current(*only)) {
                true => Stance::Rest(*only),
                false => Stance::Begun {
                    candidate: *only,
                    partition: 0,
                },
            }
        }
        ([only], None) => {
            let is_in = runs.iter().any(|it| it.revision == *only && it.is_in(set));
            let stopped = set.replicas == 0 && set.kept.replicas.is_some();
            match is_in || stopped {
                true => Stance::Rest(*only),
                // Somebody changed the template: what `observe` tells. It is not fought.
                false => Stance::AsItIs,
            }
        }
        ([one, other], _) => {
            // Whatever the plan calls them: one is current, the other one comes to the highest pods.
            let (stable, candidate) = match is_current(*other) {
                true => (*other, *one),
                false => (*one, *other),
            };
            Stance::Begun {
                candidate,
                partition: partition(world, target, runs, candidate, stable),
            }
        }
        (_, _) => Stance::AsItIs,
    }
}

/// The first pod that is to be the candidate's.
fn partition(
    world: &World<'_>,
    target: &WorkloadTarget,
    runs: &[Run<'_>],
    candidate: Revision,
    stable: Revision,
) -> u32 {
    let live = world.set.live();
    let scale = Scale {
        count: target.scales.get(&stable).copied().unwrap_or(0),
        whole: target.whole,
    };
    let held =
        target.held.contains(&candidate) && members_of(world, runs, candidate).next().is_none();
    match scale.pods(live) {
        stay if held || stay >= live => FENCE,
        stay => stay,
    }
}

fn set_write(world: &World<'_>, runs: &[Run<'_>], stance: Stance) -> Option<Write> {
    let set = world.set;
    let mut operations = Operations::default();
    let mut again = Vec::new();
    let mut kept = set.kept.clone();
    match stance {
        Stance::AsItIs => {}
        Stance::Begun {
            candidate,
            partition,
        } => {
            let run = runs.iter().find(|it| it.revision == candidate);
            again = begin(
                world,
                (candidate, run),
                partition,
                &mut kept,
                &mut operations,
            );
        }
        Stance::Rest(revision) => {
            let run = runs.iter().find(|it| it.revision == revision);
            rest(world, run, &mut kept, &mut operations);
        }
    }
    if kept != set.kept {
        keep(&kept, &mut operations);
    }
    if !set.object.annotations.contains_key(APP) {
        operations.set(&annotation(APP), json!(world.app));
    }
    let operations = operations.done();
    (!operations.is_empty()).then_some(Write::Set { operations, again })
}

fn begin(
    world: &World<'_>,
    (candidate, run): (Revision, Option<&Run<'_>>),
    partition: u32,
    kept: &mut Kept,
    operations: &mut Operations,
) -> Vec<&'static str> {
    let set = world.set;
    let mut again = Vec::new();
    let had_begun = set.candidate() == Some(candidate);
    let missing = run.filter(|it| !it.is_in(set));
    if let Some(run) = missing {
        operations.replace("/spec/template", &set.template, run.template.clone());
        if had_begun {
            again.push("spec.template");
        }
    }
    let known = missing.is_none() && set.observed && run.is_some_and(|it| it.history.is_some());
    // Each write of ours has to be observed first: until then what stands stays, or one write would
    // take back the other for ever.
    let stands = kept.partition.filter(|_| had_begun && missing.is_none());
    let partition = match known {
        true => partition,
        false => stands.unwrap_or(FENCE),
    };
    let strategy = set.strategy(partition);
    if strategy != set.strategy {
        operations.replace("/spec/updateStrategy", &set.strategy, strategy);
        let was = set.kept.partition.filter(|_| had_begun);
        if was.is_some_and(|it| set.strategy(it) != set.strategy) {
            again.push("spec.updateStrategy");
        }
    }
    if let Some(replicas) = kept.replicas.take()
        && set.replicas == 0
    {
        operations.replace("/spec/replicas", &json!(0), json!(replicas));
    }
    kept.candidate = Some(candidate.0);
    kept.partition = Some(partition);
    if kept.strategy.is_none() {
        kept.strategy = Some(set.strategy.clone());
    }
    again
}

fn rest(world: &World<'_>, run: Option<&Run<'_>>, kept: &mut Kept, operations: &mut Operations) {
    let set = world.set;
    if let Some(run) = run.filter(|it| !it.is_in(set)) {
        operations.replace("/spec/template", &set.template, run.template.clone());
    }
    if let Some(own) = kept.strategy.take()
        && own != set.strategy
    {
        operations.replace("/spec/updateStrategy", &set.strategy, own);
    }
    if let Some(replicas) = kept.replicas.take()
        && set.replicas == 0
    {
        operations.replace("/spec/replicas", &json!(0), json!(replicas));
    }
    kept.candidate = None;
    kept.partition = None;
}

/// The pod that is to go back next.
fn removed(
    world: &World<'_>,
    target: &WorkloadTarget,
    runs: &[Run<'_>],
    stance: Stance,
) -> Option<Write> {
    let (candidate, partition) = match stance {
        Stance::Begun {
            candidate,
            partition,
        } => (candidate, partition),
        Stance::AsItIs | Stance::Rest(_) => return None,
    };
    // One at a time, and only once the controller makes something else of it.
    if !world.set.observed
        || world
            .members
            .iter()
            .any(|it| it.is(InstanceState::Draining))
    {
        return None;
    }
    let hash = hash_of(world, runs, candidate);
    let is_candidates = |it: &&Member| Some(&it.hash) == hash;
    let back = |it: &&Member| is_candidates(it) && it.ordinal < partition;
    let forth = |it: &&Member| !is_candidates(it) && it.ordinal >= partition;
    let broken = |it: &&Member| !it.is(InstanceState::Ready) && (back(it) || forth(it));
    let members = world.members.iter();
    let ready = members.clone().filter(|it| it.is(InstanceState::Ready));
    let whole = u32::try_from(ready.count()) == Ok(world.set.live());
    let broken = members.clone().filter(broken).max_by_key(|it| it.ordinal);
    let next = broken.or_else(|| {
        let may_end = whole && target.in_use.is_some();
        members
            .filter(|it| may_end && back(it))
            .max_by_key(|it| it.ordinal)
    });
    next.map(|it| Write::Remove {
        name: it.pod.name.clone(),
    })
}

/// The pods of a revision.
pub(super) fn members_of<'a>(
    world: &World<'a>,
    runs: &[Run<'a>],
    revision: Revision,
) -> impl Iterator<Item = &'a Member> {
    let hash = hash_of(world, runs, revision).cloned();
    let members = world.members.iter();
    members.filter(move |it| Some(&it.hash) == hash.as_ref())
}

/// The label of its pods.
fn hash_of<'a>(world: &World<'a>, runs: &[Run<'a>], revision: Revision) -> Option<&'a String> {
    let run = runs.iter().find(|it| it.revision == revision);
    let known = run.and_then(|it| it.history);
    let marked = || {
        world
            .history
            .iter()
            .find(|it| it.revision == Some(revision))
    };
    known.or_else(marked).map(|it| &it.object.name)
}

/// Stops everything: it wants no pods, and what it wanted is kept.
fn stop_all(
    world: &World<'_>,
    target: &WorkloadTarget,
    runs: &[Run<'_>],
) -> Result<Vec<Write>, DriverError> {
    let set = world.set;
    if runs.len() <= 1 {
        return Err(DriverError::permanent(
            format!("stop all pods of StatefulSet {}", set.name()),
            "there is no revision to go back to: what runs goes on running; release the app, or scale it to 0",
        ));
    }
    let used = |it: &Member| {
        let address = it.pod.address.as_ref();
        target.in_use.as_ref().is_none_or(|used| {
            used.contains(&it.pod.name) || address.is_some_and(|it| used.contains(it))
        })
    };
    if set.replicas == 0 || world.members.iter().any(used) {
        return Ok(Vec::new());
    }
    let mut operations = Operations::default();
    operations.replace("/spec/replicas", &json!(set.replicas), json!(0));
    let kept = Kept {
        replicas: Some(set.replicas),
        ..set.kept.clone()
    };
    keep(&kept, &mut operations);
    let operations = operations.done();
    let again = Vec::new();
    Ok(vec![Write::Set { operations, again }])
}
