//! An app with a Service, and ReplicaSets where a workload driver would make them; passes over it as
//! the server makes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use drivers::{AppKey, Routes, RulesTo, TrafficConfig};
use local::{
    kubernetes::{Api, Patch, Recording},
    wait,
};
use rollout::{
    Revision, Weight,
    observation::{Instance, InstanceState, ObservedRoutes},
};
use serde_json::{Value, json};

use crate::{
    rig::{Plane, Replica, SOON, admin, allow, app},
    states,
};

/// The app, in a namespace of its own.
pub(crate) struct Shop {
    pub(crate) plane: Arc<Plane>,
    pub(crate) api: Api,
    pub(crate) namespace: String,
    pub(crate) replica: Replica,
    pub(crate) app: AppKey,
    pub(crate) router: TrafficConfig,
    pub(crate) epoch: i64,
    scales: BTreeMap<u32, u32>,
    asked: BTreeMap<u32, u32>,
    /// Header and mirror routes.
    pub(crate) rules: Option<RulesTo>,
    /// From which version on which revisions may get requests.
    pub(crate) allowed: Vec<(u64, BTreeSet<u32>)>,
    pub(crate) recording: Recording,
}

/// What one pass came to.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) observed: Result<ObservedRoutes, String>,
    pub(crate) ensured: Result<(), String>,
}

