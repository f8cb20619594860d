//! Which ReplicaSet is which revision of an app: what the workload driver marks, and routers read.

use std::{collections::BTreeMap, sync::Arc};

use rollout::Revision;

use super::{Cluster, Object, kind::REPLICA_SET, template};
use crate::{AppKey, DriverError};

/// The annotation that says whose an object is: `project/app`. Deployments have it, and their
/// ReplicaSets.
pub const APP: &str = "sluice.dev/app";

/// The label of a ReplicaSet that says which revision it is: `2`. Labels, unlike annotations, are
/// not copied from a Deployment to its ReplicaSets, nor back by an undo of kubectl.
pub const REVISION: &str = "sluice.dev/revision";

/// The label by which Kubernetes tells the pods of one ReplicaSet from all others.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// The label by which Kubernetes tells the pods of one revision of a StatefulSet from all others: the
/// name of a ControllerRevision.
pub const REVISION_HASH: &str = "controller-revision-hash";

/// The `pod-template-hash` of each revision of `app` that has a ReplicaSet in `namespace`, with or
/// without pods. `app` is woken when one comes, changes or goes.
pub async fn hashes(
    cluster: &Cluster,
    namespace: &str,
    app: &AppKey,
) -> Result<BTreeMap<Revision, String>, DriverError> {
    let name = app.to_string();
    let sets = cluster.group(app, &REPLICA_SET, namespace, &name).await?;
    let hash = |set: &Object| Some((revision(set)?, set.labels.get(TEMPLATE_HASH)?.clone()));
    Ok(sets.iter().filter_map(|set| hash(set)).collect())
}

/// The pods of a StatefulSet, as long as something moves; at rest as they were last seen.
pub async fn pods_of(
    cluster: &Cluster,
    app: &AppKey,
    set: &Object,
) -> Result<Vec<Arc<Object>>, DriverError> {
    let selector = set.body().pointer("/spec/selector").cloned();
    let query = template::query(&selector.unwrap_or_default());
    // Its counts change whenever its pods do.
    let as_of = format!("{}@{}", set.uid, set.resource_version);
    let pods = cluster.pods(app, &set.namespace, &query, &as_of).await?;
    let owned = |it: &Arc<Object>| it.owner.as_ref().is_some_and(|it| it.uid == set.uid);
    Ok(pods.into_iter().filter(owned).collect())
}

/// The revision that a ReplicaSet or ControllerRevision is marked as.
pub fn revision(set: &Object) -> Option<Revision> {
    set.labels.get(REVISION)?.parse().ok().map(Revision)
}
