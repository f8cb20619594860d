//! A Deployment of somebody's, and the moves that a rollout in place makes with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use e2e::Cluster;
use local::kubernetes::{ADMIN, Api, Patch};
use local::wait;
use serde_json::{Value, json};

/// Time in which anything happens here, with other tests beside it.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The revision at the beginning.
pub(crate) const V1: &str = "web:v1";
/// The revision that is rolled out.
pub(crate) const V2: &str = "web:v2";
/// Where the user's own strategy is kept meanwhile.
pub(crate) const KEPT: &str = "sluice.test/strategy";
/// The annotation by which the Deployment controller remembers that it has scaled a ReplicaSet.
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

const REVISION: &str = "deployment.kubernetes.io/revision";
const CONTROLLER: &str = "system:serviceaccount:kube-system:deployment-controller";

/// One ReplicaSet of it.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) object: Value,
}

impl Set {
    pub(crate) fn wanted(&self) -> u64 {
        self.object["spec"]["replicas"].as_u64().unwrap()
    }

    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.object["status"][what].as_u64().unwrap_or_default()
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.object["metadata"]["annotations"][name].as_str()
    }

    pub(crate) fn revision(&self) -> Option<&str> {
        self.annotation(REVISION)
    }

    fn image(&self) -> &str {
        image(&self.object["spec"]["template"]["spec"])
    }

    /// Whether its controller has done what it can.
    fn is_done(&self) -> bool {
        let wanted = self.wanted();
        self.object["status"]["observedGeneration"] == self.object["metadata"]["generation"]
            && self.counted("replicas") == wanted
            && (self.counted("availableReplicas") == wanted || self.image().contains(":never"))
    }
}

fn image(pod: &Value) -> &str {
    pod["containers"][0]["image"].as_str().unwrap()
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().unwrap().clone()
}

/// A Deployment `web` in a namespace of its own.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) api: Api,
    pub(crate) namespace: String,
    /// A field of the Deployment that [`Web::settled`] may turn, and its two values.
    bell: (&'static str, [u32; 2]),
}

