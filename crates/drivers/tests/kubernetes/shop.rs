//! A Deployment of somebody's in a namespace of its own, and an app that drives it as the loop does:
//! look, ensure, until the world is as wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drivers::{
    AppKey, DriverError, Workload, WorkloadConfig,
    workload::{
        RevisionSpec, WorkloadTarget,
        kubernetes::{Configs, Kubernetes, Named, OnCannotStart, Trigger},
    },
};
use local::{
    kubernetes::{Api, Patch, SLUICE},
    wait,
};
use rollout::{
    Revision,
    observation::{InstanceState, RevisionStatus},
};
use serde_json::{Value, json};

use crate::rig::{Plane, Replica, SOON, admin, allow, app, deployment, rules};

/// The revision at the beginning, and the one that is brought out.
pub(crate) const R1: Revision = Revision(1);
pub(crate) const R2: Revision = Revision(2);
pub(crate) const R3: Revision = Revision(3);

pub(crate) type Statuses = BTreeMap<Revision, RevisionStatus>;

#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) plane: Arc<Plane>,
    pub(crate) namespace: String,
    pub(crate) api: Api,
    pub(crate) replica: Replica,
    pub(crate) app: AppKey,
    pub(crate) config: Kubernetes,
    pub(crate) known: Vec<RevisionSpec>,
    pub(crate) epoch: i64,
    /// The whole that scales are counted in.
    pub(crate) whole: u32,
}

impl Shop {
    /// `replicas` ready pods of `web:v1`, not adopted; `spec` goes over the Deployment's.
    pub(crate) async fn start(replicas: u32, spec: Value) -> Self {
        Self::on(Plane::shared().await, replicas, spec).await
    }

    pub(crate) async fn on(plane: Arc<Plane>, replicas: u32, spec: Value) -> Self {
        let named = Named::Deployment("web".to_owned());
        Self::of(plane, named, replicas, spec).await
    }

    /// As [`Shop::start`], of a StatefulSet, which may delete its pods.
    pub(crate) async fn stateful(replicas: u32, spec: Value) -> Self {
        let named = Named::StatefulSet("web".to_owned());
        let shop = Self::of(Plane::shared().await, named, replicas, spec).await;
        let rules = rules(&shop.plane.plane, "statefulsets.yaml").await;
        shop.allow_as("statefulsets", SLUICE, &rules).await;
        shop
    }

    async fn of(plane: Arc<Plane>, named: Named, replicas: u32, spec: Value) -> Self {
        let namespace = plane.plane.namespace("shop").await.unwrap();
        allow(&plane.plane, &namespace).await;
        let api = admin(&plane.plane);
        let mut object = deployment("web", "web:v1", replicas);
        object["kind"] = json!(named.kind());
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        let replica = Replica::new(&plane.plane);
        let shop = Self {
            config: Kubernetes {
                context: None,
                namespace: namespace.clone(),
                object: named,
                container: None,
                trigger: Trigger::Artifact,
                on_cannot_start: OnCannotStart::Rollback,
                configs: Configs::Ignore,
            },
            plane,
            namespace,
            api,
            replica,
            app: app("web"),
            known: Vec::new(),
            epoch: 1,
            whole: replicas,
        };
        let path = shop.path(shop.plural(), None);
        shop.api.create(&path, &object).await.unwrap();
        shop.deployment_becomes("available", |it| {
            it["status"]["availableReplicas"].as_u64().unwrap_or(0) == u64::from(replicas)
                && it["status"]["observedGeneration"] == it["metadata"]["generation"]
        })
        .await;
        shop
    }

    /// As [`Shop::start`], adopted as [`R1`].
    pub(crate) async fn adopted(replicas: u32, spec: Value) -> Self {
        let mut shop = Self::start(replicas, spec).await;
        shop.adopt().await;
        shop
    }

    pub(crate) async fn adopt(&mut self) {
        let offered = self.config.offered(&self.replica.cx, &self.app, &[]).await;
        let offer = offered.unwrap().unwrap();
        self.know(offer.artifact.artifact, offer.artifact.content);
        self.reach(&[(R1, self.whole)], &[]).await;
    }

    pub(crate) fn know(&mut self, artifact: String, content: Option<Value>) -> Revision {
        let revision = Revision(u32::try_from(self.known.len()).unwrap() + 1);
        self.known.push(RevisionSpec {
            revision,
            artifact,
            content,
            workload: WorkloadConfig::Kubernetes(self.config.clone()),
        });
        revision
    }

