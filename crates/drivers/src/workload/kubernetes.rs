//! A Deployment of somebody's, in place: the user's own object stays the source of truth.
//!
//! ```text
//!   Kubernetes (settings) ── read ──> view     the Deployment and its ReplicaSets
//!        │                            pods     its pods, as instances and problems
//!        │ observe                    runs     which ReplicaSet is which revision
//!        ├──> observed                count    between a plan's counts and pods
//!        │ ensure
//!        └──> desired, scales (pure) ──writes──> apply
//!      resolve, offered: content, image           release: what is given back
//!      configs, copies: the ConfigMaps and Secrets that count
//! ```
//!
//! At rest the Deployment is the user's: Kubernetes scales it, an autoscaler moves its replicas, and
//! nothing of ours is in its spec. While a rollout runs it is paused with strategy `Recreate`, and
//! both ReplicaSets are scaled here; the user's own settings are in an annotation meanwhile. At the
//! end it is given back and finds nothing to do. `docs/kubernetes-in-place.md` tells what the
//! controllers do, `docs/kubernetes.md` how it is used.
//!
//! A revision is a pod template. With `trigger: artifact` it is the live template with another
//! image; an edit past Sluice is Kubernetes' business, and is told as a problem. With `trigger:
//! template` the Deployment stays paused at rest, and an edit is an offer of a new revision.

mod apply;
mod configs;
mod content;
mod copies;
mod count;
mod desired;
mod holding;
mod image;
mod observed;
mod ops;
#[cfg(test)]
mod patch;
mod pods;
mod release;
mod runs;
mod scales;
mod settings;
mod stance;
mod stateful_set;
#[cfg(test)]
mod tests;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use rollout::{Revision, observation::RevisionStatus};
use serde_json::Value;

pub(crate) use self::settings::read_name;
pub use self::{
    configs::Configs,
    settings::{Kubernetes, Named, OnCannotStart, Trigger},
};
use self::{
    configs::{Found, Place},
    content::Content,
    pods::Pod,
    runs::{Run, runs},
    stateful_set::InPlace,
    view::{Deployment, Set},
};
use super::{
    Capabilities, Offer, ResolvedArtifact, RevisionSpec, Workload, WorkloadConfig, WorkloadTarget,
};
use crate::{
    AppKey, Cx, DriverError, NotifierConfig,
    kubernetes::{
        Cluster,
        kind::{DEPLOYMENT, REPLICA_SET},
        template,
    },
    notify::kubernetes_event::KubernetesEvent,
};

impl Kubernetes {
    async fn read_deployment(
        &self,
        cx: &Cx,
        app: &AppKey,
    ) -> Result<(Arc<Cluster>, Deployment), DriverError> {
        let cluster = cx.kubernetes.get(self.context.as_deref()).await?;
        let (namespace, name) = (&self.namespace, self.object.name());
        let found = cluster.get(app, &DEPLOYMENT, namespace, name).await?;
        let gone = |what: &str| {
            DriverError::permanent(
                format!("read Deployment {namespace}/{name}"),
                format!("{what}: what it ran is gone with it; make it again, or delete the app"),
            )
        };
        let object = found.ok_or_else(|| gone("there is no such Deployment"))?;
        match object.deleting {
            true => Err(gone("it is being deleted")),
            false => Ok((cluster, Deployment::read(object))),
        }
    }

