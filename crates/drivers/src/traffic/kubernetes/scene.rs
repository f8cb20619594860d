//! What every router of Kubernetes reads: the user's Service, what is behind it, and the revisions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rollout::Revision;
use serde_json::Value;
use uuid::Uuid;

use super::{
    endpoints::Endpoints,
    pair::{Backend, Selects},
    selection::{self, Mark, Selection},
    settings::Where,
};
use crate::{
    AppKey, Cx, DriverError,
    kubernetes::{
        Change, Cluster, Kind, Object,
        kind::{CONTROLLER_REVISION, ENDPOINT_SLICE, REPLICA_SET, SERVICE, STATEFUL_SET},
        revisions,
    },
};

/// How long endpoints must have been the same before a share is given to them, at most and at least.
/// Gateways read routes and endpoints by separate watches; one that learns of the share first answers
/// with errors.
const SETTLED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(100));

/// A gateway that was seen to take a route within a time is taken to know endpoints after so many
/// times as long: it is the same process, with the same API server, and the time was there and back.
const SETTLED_PER_TAKEN: u32 = 2;

/// Longest base of a name that the API server makes by adding five characters.
const GENERATED_BASE_MAX: usize = 58;

/// How long endpoints must have been the same, for a gateway that took a route within `taken`;
/// `None`: it was not seen to take one.
pub(in crate::traffic) fn settled_after(taken: Option<Duration>) -> Duration {
    let (most, least) = SETTLED;
    taken.map_or(most, |it| (it * SETTLED_PER_TAKEN).clamp(least, most))
}

/// Where an app's Services are.
#[derive(Debug)]
pub(in crate::traffic) struct Place<'a> {
    pub(in crate::traffic) cx: &'a Cx,
    pub(in crate::traffic) app: &'a AppKey,
    pub(in crate::traffic) cluster: Arc<Cluster>,
    pub(in crate::traffic) namespace: &'a str,
}

/// The revisions of an app, as its ReplicaSets say, or else its ControllerRevisions.
#[derive(Debug, Default)]
pub(in crate::traffic) struct Revisions {
    /// How the pods of each are told apart.
    pub(in crate::traffic) marks: BTreeMap<Revision, Mark>,
    /// Those that have pods or shall have some.
    pub(in crate::traffic) alive: BTreeSet<Revision>,
    sets: BTreeMap<String, Revision>,
    /// Pods whose names do not say it.
    pods: BTreeMap<String, Revision>,
}

/// A Service and what is behind it.
#[derive(Debug)]
pub(in crate::traffic) struct Service {
    pub(in crate::traffic) object: Arc<Object>,
    pub(in crate::traffic) endpoints: Endpoints,
}

impl<'a> Place<'a> {
    pub(in crate::traffic) async fn of(
        cx: &'a Cx,
        app: &'a AppKey,
        at: &'a Where,
    ) -> Result<Self, DriverError> {
        Ok(Self {
            cx,
            app,
            cluster: cx.kubernetes.get(at.context.as_deref()).await?,
            namespace: &at.namespace,
        })
    }

    /// The name of something here, for people and as a key.
    pub(in crate::traffic) fn name(&self, kind: &str, name: &str) -> String {
        format!("{kind} {}/{name}", self.namespace)
    }

    pub(in crate::traffic) async fn revisions(&self) -> Result<Revisions, DriverError> {
        let group = self.app.to_string();
        let (cluster, app) = (&self.cluster, self.app);
        let sets = cluster.group(app, &REPLICA_SET, self.namespace, &group);
        let sets = sets.await?;
        if !sets.is_empty() {
            return Ok(Revisions::read(sets.iter().map(AsRef::as_ref)));
        }
        let history = cluster.group(app, &CONTROLLER_REVISION, self.namespace, &group);
        let history = history.await?;
        let Some(owner) = history.iter().find_map(|it| it.owner.as_ref()) else {
            return Ok(Revisions::default());
        };
        let set = cluster.get(app, &STATEFUL_SET, self.namespace, &owner.name);
        let pods = match set.await? {
            Some(set) => revisions::pods_of(cluster, app, &set).await?,
            None => Vec::new(),
        };
        Ok(Revisions::in_place(&history, &pods))
    }

