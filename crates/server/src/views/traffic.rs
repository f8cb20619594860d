//! Who has which share of the traffic, and with which instances.

use api::{InstanceView, RevisionTraffic};
use rollout::{
    Phase, Revision, Target, Weight,
    observation::{InstanceState, RevisionStatus},
    routes, target,
};

use super::detail::Shown;
use crate::live::Seen;

/// What was seen, if it tells of this rollout. What is seen is the app's present: it says nothing of
/// a rollout that waits for its turn, or that ended before another one changed the app.
pub(super) fn relevant<'a>(shown: &Shown<'a>) -> Option<&'a Seen> {
    let rollout = shown.rollout;
    let tells = |seen: &&Seen| match rollout.phase {
        Phase::Pending | Phase::Cancelled => false,
        Phase::Progressing | Phase::Paused | Phase::Promoting | Phase::Aborting => true,
        Phase::Succeeded | Phase::RolledBack => {
            let wanted = target(&rollout.plan, &rollout.state);
            seen.target.scales == wanted.scales && seen.target.weights == wanted.weights
        }
    };
    shown.seen.filter(tells)
}

/// The revisions of a rollout with their shares; none for one that does not act (any more).
pub(super) fn shares(shown: &Shown<'_>) -> Vec<RevisionTraffic> {
    let rollout = shown.rollout;
    let seen = relevant(shown);
    let acts = match rollout.phase {
        Phase::Pending | Phase::Cancelled => false,
        Phase::Progressing | Phase::Paused | Phase::Promoting | Phase::Aborting => true,
        Phase::Succeeded | Phase::RolledBack => seen.is_some(),
    };
    if !acts {
        return Vec::new();
    }
    let wanted = target(&rollout.plan, &rollout.state);
    let given = seen.and_then(|it| routes(&rollout.plan, &rollout.state, &wanted, &it.observation));
    let asked = |revision: Revision| match &given {
        Some(shares) => shares.get(&revision).copied().unwrap_or(Weight::ZERO),
        None => wanted.weight(revision),
    };
    let roles = [
        ("stable", rollout.plan.stable),
        ("candidate", Some(rollout.plan.candidate)),
    ];
    roles
        .into_iter()
        .filter_map(|(role, revision)| Some((role, revision?)))
        .map(|(role, revision)| one(role, revision, asked(revision), &wanted, seen))
        .collect()
}

fn one(
    role: &str,
    revision: Revision,
    asked: Weight,
    wanted: &Target,
    seen: Option<&Seen>,
) -> RevisionTraffic {
    let status = seen.and_then(|it| it.observation.revision(revision));
    let observed = seen.and_then(|it| it.observation.share(revision));
    RevisionTraffic {
        revision: revision.to_string(),
        role: role.to_owned(),
        asked: asked.percent(),
        observed: observed.map(Weight::percent),
        desired: wanted.scale(revision),
        ready: status.as_ref().map(|it| it.ready),
        instances: status.iter().flat_map(instances).collect(),
        problems: status.iter().flat_map(problems).collect(),
    }
}

fn instances(status: &RevisionStatus) -> impl Iterator<Item = InstanceView> {
    status.instances.iter().map(|it| InstanceView {
        name: it.name.clone(),
        address: it.address.clone(),
        state: state_word(it.state).to_owned(),
        restarts: it.restarts,
    })
}

fn problems(status: &RevisionStatus) -> impl Iterator<Item = String> {
    status.problems.iter().map(|it| match &it.instance {
        Some(instance) => format!("{instance}: {}", it.detail),
        None => it.detail.clone(),
    })
}

fn state_word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Starting => "starting",
        InstanceState::Ready => "ready",
        InstanceState::NotReady => "notReady",
        InstanceState::Draining => "draining",
        InstanceState::Exited => "exited",
    }
}