    /// A new revision of the image.
    pub(crate) async fn deploy(&mut self, image: &str) -> Revision {
        let resolved = self
            .config
            .resolve(&self.replica.cx, &self.app, image, None);
        let resolved = resolved.await.unwrap();
        self.know(resolved.artifact, resolved.content)
    }

    /// One look.
    pub(crate) async fn observe(&self) -> Statuses {
        self.look().await.unwrap()
    }

    /// One look, which may fail.
    pub(crate) async fn look(&self) -> Result<Statuses, DriverError> {
        let cx = &self.replica.cx;
        let observed = self.config.observe(cx, &self.app, &self.known, self.whole);
        observed.await
    }

    /// A target of these scales; pods of revisions in `traffic` are in use.
    pub(crate) async fn target(
        &self,
        scales: &[(Revision, u32)],
        traffic: &[Revision],
    ) -> Result<WorkloadTarget, DriverError> {
        let statuses = self.look().await?;
        let used = statuses.iter().filter(|(it, _)| traffic.contains(it));
        let instances = used.flat_map(|(_, it)| &it.instances);
        let in_use = instances.filter(|it| it.state != InstanceState::Draining);
        Ok(WorkloadTarget {
            scales: scales.iter().copied().collect(),
            whole: self.whole,
            held: BTreeSet::new(),
            epoch: self.epoch,
            revisions: self.known.clone(),
            in_use: Some(in_use.map(|it| it.name.clone()).collect()),
        })
    }

    /// One look, one try.
    pub(crate) async fn ensure(
        &self,
        scales: &[(Revision, u32)],
        traffic: &[Revision],
    ) -> Result<(), String> {
        let ensured = async {
            let target = self.target(scales, traffic).await?;
            let cx = &self.replica.cx;
            self.config.ensure(cx, &self.app, &target).await
        };
        ensured.await.map_err(|error| error.to_string())
    }

