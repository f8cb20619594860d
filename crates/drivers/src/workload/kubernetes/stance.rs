//! How a Deployment is to be for a target: the user's own, or held by us for a candidate.

use std::collections::BTreeSet;

use rollout::Revision;

use super::{
    desired::World,
    runs::{Run, in_template},
    view::Deployment,
};
use crate::workload::WorkloadTarget;

/// How the Deployment is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stance {
    /// As it is.
    AsItIs,
    /// Held by us, to bring this revision out; `template`: with its template.
    Begun { candidate: Revision, template: bool },
    /// The user's own again; its template that of this revision.
    Rest(Revision),
}

/// The stance that the target wants.
pub(super) fn stance(world: &World<'_>, target: &WorkloadTarget, runs: &[Run<'_>]) -> Stance {
    let deployment = world.deployment;
    let mut wanted = target.scales.keys().copied();
    let (first, second) = (wanted.next(), wanted.next());
    let Some(only) = first else {
        return Stance::AsItIs;
    };
    if second.is_some() {
        let wanted: BTreeSet<Revision> = target.scales.keys().copied().collect();
        let begun = |candidate| Stance::Begun {
            candidate,
            template: true,
        };
        return candidate(deployment, runs, &wanted).map_or(Stance::AsItIs, begun);
    }
    if let Some(candidate) = deployment.kept.candidate.filter(|_| deployment.has_begun()) {
        // Until the other ReplicaSets are empty; then `finish`.
        return Stance::Begun {
            candidate: Revision(candidate),
            template: candidate == only.0,
        };
    }
    let stopped = deployment.replicas == 0 && deployment.kept.replicas.is_some();
    if stopped || in_template(runs, deployment) == Some(only) {
        return Stance::Rest(only);
    }
    // Somebody changed the template while nothing was going on, or made the Deployment anew: an
    // offer, or what `observe` tells. It is not fought.
    Stance::AsItIs
}

/// Which of the revisions that are to have pods is the new one: what was noted when it began, or
/// the one that has none yet.
fn candidate(
    deployment: &Deployment,
    runs: &[Run<'_>],
    wanted: &BTreeSet<Revision>,
) -> Option<Revision> {
    let noted = deployment.kept.candidate.map(Revision);
    if let Some(noted) = noted.filter(|it| wanted.contains(it)) {
        return Some(noted);
    }
    let wanted = runs.iter().filter(|it| wanted.contains(&it.revision));
    let candidate = wanted.max_by_key(|it| {
        let pods = it.pods();
        (
            pods == 0,
            pods > 0 && it.is_in(deployment),
            u32::MAX - pods,
            it.revision,
        )
    });
    candidate.map(|it| it.revision)
}
