//! What exists of an app's revisions, counted as a plan counts.

use std::{collections::BTreeMap, time::Duration};

use rollout::{
    Revision,
    observation::{InstanceProblem, InstanceState, ProblemKind, RevisionStatus},
};
use serde_json::Value;

use super::{
    Kubernetes, Look, Trigger,
    count::Scale,
    pods::{Pod, excerpt},
    runs::{Run, runs},
    view::{Set, number},
};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{Cluster, references::Reference},
    workload::RevisionSpec,
};

/// Most problems that are told of a revision.
const PROBLEMS_MAX: usize = 20;

/// Most logs that are read for one look; one says what the others would.
const LOGS_MAX: usize = 2;

/// Most of a log that is read: its last lines.
const LOG_BYTES: usize = 4096;

/// Lines of it.
const LOG_LINES: usize = 5;

/// How long a log may take. The problem is told without it otherwise.
const LOG_WITHIN: Duration = Duration::from_secs(1);

impl Kubernetes {
    /// The status of each revision that has, or was told to have, pods.
    pub(super) async fn observed(
        &self,
        cx: &Cx,
        app: &AppKey,
        look: &Look,
        revisions: &[RevisionSpec],
        whole: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        let runs = runs(revisions, &look.sets, &look.deployment)?;
        let known = runs.iter().filter_map(|it| Some((it.revision, it.set?)));
        let mut found: BTreeMap<Revision, &Set> = known.collect();
        // Revisions that nobody asked for.
        for set in &look.sets {
            let run = |it: &&Set| it.uid() == set.uid();
            if let Some(revision) = set.revision.filter(|_| !found.values().any(run)) {
                found.entry(revision).or_insert(set);
            }
        }
        let mut meant = runs.iter().filter(|it| it.is_meant_by(&look.deployment));
        let otherwise: Option<Vec<_>> = meant.clone().map(|it| held_otherwise(look, it)).collect();
        let mut drift: Vec<InstanceProblem> = Vec::new();
        drift.extend(self.drift(look, meant.next()));
        // Of revisions that differ in nothing else, one holds what there is.
        drift.extend(otherwise.and_then(|mut it| it.pop()));
        let mut statuses = BTreeMap::new();
        for (revision, set) in found {
            let pods: Vec<&Pod> = look
                .pods
                .iter()
                .filter(|it| it.owner == set.uid())
                .collect();
            if pods.is_empty() && set.replicas == 0 && set.scale.is_none() {
                continue;
            }
            let mut status = status(look, set, &pods, whole);
            status.problems.extend(refused(set));
            let problems = self.problems(cx, app, &look.cluster, &pods).await;
            status.problems.extend(problems);
            statuses.insert(revision, status);
        }
        if let Some(spec) = revisions.first().filter(|_| !drift.is_empty()) {
            let status: &mut RevisionStatus = statuses.entry(spec.revision).or_default();
            status.problems.extend(drift);
        }
        Ok(statuses)
    }

    /// What was changed past Sluice, and is not asked of it.
    fn drift(&self, look: &Look, known: Option<&Run<'_>>) -> Option<InstanceProblem> {
        let deployment = &look.deployment;
        let name = deployment.name();
        let detail = if deployment.replicas == 0 && deployment.kept.replicas.is_none() {
            format!("Deployment {name} wants 0 pods: nothing runs until it is scaled up")
        } else if known.is_none() && !deployment.has_begun() && self.trigger == Trigger::Artifact {
            format!(
                "the pod template of Deployment {name} was changed past Sluice by {}, and {}: deploy what it says, or put the old one back",
                deployment.setter("spec.template"),
                match deployment.paused {
                    true => "no pod runs it yet",
                    false => "Kubernetes runs it",
                }
            )
        } else {
            return None;
        };
        Some(drift(detail))
    }

