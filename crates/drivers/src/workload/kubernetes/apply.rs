//! Makes the writes that are desired: the thin shell around `desired`.

use std::sync::Arc;

use super::{
    Kubernetes, Look,
    desired::{World, Write, desired},
};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{
        Change, Failure, Kind, Object, RequestError,
        kind::{DEPLOYMENT, REPLICA_SET},
    },
    workload::WorkloadTarget,
};

/// How often it is decided anew within one call: after each round of writes, and after a conflict.
/// Controllers write the same objects, so conflicts are nothing unusual.
const ROUNDS: usize = 5;

/// A write that was not made.
#[derive(Debug)]
struct Unwritten {
    error: DriverError,
    /// The object that was not any more as the write took it to be.
    changed: Option<(&'static Kind, Arc<Object>)>,
}

impl Unwritten {
    fn new(error: RequestError, object: Option<(&'static Kind, &Arc<Object>)>) -> Self {
        let changed = match error.failure {
            Failure::Conflict | Failure::NotFound => object,
            Failure::Exists
            | Failure::Fenced
            | Failure::Expired
            | Failure::Forbidden
            | Failure::Unauthorized
            | Failure::Invalid
            | Failure::TooMany
            | Failure::Unknown => None,
        };
        Self {
            error: error.into(),
            changed: changed.map(|(kind, object)| (kind, Arc::clone(object))),
        }
    }
}

impl Kubernetes {
    /// Writes until nothing is left to write, or what is left follows only from what the writes
    /// bring about.
    pub(super) async fn apply(
        &self,
        cx: &Cx,
        app: &AppKey,
        target: &WorkloadTarget,
    ) -> Result<(), DriverError> {
        let name = app.to_string();
        let mut last = None;
        for _ in 0..ROUNDS {
            let look = self.look(cx, app, &target.revisions).await?;
            let world = World {
                app: &name,
                trigger: self.trigger,
                deployment: &look.deployment,
                sets: &look.sets,
                pods: &look.pods,
                found: &look.found,
            };
            let mut writes = desired(&world, target)?;
            if writes.is_empty() {
                return Ok(());
            }
            sign_first(&look, target.epoch, &mut writes);
            note_fights(cx, app, &look, &writes)?;
            last = None;
            for write in writes {
                let written = self.write(app, &look, target.epoch, write).await;
                if let Err(unwritten) = written {
                    last = Some(decided_anew(app, &look, unwritten).await?);
                    break;
                }
            }
        }
        last.map_or(Ok(()), Err)
    }

    async fn write(
        &self,
        app: &AppKey,
        look: &Look,
        epoch: i64,
        write: Write,
    ) -> Result<(), Unwritten> {
        let cluster = &look.cluster;
        let (kind, object, operations) = match write {
            Write::Create { manifest } => {
                let made = cluster.create(&REPLICA_SET, &self.namespace, epoch, manifest);
                let made = made.await.map(drop);
                return made.map_err(|error| Unwritten::new(error, None));
            }
            Write::Copy(copy) => {
                let place = self.configs_of(app, cluster, &look.deployment);
                let copied = place.copy(&copy, epoch).await;
                return copied.map_err(|error| Unwritten {
                    error,
                    changed: None,
                });
            }
            Write::Forget(copy) => {
                let Some(object) = look.found.copies.get(&copy) else {
                    return Ok(());
                };
                let kind = copy.kind.kind();
                let deleted = cluster.delete(kind, object, epoch).await;
                return deleted.map_err(|error| Unwritten::new(error, Some((kind, object))));
            }
            Write::Deployment { operations, .. } => {
                (&DEPLOYMENT, &look.deployment.object, operations)
            }
            Write::Set { name, operations } => {
                let Some(set) = look.sets.iter().find(|it| it.object.name == name) else {
                    return Ok(());
                };
                (&REPLICA_SET, &set.object, operations)
            }
        };
        let patched = cluster.patch(kind, object, epoch, Change::Json(operations));
        let patched = patched.await.map(drop);
        patched.map_err(|error| Unwritten::new(error, Some((kind, object))))
    }
}

/// Waits for what the write ran into, so that it can be decided anew. The error, if that does not
/// help; at once where it cannot.
async fn decided_anew(
    app: &AppKey,
    look: &Look,
    unwritten: Unwritten,
) -> Result<DriverError, DriverError> {
    let Unwritten { error, changed } = unwritten;
    let seen = match &changed {
        Some((kind, object)) => look.cluster.moved_on(app, kind, object).await,
        None => false,
    };
    match seen {
        true => Ok(error),
        false => Err(error),
    }
}

/// The controller copies the Deployment's annotations to the candidate's ReplicaSet, the epoch as well.
/// So a new owner signs the Deployment before it writes a ReplicaSet, or the old epoch would come back
/// there, and with it whoever holds that.
fn sign_first(look: &Look, epoch: i64, writes: &mut Vec<Write>) {
    let deployment = &look.deployment;
    let signed = deployment.object.epoch() == Some(epoch);
    let written = writes
        .iter()
        .any(|it| matches!(it, Write::Deployment { .. }));
    if deployment.has_begun() && !signed && !written {
        let signature = Write::Deployment {
            operations: Vec::new(),
            again: Vec::new(),
        };
        writes.insert(0, signature);
    }
}

/// A field that somebody else keeps changing is not written for ever.
fn note_fights(cx: &Cx, app: &AppKey, look: &Look, writes: &[Write]) -> Result<(), DriverError> {
    let object = &look.deployment.object;
    for write in writes {
        let again = match write {
            Write::Deployment { again, .. } => again.as_slice(),
            Write::Create { .. } | Write::Copy(_) | Write::Forget(_) | Write::Set { .. } => &[],
        };
        for field in again {
            cx.kubernetes.again(app, "Deployment", object, field)?;
        }
    }
    Ok(())
}