impl Shop {
    /// With one revision of three pods, all ready, and the objects that `made` gives.
    pub(crate) async fn open(
        plane: &Arc<Plane>,
        kinds: &[&str],
        router: &Value,
        made: &[(&str, Value)],
    ) -> Self {
        let namespace = plane.plane.namespace("routers").await.unwrap();
        allow(&plane.plane, &namespace).await;
        let api = admin(&plane.plane);
        let mut router = router.clone();
        let settings = router.as_object_mut().unwrap().values_mut().next().unwrap();
        settings["namespace"] = json!(namespace);
        let paths: Vec<String> = [
            "/api/v1/*/services",
            "/apis/discovery.k8s.io/v1/*/endpointslices",
        ]
        .iter()
        .chain(kinds)
        .map(|it| it.replace('*', &format!("namespaces/{namespace}")))
        .collect();
        let service = json!({ "metadata": { "name": "checkout", "labels": { "app": "checkout" } },
            "spec": { "selector": { "app": "checkout" }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] } });
        api.create(
            &format!("/api/v1/namespaces/{namespace}/services"),
            &service,
        )
        .await
        .unwrap();
        for (path, object) in made {
            let path = path.replace('*', &format!("namespaces/{namespace}"));
            api.create(&path, object).await.unwrap();
        }
        let recording = plane.plane.record(&paths).await.unwrap();
        let mut shop = Self {
            plane: Arc::clone(plane),
            api,
            replica: Replica::new(&plane.plane),
            app: app(&namespace),
            namespace,
            router: serde_json::from_value(router).unwrap(),
            epoch: 1,
            scales: BTreeMap::new(),
            asked: BTreeMap::new(),
            rules: None,
            allowed: Vec::new(),
            recording,
        };
        shop.asked = BTreeMap::from([(1, 100)]);
        shop.scale(1, 3).await;
        shop.pods(1, 3).await;
        let from = wait::until(SOON, "the endpoints", || async {
            let events = shop
                .recording
                .so_far()
                .await
                .map_err(|error| error.to_string())?;
            let mut served = None;
            states::each(&events, |version, world| {
                let all = states::pods_behind(world, "checkout").len() == 3;
                served = served.or(all.then_some(version));
            });
            served.ok_or_else(|| "nobody serves".to_owned())
        });
        let from = from.await.unwrap();
        shop.allowed.push((from, BTreeSet::from([1])));
        shop
    }

    fn at(&self, path: &str) -> String {
        path.replace('*', &format!("namespaces/{}", self.namespace))
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        match self.api.get(&self.at(path)).await {
            Ok(object) => Some(object),
            Err(error) if error.status() == Some(404) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) async fn merge(&self, path: &str, change: &Value) {
        self.api
            .patch(&self.at(path), Patch::Merge, change)
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.api.delete(&self.at(path)).await.unwrap();
    }

    pub(crate) async fn service(&self, name: &str) -> Option<Value> {
        self.get(&format!("/api/v1/*/services/{name}")).await
    }

    /// Brings a revision to so many pods, as a workload driver does.
    pub(crate) async fn scale(&mut self, revision: u32, replicas: u32) {
        let sets = self.at("/apis/apps/v1/*/replicasets");
        let name = format!("checkout-hash{revision}");
        let labels = json!({ "app": "checkout", "pod-template-hash": format!("hash{revision}") });
        if self.scales.insert(revision, replicas).is_some() {
            let change = json!({ "spec": { "replicas": replicas } });
            self.api
                .patch(&format!("{sets}/{name}"), Patch::Merge, &change)
                .await
                .unwrap();
            return;
        }
        let mut marked = labels.clone();
        marked["sluice.dev/revision"] = json!(revision.to_string());
        let set = json!({
            "metadata": { "name": name, "labels": marked, "annotations": { "sluice.dev/app": self.app.to_string() } },
            "spec": { "replicas": replicas, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "web", "image": format!("web:{revision}") }] } } },
        });
        self.api.create(&sets, &set).await.unwrap();
    }

    /// Waits until so many pods of a revision are ready, and no other exist of it.
    pub(crate) async fn pods(&self, revision: u32, ready: usize) -> Vec<String> {
        let path = self.at(&format!(
            "/api/v1/*/pods?labelSelector=pod-template-hash%3Dhash{revision}"
        ));
        wait::until(SOON, "pods", || async {
            let pods = self
                .api
                .get(&path)
                .await
                .map_err(|error| error.to_string())?;
            let pods = pods["items"].as_array().unwrap();
            let is_ready = |pod: &&Value| {
                let conditions = pod["status"]["conditions"].as_array();
                conditions.is_some_and(|it| {
                    it.iter()
                        .any(|it| it["type"] == "Ready" && it["status"] == "True")
                })
            };
            let names = pods
                .iter()
                .map(|it| it["metadata"]["name"].as_str().unwrap().to_owned());
            match pods.iter().filter(is_ready).count() == ready && pods.len() == ready {
                true => Ok(names.collect()),
                false => Err(format!("{} pods", pods.len())),
            }
        })
        .await
        .unwrap()
    }

    /// Asks for shares in percent from now on.
    pub(crate) async fn ask(&mut self, weights: &[(u32, u32)]) {
        self.asked = weights.iter().copied().collect();
        let services = self.get("/api/v1/*/services").await.unwrap();
        let from = services["metadata"]["resourceVersion"].as_str().unwrap();
        let asked = weights.iter().map(|(it, _)| *it);
        let before = self.allowed.last().unwrap().1.clone();
        // Until it has moved, it may be as it was before.
        self.allowed
            .push((from.parse().unwrap(), asked.chain(before).collect()));
    }

    /// What was asked was seen: from now on nothing else may be.
    async fn met(&mut self) {
        let services = self.get("/api/v1/*/services").await.unwrap();
        let from = services["metadata"]["resourceVersion"].as_str().unwrap();
        let asked = self.asked.keys().copied().collect();
        self.allowed.push((from.parse().unwrap(), asked));
    }

    pub(crate) fn routes(&self) -> Routes {
        let instance = |revision: u32, n: u32| Instance {
            name: format!("checkout-hash{revision}-{n}"),
            address: None,
            state: InstanceState::Ready,
            restarts: 0,
        };
        let weights = self.asked.iter();
        Routes {
            weights: weights
                .map(|(it, percent)| (Revision(*it), Weight::from_hundredths(percent * 100)))
                .collect(),
            instances: self
                .scales
                .iter()
                .map(|(it, n)| (Revision(*it), (0..*n).map(|n| instance(*it, n)).collect()))
                .collect(),
            present: self
                .scales
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(it, _)| Revision(*it))
                .collect(),
            epoch: self.epoch,
            rules: self.rules.clone(),
        }
    }

    /// One pass, with `coming` about to get its first pods.
    pub(crate) async fn pass_with(&self, coming: Option<u32>) -> Pass {
        let driver = self.router.driver();
        let mut routes = self.routes();
        routes.present.extend(coming.map(Revision));
        let observed = driver.observe(&self.replica.cx, &self.app).await;
        let ensured = driver.ensure(&self.replica.cx, &self.app, &routes).await;
        Pass {
            observed: observed.map_err(|error| error.to_string()),
            ensured: ensured.map_err(|error| error.to_string()),
        }
    }

    /// Passes until a new revision may get its first pods, and gives it some.
    pub(crate) async fn bring(&mut self, revision: u32, replicas: u32) {
        let this = &*self;
        wait::until(SOON, "the fence", || async {
            this.pass_with(Some(revision)).await.ensured
        })
        .await
        .unwrap();
        self.scale(revision, replicas).await;
        self.pods(revision, replicas as usize).await;
    }

    /// Passes until the router reports what was asked, and makes no complaint.
    pub(crate) async fn settle(&mut self) -> ObservedRoutes {
        let wanted = self.routes().weights;
        let this = &*self;
        let seen = wait::until(SOON, "the shares", || async {
            let pass = this.pass_with(None).await;
            match (pass.observed, pass.ensured) {
                (Ok(seen), Ok(())) if seen.shares == wanted => Ok(seen),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
        self.met().await;
        seen
    }

    pub(crate) async fn roll(&mut self, weights: &[(u32, u32)]) -> ObservedRoutes {
        self.ask(weights).await;
        self.settle().await
    }

    /// Passes until `done`.
    pub(crate) async fn until(&self, what: &str, done: impl AsyncFn(&Pass) -> bool) {
        wait::until(SOON, what, || async {
            let pass = self.pass_with(None).await;
            match done(&pass).await {
                true => Ok(()),
                false => Err(format!("{pass:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// Passes until nothing of Sluice's is left.
    pub(crate) async fn rest(&self) {
        self.until("rest", async |pass| {
            let own = self.service("checkout").await.unwrap();
            let narrow = own["metadata"]["labels"]["sluice.dev/selection"].is_string();
            let candidate = self.service("checkout-candidate").await;
            pass.ensured.is_ok() && !narrow && candidate.is_none()
        })
        .await;
    }

    /// Ends a revision, once the data plane does not need its pods.
    pub(crate) async fn end(&mut self, revision: u32) {
        let prefix = format!("checkout-hash{revision}-");
        self.until("pods that are not in use", async |pass| {
            pass.observed
                .as_ref()
                .is_ok_and(|it| !it.in_use.iter().any(|it| it.starts_with(&prefix)))
        })
        .await;
        self.scale(revision, 0).await;
        self.pods(revision, 0).await;
    }
}

/// An object without what a write leaves behind.
pub(crate) fn bare(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for key in ["resourceVersion", "generation", "managedFields"] {
        metadata.remove(key);
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove("sluice.dev/epoch");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    object.as_object_mut().unwrap().remove("status");
    object
}