    pub(in crate::traffic) async fn service(
        &self,
        name: &str,
        revisions: &Revisions,
    ) -> Result<Option<Service>, DriverError> {
        let (cluster, app) = (&self.cluster, self.app);
        let slices = cluster.group(app, &ENDPOINT_SLICE, self.namespace, name);
        let slices = slices.await?;
        let object = cluster.get(app, &SERVICE, self.namespace, name).await?;
        Ok(object.map(|object| Service {
            object,
            endpoints: Endpoints::read(slices.iter().map(AsRef::as_ref), |it| revisions.of_pod(it)),
        }))
    }

    /// The user's Service, which must be there and have pods of its own.
    pub(in crate::traffic) async fn own(
        &self,
        name: &str,
        revisions: &Revisions,
    ) -> Result<Service, DriverError> {
        let named = self.name("Service", name);
        let refused = |why: &str| DriverError::permanent(format!("use {named}"), why);
        let service = self.service(name, revisions).await?;
        let service = service.ok_or_else(|| {
            refused("there is none; `service` names the one that the route sends to")
        })?;
        match selection::unfit(&service.object) {
            Some(why) => Err(refused(why)),
            None => Ok(service),
        }
    }

    /// What the rules of two Services need to know of one of them. `settled_after`: from then on its
    /// endpoints are known everywhere.
    pub(in crate::traffic) fn backend(
        &self,
        service: &Service,
        revisions: &Revisions,
        settled_after: Duration,
    ) -> Backend {
        let key = self.name("endpoints of Service", &service.object.name);
        let names: Vec<&str> = service.endpoints.names().collect();
        let steady = self.cluster.notes().steady_for(&key, &names.join(" "));
        let selects = match Selection::of(&service.object) {
            Selection::Everything => Selects::Everything,
            Selection::Only(mark) => revisions
                .of_mark(&mark)
                .map_or(Selects::Nobody, Selects::One),
        };
        let stamp = service.endpoints.stamp.as_ref();
        Backend {
            selects,
            shown: stamp.is_some_and(|it| selection::is_stamped(&service.object, it.as_deref())),
            ready: service.endpoints.ready(),
            strangers: service.endpoints.strangers(),
            settled: steady >= settled_after,
        }
    }

    /// Wakes the app after a time in which nothing is told.
    pub(in crate::traffic) fn wake_after(&self, time: Duration) {
        let (wake, app) = (self.cx.wake.clone(), self.app.clone());
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            wake.wake(&app);
        });
    }

    /// Points the user's Service at these pods.
    pub(in crate::traffic) async fn select(
        &self,
        service: &Object,
        selection: &Selection,
        epoch: i64,
    ) -> Result<(), DriverError> {
        match selection.change(service, &stamp()) {
            Some(change) => self.write_service(service, change, epoch).await,
            None => Ok(()),
        }
    }

    /// Makes the Service beside the user's.
    pub(in crate::traffic) async fn create_beside(
        &self,
        own: &Object,
        name: &str,
        mark: &Mark,
        epoch: i64,
    ) -> Result<(), DriverError> {
        let manifest = selection::beside(own, name, mark, &stamp());
        let created = self
            .cluster
            .create(&SERVICE, self.namespace, epoch, manifest);
        created.await?;
        Ok(())
    }

    /// Brings the Service beside the user's up to date. True when there was something to do.
    pub(in crate::traffic) async fn follow(
        &self,
        own: &Object,
        other: &Object,
        mark: &Mark,
        epoch: i64,
    ) -> Result<bool, DriverError> {
        let Some(change) = selection::beside_change(own, other, mark, &stamp()) else {
            return Ok(false);
        };
        self.write_service(other, change, epoch).await?;
        Ok(true)
    }

    async fn write_service(
        &self,
        service: &Object,
        change: Value,
        epoch: i64,
    ) -> Result<(), DriverError> {
        let (key, notes) = (self.name("Service", &service.name), self.cluster.notes());
        if notes.is_undone(&key, &state(service)) {
            self.again(&SERVICE, service, "spec.selector")?;
        }
        let written = self
            .cluster
            .patch(&SERVICE, service, epoch, Change::Merge(change));
        notes.note_written(&key, &state(written.await?.as_ref()));
        Ok(())
    }

    /// Refuses to write once more what somebody undoes all the time.
    pub(in crate::traffic) fn again(
        &self,
        kind: &Kind,
        object: &Object,
        claim: &str,
    ) -> Result<(), DriverError> {
        self.cx.kubernetes.again(self.app, kind.kind, object, claim)
    }

    /// Until then no revision may get its first pod.
    pub(in crate::traffic) fn fence_waits(&self, service: &str, until: &str) -> DriverError {
        DriverError::pending(format!("narrow {}", self.name("Service", service)), until)
    }
}