impl Web {
    /// Six ready pods of [`V1`]; `spec` goes over the Deployment's.
    pub(crate) async fn start(spec: &Value) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let api = cluster.api(ADMIN, "test").unwrap();
        let namespace = cluster.namespace("in-place").await.unwrap();
        let bell = if spec["revisionHistoryLimit"].is_null() {
            ("revisionHistoryLimit", [20, 21])
        } else {
            ("progressDeadlineSeconds", [700, 701])
        };
        let web = Self {
            cluster,
            api,
            namespace,
            bell,
        };
        web.apply(V1, spec).await;
        web.progressing_is("NewReplicaSetAvailable").await;
        web.done().await;
        web
    }

    /// Waits until the Deployment's condition `Progressing` has this reason.
    pub(crate) async fn progressing_is(&self, reason: &str) {
        wait::until(SOON, reason, || async {
            let condition = self.condition("Progressing").await;
            match condition {
                Some((_, now)) if now == reason => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// What the user has in Git; a null of `spec` takes a field out.
    pub(crate) fn manifest(image: &str, spec: &Value) -> Value {
        let mut manifest = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 6,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": image}]},
                },
            },
        });
        let fields = manifest["spec"].as_object_mut().unwrap();
        for (name, value) in spec.as_object().unwrap() {
            fields.insert(name.clone(), value.clone());
        }
        // What a user does not write is not there; null would be a wish of its own.
        fields.retain(|_, value| !value.is_null());
        manifest
    }

    /// `kubectl apply` of it.
    pub(crate) async fn apply(&self, image: &str, spec: &Value) {
        let manifest = Self::manifest(image, spec).to_string();
        self.kubectl(&["apply", "-f", "-"], &manifest).await;
    }

    /// Runs kubectl in the namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str], stdin: &str) -> String {
        let arguments = [arguments, &["-n", &self.namespace]].concat();
        self.cluster.kubectl(&arguments, stdin).await.unwrap()
    }

    /// What kubectl says when it is refused.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        self.refused_with(arguments, "").await
    }

    pub(crate) async fn refused_with(&self, arguments: &[&str], stdin: &str) -> String {
        let arguments = [arguments, &["-n", &self.namespace]].concat();
        let output = self.cluster.kubectl_as(ADMIN, &arguments, stdin).await;
        let output = output.unwrap();
        assert_ne!(output.code, Some(0), "{output:?}");
        output.stderr
    }

    fn apps(&self, what: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{what}", self.namespace)
    }

    pub(crate) fn core(&self, what: &str) -> String {
        format!("/api/v1/namespaces/{}/{what}", self.namespace)
    }

    pub(crate) async fn deployment(&self) -> Value {
        self.api.get(&self.apps("deployments/web")).await.unwrap()
    }

    /// The words of the Deployment's condition: its status and its reason.
    pub(crate) async fn condition(&self, kind: &str) -> Option<(String, String)> {
        let deployment = self.deployment().await;
        let conditions = deployment["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|it| it["type"] == kind)?;
        let word = |name: &str| condition[name].as_str().map(str::to_owned);
        Some((word("status")?, word("reason")?))
    }

    /// One write to the Deployment, against what it is at that moment.
    pub(crate) async fn edit(&self, change: impl Fn(&mut Value)) -> Value {
        wait::until(SOON, "a write without a conflict", || async {
            let mut deployment = self.deployment().await;
            change(&mut deployment);
            self.api
                .replace(&self.apps("deployments/web"), &deployment)
                .await
        })
        .await
        .unwrap()
    }

    pub(crate) async fn sets(&self) -> Vec<Set> {
        let list = self.api.get(&self.apps("replicasets")).await.unwrap();
        let set = |object: Value| Set {
            name: object["metadata"]["name"].as_str().unwrap().to_owned(),
            object,
        };
        items(&list).into_iter().map(set).collect()
    }

    /// The ReplicaSet of an image.
    pub(crate) async fn set(&self, image: &str) -> Set {
        let sets = self.sets().await;
        let found = sets.iter().find(|set| set.image() == image);
        found
            .unwrap_or_else(|| panic!("no {image} in {sets:#?}"))
            .clone()
    }

    /// How many pods each of these images is to have.
    pub(crate) async fn wanted<const N: usize>(&self, images: [&str; N]) -> [u64; N] {
        let sets = self.sets().await;
        images.map(|image| {
            let found = sets.iter().find(|set| set.image() == image);
            found.map_or(0, Set::wanted)
        })
    }

    /// The pods of an image that are not about to end, by their ids.
    pub(crate) async fn pods(&self, image_wanted: &str) -> BTreeSet<String> {
        let list = self.api.get(&self.core("pods")).await.unwrap();
        items(&list)
            .into_iter()
            .filter(|pod| image(&pod["spec"]) == image_wanted)
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until there are so many.
    pub(crate) async fn pods_become(&self, image: &str, count: usize) {
        wait::until(SOON, &format!("{count} pods of {image}"), || async {
            let now = self.pods(image).await.len();
            if now == count { Ok(()) } else { Err(now) }
        })
        .await
        .unwrap();
    }

    /// The one write that begins a rollout: the new template, and with it what keeps the
    /// controller from acting on it.
    pub(crate) async fn begin(&self, image: &str) {
        self.edit(|deployment| {
            let kept = deployment["spec"]["strategy"].to_string();
            deployment["metadata"]["annotations"][KEPT] = json!(kept);
            let spec = &mut deployment["spec"];
            spec["paused"] = json!(true);
            spec["strategy"] = json!({"type": "Recreate"});
            spec["template"]["spec"]["containers"][0]["image"] = json!(image);
        })
        .await;
    }

    /// Makes the ReplicaSet of the Deployment's template, as the controller would, but without
    /// pods and without its memory of having scaled it.
    pub(crate) async fn make_candidate(&self, hash: &str) -> Set {
        let deployment = self.deployment().await;
        let mut template = deployment["spec"]["template"].clone();
        template["metadata"]["labels"]["pod-template-hash"] = json!(hash);
        let mut selector = deployment["spec"]["selector"].clone();
        selector["matchLabels"]["pod-template-hash"] = json!(hash);
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("web-{hash}"),
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": "web",
                    "uid": deployment["metadata"]["uid"],
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        });
        let made = self.api.create(&self.apps("replicasets"), &set).await;
        made.unwrap();
        let name = format!("web-{hash}");
        wait::until(SOON, "the candidate to be adopted", || async {
            let sets = self.sets().await;
            let set = sets.into_iter().find(|set| set.name == name).unwrap();
            if set.revision().is_some() {
                Ok(set)
            } else {
                Err("no revision")
            }
        })
        .await
        .unwrap()
    }

    /// Begins a rollout and makes its candidate.
    pub(crate) async fn begin_with_candidate(&self, image: &str) -> Set {
        self.begin(image).await;
        self.make_candidate("candidate").await
    }

    /// Scales a ReplicaSet and waits for nothing.
    pub(crate) async fn scale(&self, image: &str, replicas: u64) {
        let name = self.set(image).await.name;
        let path = self.apps(&format!("replicasets/{name}/scale"));
        let change = json!({"spec": {"replicas": replicas}});
        self.api.patch(&path, Patch::Merge, &change).await.unwrap();
    }

    /// Takes the controller's memory of having scaled it from a ReplicaSet.
    pub(crate) async fn forget(&self, image: &str) {
        let name = self.set(image).await.name;
        let path = self.apps(&format!("replicasets/{name}"));
        let forget = json!({"metadata": {"annotations": {DESIRED: null}}});
        self.api.patch(&path, Patch::Merge, &forget).await.unwrap();
    }

    /// Scales ReplicaSets in this order and waits until their pods are ready and the Deployment
    /// controller has had its say.
    pub(crate) async fn scale_to<const N: usize>(&self, wanted: [(&str, u64); N]) {
        for (image, replicas) in wanted {
            self.scale(image, replicas).await;
        }
        self.settled().await;
    }

    /// Waits until the ReplicaSets have the pods that they want.
    pub(crate) async fn done(&self) {
        wait::until(SOON, "the ReplicaSets to be as wanted", || async {
            let sets = self.sets().await;
            if !sets.is_empty() && sets.iter().all(Set::is_done) {
                Ok(())
            } else {
                Err(format!("{sets:#?}"))
            }
        })
        .await
        .unwrap();
    }

    /// Waits until the Deployment controller has looked at all that is there now.
    ///
    /// It looks after every change, and says so by nothing when it finds nothing to do. A change
    /// of a field that changes nothing makes it say so: `observedGeneration` is the last thing
    /// that it writes in a look. Twice, since it sees ReplicaSets through another watch.
    pub(crate) async fn settled(&self) {
        for value in self.bell.1 {
            self.done().await;
            let field = self.bell.0;
            let rung = self
                .edit(|deployment| deployment["spec"][field] = json!(value))
                .await;
            let generation = rung["metadata"]["generation"].as_u64().unwrap();
            self.observed(generation).await;
        }
        self.done().await;
    }

    async fn observed(&self, generation: u64) {
        wait::until(SOON, "the Deployment controller to look", || async {
            let status = self.deployment().await["status"].clone();
            let observed = status["observedGeneration"].as_u64();
            if observed.is_some_and(|it| it >= generation) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await
        .unwrap();
    }

    /// Waits until the images are to have so many pods.
    pub(crate) async fn becomes<const N: usize>(&self, wanted: [(&str, u64); N]) {
        let images = wanted.map(|(image, _)| image);
        let counts = wanted.map(|(_, count)| count);
        wait::until(SOON, &format!("{wanted:?}"), || async {
            let now = self.wanted(images).await;
            if now == counts {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await
        .unwrap();
    }

    /// What the Deployment controller has written to ReplicaSets so far.
    pub(crate) fn controller_writes(&self) -> Vec<String> {
        let entries = self.cluster.audit_log().read().unwrap();
        let writes = entries.into_iter().filter(|entry| {
            entry.is_write()
                && entry.user == CONTROLLER
                && entry.namespace == self.namespace
                && entry.resource == "replicasets"
                && entry.code < 300
        });
        writes
            .map(|entry| format!("{} {}", entry.verb, entry.name))
            .collect()
    }

    /// The one write that ends a rollout.
    pub(crate) async fn give_back(&self) {
        self.edit(give_back).await;
        self.settled().await;
    }
}

/// Restores the user's strategy and lets the controller act again.
pub(crate) fn give_back(deployment: &mut Value) {
    let annotations = deployment["metadata"]["annotations"].as_object_mut();
    let kept = annotations.unwrap().remove(KEPT).unwrap();
    let spec = &mut deployment["spec"];
    spec["strategy"] = serde_json::from_str(kept.as_str().unwrap()).unwrap();
    spec["paused"] = json!(false);
}

/// Puts an image into the Deployment's template.
pub(crate) fn set_image(deployment: &mut Value, image: &str) {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
}
