//! A StatefulSet of somebody's, in place: its controller replaces pods, we say which.
//!
//! ```text
//!   pods 0 … p-1        the revision that was there
//!   pods p … n-1        the one in `spec.template`            p: spec.updateStrategy.rollingUpdate.partition
//! ```
//!
//! At rest strategy and template are the user's own. While a rollout runs the template is the
//! candidate's, and the partition goes down step by step; the user's own strategy is in an annotation
//! meanwhile. A pod is replaced where it is: there is no second set beside the first, so a share of
//! the traffic is what the numbers of pods make.
//!
//! On the way back the partition goes up first. That alone moves no pod, and the controller waits for
//! a broken one before it does anything else (it never will be ready): so the candidate's pods are
//! deleted here, one after the other, and come back as what they were. Only then does the template
//! become stable's again, which finds nothing to do.

mod desired;
mod observed;
mod release;
mod runs;
#[cfg(test)]
mod tests;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use rollout::{Revision, observation::RevisionStatus};
use serde_json::Value;

use self::{
    desired::{World, Write, desired},
    view::{History, Member, StatefulSet},
};
use super::{Kubernetes, content::Content, pods::Pod};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{
        Change, Cluster, Failure, Object, RequestError,
        kind::{CONTROLLER_REVISION, POD, STATEFUL_SET},
        revisions, template,
    },
    workload::{Offer, ResolvedArtifact, RevisionSpec, WorkloadConfig, WorkloadTarget},
};

/// How often it is decided anew within one call.
const ROUNDS: usize = 5;

/// The driver of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct InPlace<'a> {
    pub(super) settings: &'a Kubernetes,
    pub(super) name: &'a str,
}

/// What is known for one pass.
#[derive(Debug)]
struct Look {
    cluster: Arc<Cluster>,
    set: StatefulSet,
    history: Vec<History>,
    members: Vec<Member>,
}

