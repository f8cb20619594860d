//! What exists of the revisions of a StatefulSet, counted as a plan counts.

use std::collections::BTreeMap;

use rollout::{
    Revision,
    observation::{InstanceState, RevisionStatus},
};

use super::{InPlace, Look, desired::members_of, runs::runs, view::Member};
use crate::{
    AppKey, Cx, DriverError,
    workload::{
        RevisionSpec,
        kubernetes::{count::Scale, observed::drift, pods::Pod},
    },
};

impl InPlace<'_> {
    /// The status of each revision that has pods, or is to have some.
    pub(super) async fn observed(
        &self,
        cx: &Cx,
        app: &AppKey,
        look: &Look,
        revisions: &[RevisionSpec],
        whole: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        let runs = runs(revisions, &look.set, &look.history)?;
        let name = app.to_string();
        let world = look.world(&name);
        let known = runs.iter().map(|it| it.revision);
        let marked = look.history.iter().filter_map(|it| it.revision);
        let all: std::collections::BTreeSet<Revision> = known.chain(marked).collect();
        let mut statuses = BTreeMap::new();
        for revision in all {
            let members: Vec<&Member> = members_of(&world, &runs, revision).collect();
            if members.is_empty() {
                continue;
            }
            let mut status = status(look, revision, &members, whole);
            let pods: Vec<&Pod> = members.iter().map(|it| &it.pod).collect();
            let problems = self.settings.problems(cx, app, &look.cluster, &pods);
            status.problems = problems.await;
            statuses.insert(revision, status);
        }
        let set = &look.set;
        let is_known = runs.iter().any(|it| it.is_in(set));
        if let Some(spec) = revisions.first().filter(|_| !is_known && !set.has_begun()) {
            let status: &mut RevisionStatus = statuses.entry(spec.revision).or_default();
            status.problems.push(drift(format!(
                "the pod template of StatefulSet {} was changed past Sluice by {}, and Kubernetes runs it: deploy what it says, or put the old one back",
                set.name(),
                set.setter("spec.template")
            )));
        }
        Ok(statuses)
    }
}

fn status(look: &Look, revision: Revision, members: &[&Member], whole: u32) -> RevisionStatus {
    let set = &look.set;
    let live = set.live();
    let count = |wanted: fn(InstanceState) -> bool| {
        let count = members.iter().filter(|it| wanted(it.pod.state)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let asked = match set.candidate() {
        None => live,
        Some(candidate) if candidate == revision => live - set.below(),
        Some(_) => set.below(),
    };
    let scale = Scale {
        count: asked,
        whole: live,
    };
    let total = count(|it| it != InstanceState::Exited);
    RevisionStatus {
        desired: scale.of(whole),
        total: scale.taken(total, live, whole),
        ready: scale.counted(count(|it| it == InstanceState::Ready), live, whole),
        instances: members.iter().map(|it| it.pod.instance()).collect(),
        problems: Vec::new(),
    }
}