    /// What is wrong with pods, with the last words of some that ended.
    pub(super) async fn problems(
        &self,
        cx: &Cx,
        app: &AppKey,
        cluster: &Cluster,
        pods: &[&Pod],
    ) -> Vec<InstanceProblem> {
        let mut problems = Vec::new();
        let mut logs = 0;
        let mut troubled: Vec<&&Pod> = pods.iter().filter(|it| it.trouble.is_some()).collect();
        troubled.sort_by_key(|it| it.trouble.as_ref().is_none_or(|it| it.kind.can_heal()));
        for pod in troubled.into_iter().take(PROBLEMS_MAX) {
            let ended = pod.trouble.as_ref().and_then(|it| it.ended.as_ref());
            let log = match ended.filter(|_| logs < LOGS_MAX) {
                Some((container, previous)) => {
                    logs += 1;
                    let key = format!("{}/{}", pod.uid, pod.restarts);
                    let path = log_path(&self.namespace, &pod.name, container, *previous);
                    let read = last_words(cluster, &path);
                    Some(cx.kubernetes.text_once(app, &key, read).await)
                }
                None => None,
            };
            problems.extend(pod.problem(log.as_deref()));
        }
        problems
    }
}

/// What a ConfigMap or Secret holds now, and did not when the revision was made.
fn held_otherwise(look: &Look, run: &Run<'_>) -> Option<InstanceProblem> {
    let then = run.configs.as_ref()?;
    let changed =
        |(of, held): &(&Reference, &Option<String>)| look.found.live.get(*of) != Some(*held);
    let changed = then.iter().filter(changed);
    let names: Vec<String> = changed.map(|(of, _)| of.to_string()).collect();
    let what = match run.set.is_some_and(|it| it.is_isolated()) {
        true => "its pods go on reading what it was made with",
        false => "its pods were there before Sluice, and those that start now get what it holds",
    };
    let detail = format!(
        "{} changed since {} was made; {what}: deploy to bring it out",
        names.join(", "),
        run.revision
    );
    (!names.is_empty()).then(|| drift(detail))
}

/// Something that was changed past Sluice.
pub(super) fn drift(detail: String) -> InstanceProblem {
    InstanceProblem {
        kind: ProblemKind::Drift,
        instance: None,
        detail,
    }
}

fn status(look: &Look, set: &Set, pods: &[&Pod], whole: u32) -> RevisionStatus {
    let live = look.deployment.live();
    let count = |wanted: fn(InstanceState) -> bool| {
        let count = pods.iter().filter(|it| wanted(it.state)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let scale = set.scale.unwrap_or(Scale {
        count: set.replicas,
        whole: live.max(1),
    });
    let mut ready = count(|it| it == InstanceState::Ready);
    if look.deployment.min_ready_seconds.is_some_and(|it| it > 0) {
        // Ready for long enough, as its controller counts.
        let available = number(&set.status, "/availableReplicas").unwrap_or(0);
        ready = ready.min(u32::try_from(available).unwrap_or(u32::MAX));
    }
    // Pods beyond what is wanted are being stopped, whether they show it yet or not.
    ready = ready.min(set.replicas);
    let total = count(|it| it != InstanceState::Exited);
    let others = look.sets.iter().filter(|it| it.uid() != set.uid());
    let alone = others.map(|it| it.replicas).all(|it| it == 0);
    let total = match alone && set.replicas == live && total <= live {
        // The controller holds the only one at all pods: a part of them is not to be had.
        true => scale.taken(total, live, whole).min(scale.of(whole)),
        false => scale.taken(total, live, whole),
    };
    RevisionStatus {
        desired: scale.of(whole),
        total,
        ready: scale.counted(ready, live, whole),
        instances: pods.iter().map(|it| it.instance()).collect(),
        problems: Vec::new(),
    }
}

/// Why no pods are made, as the ReplicaSet's controller says.
fn refused(set: &Set) -> Option<InstanceProblem> {
    let conditions = set.status.get("conditions")?.as_array()?;
    let failure = conditions.iter().find(|it| {
        it.get("type") == Some(&Value::from("ReplicaFailure"))
            && it.get("status") == Some(&Value::from("True"))
    })?;
    let message = failure.get("message").and_then(Value::as_str);
    Some(InstanceProblem {
        kind: ProblemKind::NotAdmitted,
        instance: None,
        detail: format!(
            "pods of {} cannot be made: {}",
            set.object.name,
            excerpt(message.unwrap_or_default())
        ),
    })
}

fn log_path(namespace: &str, pod: &str, container: &str, previous: bool) -> String {
    format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={previous}&tailLines={LOG_LINES}&limitBytes={LOG_BYTES}"
    )
}

/// The end of a log; nothing when it cannot be had.
async fn last_words(cluster: &Cluster, path: &str) -> String {
    let read = tokio::time::timeout(LOG_WITHIN, cluster.text("read a log", path)).await;
    match read {
        Ok(Ok(log)) => excerpt(&log),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}