impl InPlace<'_> {
    async fn read(
        &self,
        cx: &Cx,
        app: &AppKey,
    ) -> Result<(Arc<Cluster>, StatefulSet), DriverError> {
        let (namespace, name) = (&self.settings.namespace, self.name);
        let cluster = cx.kubernetes.get(self.settings.context.as_deref()).await?;
        let found = cluster.get(app, &STATEFUL_SET, namespace, name).await?;
        match found.filter(|it| !it.deleting) {
            Some(object) => Ok((cluster, StatefulSet::read(object))),
            None => Err(DriverError::permanent(
                format!("read StatefulSet {namespace}/{name}"),
                "there is none, or it is being deleted: make it again, or delete the app",
            )),
        }
    }

    async fn look(&self, cx: &Cx, app: &AppKey) -> Result<Look, DriverError> {
        let (cluster, set) = self.read(cx, app).await?;
        let (namespace, uid) = (&self.settings.namespace, &set.object.uid);
        let history = cluster
            .group(app, &CONTROLLER_REVISION, namespace, uid)
            .await?;
        let name = app.to_string();
        let history = history.into_iter().map(|it| History::read(it, &name));
        let history = history.collect();
        let pods = revisions::pods_of(&cluster, app, &set.object).await?;
        let container = self.content(&set).map(|it| it.container);
        let container = container.unwrap_or_default();
        let policy = self.settings.on_cannot_start;
        let member = |object: Arc<Object>| {
            let pod = Pod::read(&object, &container, policy);
            Member::read(pod, object)
        };
        Ok(Look {
            members: pods.into_iter().filter_map(member).collect(),
            cluster,
            set,
            history,
        })
    }

    /// The live template, as the user would write it.
    fn content(&self, set: &StatefulSet) -> Result<Content, String> {
        let plain = template::without_marks(&set.template);
        Content::in_template(plain, self.settings.container.as_deref())
            .map_err(|error| format!("StatefulSet {}: {error}", set.name()))
    }

    pub(super) async fn replicas(&self, cx: &Cx, app: &AppKey) -> Result<u32, DriverError> {
        let (_, set) = self.read(cx, app).await?;
        Ok(set.live())
    }

    pub(super) async fn resolve(
        &self,
        cx: &Cx,
        app: &AppKey,
        artifact: &str,
        kept: Option<&Value>,
    ) -> Result<ResolvedArtifact, String> {
        let (_, set) = self.read(cx, app).await.map_err(|it| it.to_string())?;
        if set.live() == 0 {
            return Err(format!(
                "StatefulSet {} wants 0 pods, so there is nothing to bring out step by step: scale it up first",
                set.name()
            ));
        }
        let content = match kept {
            Some(kept) => Content::kept(kept, artifact)?,
            None => self.content(&set)?.with_image(artifact),
        };
        Ok(content.resolved(artifact.to_owned()))
    }

    /// What runs before Sluice comes. Edits after that are Kubernetes' business.
    pub(super) async fn offered(
        &self,
        cx: &Cx,
        app: &AppKey,
        known: &[RevisionSpec],
    ) -> Result<Option<Offer>, DriverError> {
        let is_ours = |it: &RevisionSpec| matches!(it.workload, WorkloadConfig::Kubernetes(_));
        if known.iter().any(is_ours) {
            return Ok(None);
        }
        let (_, set) = self.read(cx, app).await?;
        let operation = || format!("adopt StatefulSet {}", set.name());
        if set.current != set.update {
            let detail = "Kubernetes is rolling it out, or its own partition keeps two revisions: let that end first";
            return Err(DriverError::transient(operation(), detail));
        }
        let content = self.content(&set);
        let content = content.map_err(|error| DriverError::permanent(operation(), error))?;
        let Some(image) = content.image().map(str::to_owned) else {
            let detail = format!("container {} has no image", content.container);
            return Err(DriverError::permanent(operation(), detail));
        };
        Ok(Some(Offer {
            artifact: content.resolved(image),
            by: set.setter("spec.template").to_owned(),
        }))
    }

    pub(super) async fn observe(
        &self,
        cx: &Cx,
        app: &AppKey,
        revisions: &[RevisionSpec],
        whole: u32,
    ) -> Result<BTreeMap<Revision, RevisionStatus>, DriverError> {
        let look = self.look(cx, app).await?;
        self.observed(cx, app, &look, revisions, whole).await
    }

    /// Writes until nothing is left to write, or what is left follows only from what the writes
    /// bring about.
    pub(super) async fn ensure(
        &self,
        cx: &Cx,
        app: &AppKey,
        target: &WorkloadTarget,
    ) -> Result<(), DriverError> {
        let name = app.to_string();
        let mut last = None;
        for _ in 0..ROUNDS {
            let look = self.look(cx, app).await?;
            let writes = desired(&look.world(&name), target)?;
            if writes.is_empty() {
                return Ok(());
            }
            last = None;
            for write in writes {
                if let Write::Set { again, .. } = &write {
                    for field in again {
                        cx.kubernetes
                            .again(app, "StatefulSet", &look.set.object, field)?;
                    }
                }
                let ends = matches!(write, Write::Remove { .. });
                if let Err(error) = look.write(write, target.epoch).await {
                    last = Some(look.decided_anew(app, error).await?);
                    break;
                }
                // The pod that follows is to be seen first.
                if ends {
                    return Ok(());
                }
            }
        }
        last.map_or(Ok(()), Err)
    }
}

impl Look {
    fn world<'a>(&'a self, app: &'a str) -> World<'a> {
        World {
            app,
            set: &self.set,
            history: &self.history,
            members: &self.members,
        }
    }

    async fn write(&self, write: Write, epoch: i64) -> Result<(), RequestError> {
        match write {
            Write::Set { operations, .. } => {
                let change = Change::Json(operations);
                let object = &self.set.object;
                let patched = self.cluster.patch(&STATEFUL_SET, object, epoch, change);
                patched.await.map(drop)
            }
            Write::Mark { name, operations } => {
                let Some(of) = self.history.iter().find(|it| it.object.name == name) else {
                    return Ok(());
                };
                let change = Change::Json(operations);
                let patched = self
                    .cluster
                    .patch(&CONTROLLER_REVISION, &of.object, epoch, change);
                patched.await.map(drop)
            }
            Write::Remove { name } => {
                let Some(member) = self.members.iter().find(|it| it.pod.name == name) else {
                    return Ok(());
                };
                let deleted = self.cluster.delete(&POD, &member.object, epoch).await;
                match deleted {
                    // Its status moved on meanwhile, which wakes the next pass.
                    Err(error) if error.failure == Failure::Conflict => Ok(()),
                    other => other,
                }
            }
        }
    }

    /// Waits for what a write ran into. The error, if that does not help.
    async fn decided_anew(
        &self,
        app: &AppKey,
        error: RequestError,
    ) -> Result<DriverError, DriverError> {
        let object = &self.set.object;
        match error.failure == Failure::Conflict
            && self.cluster.moved_on(app, &STATEFUL_SET, object).await
        {
            true => Ok(error.into()),
            false => Err(error.into()),
        }
    }
}