    /// Until each revision has as many ready instances as asked, and no others are left.
    pub(crate) async fn reach(&self, scales: &[(Revision, u32)], traffic: &[Revision]) {
        wait::until(SOON, &format!("{scales:?}"), || async {
            self.ensure(scales, traffic).await?;
            let statuses = self.look().await.map_err(|error| error.to_string())?;
            let wanted: BTreeMap<_, _> = scales.iter().copied().collect();
            let all = statuses.keys().chain(wanted.keys());
            let well = all.clone().all(|revision| {
                let wanted = wanted.get(revision).copied().unwrap_or(0);
                let status = statuses.get(revision).cloned().unwrap_or_default();
                status.ready >= wanted && status.total <= wanted
            });
            match well {
                true => Ok(()),
                false => Err(format!("{statuses:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// As [`Shop::reach`], of one revision, and until the Deployment is given back.
    pub(crate) async fn rest(&self, revision: Revision) {
        self.reach(&[(revision, self.whole)], &[revision]).await;
        wait::until(SOON, "the Deployment to be given back", || async {
            self.ensure(&[(revision, self.whole)], &[revision]).await?;
            let object = self.deployment().await;
            match object["metadata"]["annotations"]["sluice.dev/kept"].is_null() {
                true => Ok(()),
                false => Err(object["metadata"]["annotations"].to_string()),
            }
        })
        .await
        .unwrap();
        self.deployment_becomes("seen by its controller", |it| {
            it["status"]["observedGeneration"] == it["metadata"]["generation"]
        })
        .await;
    }

    /// Gives `user` more rights here.
    pub(crate) async fn allow_as(&self, role: &str, user: &str, rules: &Value) {
        let path = format!(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/{}",
            self.namespace
        );
        let object = json!({"metadata": {"name": role}, "rules": rules});
        let roles = format!("{path}/roles");
        self.api.create(&roles, &object).await.unwrap();
        let group = "rbac.authorization.k8s.io";
        let object = json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        });
        let bindings = format!("{path}/rolebindings");
        self.api.create(&bindings, &object).await.unwrap();
    }

    pub(crate) fn path(&self, plural: &str, name: Option<&str>) -> String {
        let root = match plural {
            "pods" | "resourcequotas" | "configmaps" | "secrets" | "services" => "/api/v1",
            _ => "/apis/apps/v1",
        };
        let name = name.map(|it| format!("/{it}")).unwrap_or_default();
        format!("{root}/namespaces/{}/{plural}{name}", self.namespace)
    }

    fn plural(&self) -> &'static str {
        match self.config.object {
            Named::Deployment(_) => "deployments",
            Named::StatefulSet(_) => "statefulsets",
        }
    }

    /// The Deployment, or StatefulSet.
    pub(crate) async fn deployment(&self) -> Value {
        let path = self.path(self.plural(), Some("web"));
        self.api.get(&path).await.unwrap()
    }

    pub(crate) async fn deployment_becomes(&self, what: &str, is: impl Fn(&Value) -> bool) {
        wait::until(SOON, what, || async {
            let object = self.deployment().await;
            match is(&object) {
                true => Ok(()),
                false => Err(object.to_string()),
            }
        })
        .await
        .unwrap();
    }

    /// As [`Shop::deployment_becomes`], while the driver holds this target.
    pub(crate) async fn deployment_becomes_by(
        &self,
        what: &str,
        scales: &[(Revision, u32)],
        is: impl Fn(&Value) -> bool,
    ) {
        let traffic: Vec<Revision> = scales.iter().map(|it| it.0).collect();
        wait::until(SOON, what, || async {
            self.ensure(scales, &traffic).await?;
            let object = self.deployment().await;
            match is(&object) {
                true => Ok(()),
                false => Err(object.to_string()),
            }
        })
        .await
        .unwrap();
    }

    /// Changes the Deployment as somebody called `manager` does.
    pub(crate) async fn edit(&self, manager: &str, change: Value) {
        let path = self.path(self.plural(), Some("web"));
        let path = format!("{path}?fieldManager={manager}");
        self.api.patch(&path, Patch::Merge, &change).await.unwrap();
    }

    /// Sets the image in the Deployment's template, as `kubectl set image` does.
    pub(crate) async fn set_image(&self, manager: &str, image: &str) {
        let change = json!([
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image},
        ]);
        let path = self.path("deployments", Some("web"));
        let path = format!("{path}?fieldManager={manager}");
        self.api.patch(&path, Patch::Json, &change).await.unwrap();
    }

    /// Until a problem with these words is told, while the driver holds this target.
    pub(crate) async fn told_by(&self, scales: &[(Revision, u32)], words: &str) {
        let traffic: Vec<Revision> = scales.iter().map(|it| it.0).collect();
        wait::until(SOON, words, || async {
            self.ensure(scales, &traffic).await?;
            let statuses = self.look().await.map_err(|error| error.to_string())?;
            let told = statuses.values().flat_map(|it| &it.problems);
            match told.map(|it| &it.detail).any(|it| it.contains(words)) {
                true => Ok(()),
                false => Err(format!("{statuses:?}")),
            }
        })
        .await
        .unwrap();
    }

    pub(crate) async fn list(&self, plural: &str) -> Vec<Value> {
        let list = self.api.get(&self.path(plural, None)).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Its ReplicaSets, by image.
    pub(crate) async fn sets(&self) -> Vec<(String, Value)> {
        let image = |it: &Value| it["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        let sets = self.list("replicasets").await;
        let named = |it: Value| (image(&it).as_str().unwrap().to_owned(), it);
        sets.into_iter().map(named).collect()
    }

    /// How many pods the ReplicaSets of these images want.
    pub(crate) async fn wanted<const N: usize>(&self, images: [&str; N]) -> [u64; N] {
        let sets = self.sets().await;
        images.map(|image| {
            let sets = sets.iter().filter(|(it, _)| it == image);
            sets.map(|(_, it)| it["spec"]["replicas"].as_u64().unwrap())
                .sum()
        })
    }

    /// The pods of an image, by their ids, those that end left out.
    pub(crate) async fn pods(&self, image: &str) -> BTreeSet<String> {
        let pods = self.list("pods").await;
        let alive = pods
            .iter()
            .filter(|it| it["metadata"]["deletionTimestamp"].is_null());
        let of_image = alive.filter(|it| it["spec"]["containers"][0]["image"] == image);
        of_image
            .map(|it| it["metadata"]["uid"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Requests of this driver in this namespace, as verb and resource.
    pub(crate) fn requests(&self) -> Vec<String> {
        let entries = self.plane.plane.audit_log().read().unwrap();
        entries
            .into_iter()
            .filter(|it| it.user_agent.starts_with("sluice/") && it.namespace == self.namespace)
            // The end of a watch is another entry.
            .filter(|it| it.verb != "watch" || it.begins)
            .map(|it| format!("{} {} {}", it.verb, it.resource, it.code))
            .collect()
    }
}

/// What was the user's before must be the user's after.
pub(crate) fn spec_of(deployment: &Value) -> Value {
    let mut spec = deployment["spec"].clone();
    // Absent and false are the same.
    if spec["paused"] == json!(false) || spec["paused"].is_null() {
        spec.as_object_mut().unwrap().remove("paused");
    }
    spec
}
