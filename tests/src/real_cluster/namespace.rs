//! A Kubernetes namespace of the real cluster: what tests put into it, and how they wait for what
//! becomes of that.

use std::time::Duration;

use anyhow::Context;
use local::kubernetes::Api;
use local::node::gateway;
use local::wait;
use serde_json::{Value, json};

use super::{RealCluster, SHOP_PORT};
use crate::world::http;

/// A pod takes about a second; a loaded machine takes its time.
pub const SOON: Duration = Duration::from_secs(60);

/// A namespace of one test or world. The host of its route is named after it.
#[derive(Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The cluster it is in.
    pub cluster: &'static RealCluster,
    /// A client that may do everything, for the runtime of this test.
    pub api: Api,
}

impl Namespace {
    /// Makes one with a name that begins with `prefix` and that no other has.
    ///
    /// # Errors
    /// When the cluster does not start or the API server refuses it.
    pub async fn new(prefix: &str) -> anyhow::Result<Self> {
        let cluster = RealCluster::shared().await?;
        Ok(Self {
            name: cluster.plane.namespace(prefix).await?,
            cluster,
            api: cluster.api()?,
        })
    }

    /// The one of this name, made if it is not there.
    ///
    /// # Errors
    /// When the cluster does not start or the API server refuses it.
    pub async fn named(name: &str) -> anyhow::Result<Self> {
        let cluster = RealCluster::shared().await?;
        let namespace = Self {
            name: name.to_owned(),
            cluster,
            api: cluster.api()?,
        };
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
        });
        namespace.apply(&[object]).await?;
        Ok(namespace)
    }

    /// The host by which the Gateway knows this namespace's route.
    pub fn host(&self) -> String {
        format!("{}.test", self.name)
    }

    /// Applies objects on the server's side.
    ///
    /// # Errors
    /// When the API server refuses one of them.
    pub async fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster.plane.apply(&list.to_string()).await
    }

    /// A Deployment of an image of the shop.
    pub fn deployment(&self, name: &str, image: &str, replicas: usize) -> Value {
        let probe = json!({
            "httpGet": { "path": "/ready", "port": SHOP_PORT },
            "periodSeconds": 1,
            // A machine that stands still for a second must not take both pods out at once.
            "failureThreshold": 3,
            "timeoutSeconds": 3,
        });
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": name, "namespace": self.name },
            "spec": {
                "replicas": replicas,
                "progressDeadlineSeconds": 5,
                "selector": { "matchLabels": { "app": name } },
                "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": {
                        "terminationGracePeriodSeconds": 10,
                        "containers": [{
                            "name": "shop",
                            "image": image,
                            "imagePullPolicy": "Never",
                            "readinessProbe": probe,
                        }],
                    },
                },
            },
        })
    }

    /// A Service of the pods of a Deployment.
    pub fn service(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": self.name },
            "spec": {
                "selector": { "app": name },
                "ports": [{ "port": 80, "targetPort": SHOP_PORT }],
            },
        })
    }

    /// A route of this namespace's host to Services, with their weights.
    pub fn route(&self, weights: &[(&str, u32)]) -> Value {
        let backends = weights
            .iter()
            .map(|(name, weight)| json!({ "name": name, "port": 80, "weight": weight }));
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": { "name": "shop", "namespace": self.name },
            "spec": {
                "parentRefs": [{ "name": "gateway", "namespace": "default" }],
                "hostnames": [self.host()],
                "rules": [{ "backendRefs": backends.collect::<Vec<_>>() }],
            },
        })
    }

    /// Waits until all of a Deployment's pods, and no others, are ready.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn rolled_out(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}", self.name);
        wait::until(SOON, &format!("{name} to be rolled out"), || async {
            let deployment = self.api.get(&path).await.map_err(|it| it.to_string())?;
            let (spec, status) = (&deployment["spec"], &deployment["status"]);
            let current = status["observedGeneration"] == deployment["metadata"]["generation"];
            let wanted = &spec["replicas"];
            let all = ["replicas", "updatedReplicas", "readyReplicas"];
            match current && all.iter().all(|it| status[it] == *wanted) {
                true => Ok(()),
                false => Err(status.to_string()),
            }
        })
        .await?;
        Ok(())
    }

    /// Waits until a condition of a Deployment has this status and reason.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn condition(&self, name: &str, kind: &str, reason: &str) -> anyhow::Result<()> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{name}", self.name);
        wait::until(SOON, &format!("{reason} of {name}"), || async {
            let deployment = self.api.get(&path).await.map_err(|it| it.to_string())?;
            let conditions = deployment["status"]["conditions"].as_array();
            let found = conditions
                .into_iter()
                .flatten()
                .any(|it| it["type"] == kind && it["status"] == "False" && it["reason"] == reason);
            match found {
                true => Ok(()),
                false => Err(deployment["status"].to_string()),
            }
        })
        .await?;
        Ok(())
    }

    /// Waits until the only pod of a Deployment is as `seen` says, and returns its name. `seen` gets
    /// the status of its container.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn pod(
        &self,
        name: &str,
        what: &str,
        seen: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<String> {
        let path = format!(
            "/api/v1/namespaces/{}/pods?labelSelector=app%3D{name}",
            self.name
        );
        let pod = wait::until(SOON, what, || async {
            let pods = self.api.get(&path).await.map_err(|it| it.to_string())?;
            let pod = &pods["items"][0];
            match seen(&pod["status"]["containerStatuses"][0]) {
                true => Ok(pod["metadata"]["name"].as_str().map(str::to_owned)),
                false => Err(pod["status"].to_string()),
            }
        });
        pod.await?.context("a pod without a name")
    }

    /// Deletes it and all that is in it, and waits for nothing.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn delete(&self) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.name);
        self.api.delete(&path).await?;
        Ok(())
    }

    /// Waits until users get answers from the route of this namespace.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn open(&self) -> anyhow::Result<()> {
        let client = http()?;
        wait::until(SOON, "the first answer", || async {
            let request = client.get(gateway::URL).header("host", self.host());
            match request.send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(answer.status().to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        Ok(())
    }
}
