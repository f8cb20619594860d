//! Which ReplicaSet a revision runs as, and from which template.

use rollout::Revision;
use serde_json::Value;

use super::{
    content::{self, Content, Digests},
    view::{Deployment, Set},
};
use crate::{
    DriverError,
    kubernetes::{references::Copies, template},
    workload::RevisionSpec,
};

/// How one revision runs.
#[derive(Debug, Clone)]
pub(super) struct Run<'a> {
    pub(super) revision: Revision,
    /// What its pods are made from.
    pub(super) template: Value,
    /// What its pods read instead of what that template names.
    pub(super) copies: Copies,
    /// What was held there when the revision was made; `None`: that does not count.
    pub(super) configs: Option<Digests>,
    /// Of that template, as it was kept.
    digest: String,
    /// The same without a mark of ours.
    plain: String,
    /// Its ReplicaSet, if there is one.
    pub(super) set: Option<&'a Set>,
}

impl Run<'_> {
    /// Whether the Deployment's template is this one.
    ///
    /// Templates that were read at the same time are compared exactly. One that was kept is older: the
    /// API server may have added fields when it was written again, with defaults of a newer version.
    pub(super) fn is_in(&self, deployment: &Deployment) -> bool {
        let was_written =
            deployment.has_begun() && deployment.kept.candidate == Some(self.revision.0);
        match self.set {
            Some(set) => set.digest == deployment.digest,
            None if was_written => template::contains(&deployment.template, &self.template),
            None => self.digest == deployment.digest,
        }
    }

    /// Whether the Deployment's template says what it says, marks of ours aside.
    pub(super) fn is_meant_by(&self, deployment: &Deployment) -> bool {
        self.is_in(deployment) || self.plain == deployment.digest
    }

    /// The pods that are wanted of it now.
    pub(super) fn pods(&self) -> u32 {
        self.set.map_or(0, |it| it.replicas)
    }
}

/// Finds the ReplicaSet of each revision: the one that is marked as it, or else one with its
/// template that is nobody's. Equal templates are one ReplicaSet for Kubernetes; where two
/// revisions that both live have the same, the newer one's template gets a mark of its own.
///
/// Pods that read ConfigMaps and Secrets themselves go on running where copies are wanted; new ones
/// are made by another ReplicaSet.
pub(super) fn runs<'a>(
    specs: &[RevisionSpec],
    sets: &'a [Set],
    deployment: &Deployment,
) -> Result<Vec<Run<'a>>, DriverError> {
    let suits = |set: &Set, copies: &Copies| match set.is_isolated() {
        true => set.copies == *copies,
        false => copies.is_empty() || set.replicas > 0,
    };
    let marked = |revision, copies: &Copies| {
        let sets = sets.iter().filter(|it| it.revision == Some(revision));
        let sets = sets.filter(|it| suits(it, copies));
        sets.max_by_key(|it| it.replicas)
    };
    let is_known = |revision| specs.iter().any(|it| it.revision == revision);
    let is_free = |set: &Set| match set.revision {
        None => true,
        Some(revision) => !is_known(revision) && set.replicas == 0,
    };
    let mut runs: Vec<Run<'a>> = Vec::new();
    for spec in specs {
        let content = Content::of(spec)?;
        let copies = content.copies(&deployment.object.uid);
        let plain = content.template;
        let digest = template::digest(&plain);
        let equal = sets.iter().filter(|it| it.digest == digest);
        let taken = |set: &Set| {
            runs.iter()
                .any(|it| it.set.is_some_and(|it| it.uid() == set.uid()))
        };
        let free = || {
            let free = equal.clone().filter(|it| is_free(it) && !taken(it));
            let free = free.filter(|it| suits(it, &copies));
            free.max_by_key(|it| it.replicas)
        };
        let set = marked(spec.revision, &copies).or_else(free);
        let alone = match set {
            Some(set) => set.digest == digest,
            None => {
                let planned = runs.iter().any(|it| it.digest == digest);
                !planned && equal.clone().next().is_none()
            }
        };
        let template = match alone {
            true => plain,
            false => content::marked(&plain, spec.revision),
        };
        runs.push(Run {
            revision: spec.revision,
            digest: template::digest(&template),
            plain: digest,
            template,
            copies,
            configs: content.configs,
            set,
        });
    }
    Ok(runs)
}

/// The revision that the Deployment's template is.
pub(super) fn in_template(runs: &[Run<'_>], deployment: &Deployment) -> Option<Revision> {
    runs.iter()
        .find(|it| it.is_in(deployment))
        .map(|it| it.revision)
}