    /// The driver of the StatefulSet, if it is one.
    fn stateful_set(&self) -> Option<InPlace<'_>> {
        match &self.object {
            Named::Deployment(_) => None,
            Named::StatefulSet(name) => Some(InPlace {
                settings: self,
                name,
            }),
        }
    }

    async fn read_sets(
        &self,
        cluster: &Cluster,
        app: &AppKey,
        deployment: &Deployment,
    ) -> Result<Vec<Set>, DriverError> {
        let uid = &deployment.object.uid;
        let sets = cluster.group(app, &REPLICA_SET, &self.namespace, uid);
        let name = app.to_string();
        let sets = sets.await?.into_iter();
        Ok(sets.map(|it| Set::read(it, &name)).collect())
    }

    /// All that there is, as it was last seen.
    async fn look(
        &self,
        cx: &Cx,
        app: &AppKey,
        revisions: &[RevisionSpec],
    ) -> Result<Look, DriverError> {
        let (cluster, deployment) = self.read_deployment(cx, app).await?;
        let place = self.configs_of(app, &cluster, &deployment);
        let found = place.find(revisions).await?;
        let sets = self.read_sets(&cluster, app, &deployment).await?;
        // Pods come and go with their ReplicaSets' counts.
        let alive = sets.iter().filter(|it| it.has_pods());
        let as_of: Vec<String> = alive
            .map(|it| format!("{}@{}", it.object.uid, it.object.resource_version))
            .collect();
        let query = deployment.query();
        let objects = cluster
            .pods(app, &self.namespace, &query, &as_of.join(" "))
            .await?;
        let container =
            Content::in_template(deployment.template.clone(), self.container.as_deref());
        let container = container.map(|it| it.container).unwrap_or_default();
        let read = |it: &Arc<_>| Pod::read(it, &container, self.on_cannot_start);
        Ok(Look {
            pods: objects.iter().map(read).collect(),
            cluster,
            deployment,
            sets,
            found,
        })
    }

    fn configs_of<'a>(
        &'a self,
        app: &'a AppKey,
        cluster: &'a Cluster,
        deployment: &'a Deployment,
    ) -> Place<'a> {
        Place {
            settings: self,
            app,
            cluster,
            deployment,
        }
    }

    /// Every revision must be of this Deployment: pods cannot be moved to another.
    fn refuse_moved(&self, revisions: &[RevisionSpec]) -> Result<(), DriverError> {
        for spec in revisions {
            let WorkloadConfig::Kubernetes(other) = &spec.workload else {
                continue;
            };
            if other.place() != self.place() {
                return Err(DriverError::permanent(
                    format!("run {}", spec.revision),
                    format!(
                        "it was made for {} {}/{}, others of this app for {} {}/{}: a rollout cannot move between them; make another app for the new one",
                        other.object.kind(),
                        other.namespace,
                        other.object.name(),
                        self.object.kind(),
                        self.namespace,
                        self.object.name()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The live template, as the user would write it.
    fn content(&self, deployment: &Deployment) -> Result<Content, String> {
        let plain = template::without_marks(&deployment.template);
        Content::in_template(plain, self.container.as_deref())
            .map_err(|error| format!("Deployment {}: {error}", deployment.name()))
    }
}

/// What is known for one pass.
#[derive(Debug)]
struct Look {
    cluster: Arc<Cluster>,
    deployment: Deployment,
    sets: Vec<Set>,
    pods: Vec<Pod>,
    found: Found,
}

#[async_trait]
impl Workload for Kubernetes {
    fn capabilities(&self) -> Capabilities {
        match self.object {
            Named::Deployment(_) => Capabilities { surge: true },
            Named::StatefulSet(_) => Capabilities { surge: false },
        }
    }

    async fn replicas(&self, cx: &Cx, app: &AppKey) -> Result<u32, DriverError> {
        if let Some(set) = self.stateful_set() {
            return set.replicas(cx, app).await;
        }
        let (_, deployment) = self.read_deployment(cx, app).await?;
        Ok(deployment.live())
    }

    async fn resolve(
        &self,
        cx: &Cx,
        app: &AppKey,
        artifact: &str,
        kept: Option<&Value>,
    ) -> Result<ResolvedArtifact, String> {
        image::check(artifact)?;
        if let Some(set) = self.stateful_set() {
            return set.resolve(cx, app, artifact, kept).await;
        }
        let read = self.read_deployment(cx, app).await;
        let (cluster, deployment) = read.map_err(|error| error.to_string())?;
        if deployment.live() == 0 {
            return Err(format!(
                "Deployment {} wants 0 pods, so there is nothing to bring out step by step: scale it up first",
                deployment.name()
            ));
        }
        let place = self.configs_of(app, &cluster, &deployment);
        let content = match kept {
            Some(kept) => {
                let content = Content::kept(kept, artifact)?;
                place.can_run(&content).await?;
                content
            }
            None => {
                let content = self.content(&deployment)?.with_image(artifact);
                place.filled_whole(content).await?
            }
        };
        Ok(content.resolved(artifact.to_owned()))
    }

    async fn offered(
        &self,
        cx: &Cx,
        app: &AppKey,
        known: &[RevisionSpec],
    ) -> Result<Option<Offer>, DriverError> {
        if let Some(set) = self.stateful_set() {
            return set.offered(cx, app, known).await;
        }
        let (cluster, deployment) = self.read_deployment(cx, app).await?;
        let operation = || format!("read the template of Deployment {}", deployment.name());
        let content = self.content(&deployment);
        let content = content.map_err(|error| DriverError::permanent(operation(), error))?;
        let asked = known.is_empty() || self.trigger == Trigger::Template;
        if !asked {
            return Ok(None);
        }
        let place = self.configs_of(app, &cluster, &deployment);
        let content = place.filled(content).await?;
        let sets = self.read_sets(&cluster, app, &deployment).await?;
        let is_ours = |it: &&RevisionSpec| matches!(it.workload, WorkloadConfig::Kubernetes(_));
        let known: Vec<RevisionSpec> = known.iter().filter(is_ours).cloned().collect();
        let runs = runs(&known, &sets, &deployment)?;
        let known = runs.iter().filter(|it| it.is_meant_by(&deployment));
        // What was made while that did not count is not made anew because it does now.
        let same = |it: &Run<'_>| it.configs.is_none() || it.configs == content.configs;
        if known.clone().any(same) {
            return Ok(None);
        }
        let Some(image) = content.image().map(str::to_owned) else {
            let detail = format!("container {} has no image", content.container);
            return Err(DriverError::permanent(operation(), detail));
        };
        Ok(Some(Offer {
            artifact: content.resolved(image),
            by: deployment.setter("spec.template").to_owned(),
        }))
    }

    async fn observe(
        &self,
        cx: &Cx,
        app: &AppKey,
        revisions: &[RevisionSpec],
        whole: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        self.refuse_moved(revisions)?;
        if let Some(set) = self.stateful_set() {
            return set.observe(cx, app, revisions, whole).await;
        }
        let look = self.look(cx, app, revisions).await?;
        self.observed(cx, app, &look, revisions, whole).await
    }

    async fn ensure(
        &self,
        cx: &Cx,
        app: &AppKey,
        target: &WorkloadTarget,
    ) -> Result<(), DriverError> {
        self.refuse_moved(&target.revisions)?;
        if let Some(set) = self.stateful_set() {
            return set.ensure(cx, app, target).await;
        }
        self.apply(cx, app, target).await
    }

    fn told_at(&self) -> Option<NotifierConfig> {
        match &self.object {
            Named::Deployment(name) => Some(NotifierConfig::KubernetesEvent(KubernetesEvent {
                context: self.context.clone(),
                namespace: self.namespace.clone(),
                deployment: name.clone(),
            })),
            Named::StatefulSet(_) => None,
        }
    }

    async fn release(&self, cx: &Cx, app: &AppKey, dry: bool) -> Result<Vec<String>, DriverError> {
        match self.stateful_set() {
            Some(set) => set.release(cx, app, dry).await,
            None => self.give_back(cx, app, dry).await,
        }
    }
}