/// What is ours in a Service.
fn state(service: &Object) -> String {
    format!("{:?}", Selection::of(service))
}

/// A stamp that no selector has had.
fn stamp() -> String {
    Uuid::now_v7().simple().to_string()
}

impl Revisions {
    fn read<'a>(sets: impl Iterator<Item = &'a Object>) -> Self {
        let mut revisions = Self::default();
        for set in sets {
            let hash = set.labels.get(revisions::TEMPLATE_HASH);
            let (Some(revision), Some(hash)) = (revisions::revision(set), hash) else {
                continue;
            };
            revisions.marks.insert(revision, Mark::template(hash));
            let base: String = format!("{}-", set.name)
                .chars()
                .take(GENERATED_BASE_MAX)
                .collect();
            revisions.sets.insert(base, revision);
            let body = set.body();
            let count = |pointer| {
                body.pointer(pointer)
                    .and_then(Value::as_u64)
                    .unwrap_or_default()
            };
            if count("/spec/replicas") > 0 || count("/status/replicas") > 0 {
                revisions.alive.insert(revision);
            }
        }
        revisions
    }

    /// Of a workload that replaces each pod in its place: its pods have the same names whatever they
    /// are made from.
    fn in_place(history: &[Arc<Object>], pods: &[Arc<Object>]) -> Self {
        let mut revisions = Self::default();
        for object in history {
            let Some(revision) = revisions::revision(object) else {
                continue;
            };
            let mark = Mark::revision(&object.name);
            for pod in pods {
                if pod.labels.get(&mark.key) == Some(&mark.value) {
                    revisions.alive.insert(revision);
                    revisions.pods.insert(pod.name.clone(), revision);
                }
            }
            revisions.marks.insert(revision, mark);
        }
        revisions
    }

    /// The revision of a pod, by its name: the API server makes it of the ReplicaSet's and five
    /// characters. So nobody has to watch the pods of an app at rest.
    fn of_pod(&self, name: &str) -> Option<Revision> {
        if let Some(revision) = self.pods.get(name) {
            return Some(*revision);
        }
        let base = name.len().checked_sub(5).and_then(|end| name.get(..end))?;
        self.sets.get(base).copied()
    }

    /// How the pods of `revision` are told apart.
    pub(in crate::traffic) fn mark(&self, revision: Revision) -> Result<Mark, DriverError> {
        let mark = self.marks.get(&revision).cloned();
        let gone = || {
            let detail = "no ReplicaSet or ControllerRevision is marked as it";
            DriverError::transient(format!("select {revision}"), detail)
        };
        mark.ok_or_else(gone)
    }

    fn of_mark(&self, mark: &Mark) -> Option<Revision> {
        let mut marks = self.marks.iter();
        marks
            .find(|(_, it)| *it == mark)
            .map(|(revision, _)| *revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_settle_as_fast_as_the_gateway_is_within_bounds() {
        let check = |taken: Option<u64>, expected: u64| {
            let after = settled_after(taken.map(Duration::from_millis));
            assert_eq!(after, Duration::from_millis(expected), "{taken:?}");
        };
        check(None, 500);
        check(Some(0), 100);
        check(Some(25), 100);
        check(Some(60), 120);
        check(Some(10_000), 500);
    }
}
