//! What a part measures on: a control plane with a Deployment, a Service and a route for each app,
//! and a [`Backend`] whose server delivers there.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use local::kubernetes::gateway::{Behaviour, GatewayStub};
use local::kubernetes::{ADMIN, Api, Component, Entry, Options, Recorded, Recording, SLUICE};
use local::wait;
use serde_json::{Value, json};

pub(crate) use crate::backend::names;
use crate::backend::{Backend, PROJECT};

/// How long a thousand pods may take to be ready.
const PREPARED_WITHIN: Duration = Duration::from_secs(300);
/// Objects that are made at a time.
const AT_A_TIME: usize = 16;
/// The image of the candidate's pods.
pub(crate) const CANDIDATE: &str = "web:v2";
const STABLE: &str = "web:v1";
/// Nodes, so that no scheduler looks for room.
const NODES: usize = 4;
/// By default each of Kubernetes' controllers makes 20 requests a second: a thousand Deployments
/// would take longer to come up than everything that is measured with them.
const UNTHROTTLED: [&str; 2] = ["--kube-api-qps=1000", "--kube-api-burst=2000"];

/// The parts, dropped in this order.
pub(crate) struct Stage {
    backend: Backend,
    /// Routes and pods, as they change.
    pub(crate) recording: Recording,
    /// The namespace of all apps.
    pub(crate) namespace: String,
    _gateway: GatewayStub,
    cluster: e2e::Cluster,
}

impl Deref for Stage {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }
}

/// What the apps of a part are like.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// Pods of each.
    pub(crate) replicas: u32,
    /// How long a pod takes to be ready.
    pub(crate) ready_after: &'static str,
    /// The canary's steps.
    pub(crate) steps: Value,
    /// More fields of the app files.
    pub(crate) more: Value,
}

impl Stage {
    /// Starts everything. `apps` run and are adopted, with stable's pods ready.
    pub(crate) async fn start(apps: &[String], kind: &Kind) -> anyhow::Result<Self> {
        let options = Options {
            gateway_api: true,
            nodes: NODES,
            flags: UNTHROTTLED
                .map(|it| (Component::ControllerManager, it.to_owned()))
                .to_vec(),
            ..Options::default()
        };
        let cluster = e2e::Cluster::own(options).await?;
        let namespace = cluster.namespace("bench").await?;
        e2e::rights::grant(&cluster, &namespace).await?;
        let gateway = GatewayStub::start(&cluster, &namespace, Behaviour::accept())?;
        let api = cluster.api(ADMIN, "bench")?;
        futures::stream::iter(apps)
            .map(|app| make(&api, &namespace, app, kind))
            .buffer_unordered(AT_A_TIME)
            .try_for_each(async |()| Ok(()))
            .await?;
        let pods = apps.len() * usize::try_from(kind.replicas)?;
        ready(&api, &namespace, pods).await?;
        let watched = [
            format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes"),
            format!("/api/v1/namespaces/{namespace}/pods"),
        ];
        let recording = cluster.record(&watched).await?;
        let kubeconfig = cluster.kubeconfig(SLUICE)?.display().to_string();
        let backend = Backend::start(vec![("KUBECONFIG".to_owned(), kubeconfig)]).await?;
        let stage = Self {
            backend,
            recording,
            namespace,
            _gateway: gateway,
            cluster,
        };
        stage.apply(apps, |app| stage.app(app, kind)).await?;
        let adopted = stage
            .sql("SELECT count(*) FROM app WHERE stable IS NOT NULL")
            .await?;
        ensure!(
            adopted == apps.len().to_string(),
            "only {adopted} of {} apps were adopted",
            apps.len()
        );
        Ok(stage)
    }

    fn app(&self, app: &str, kind: &Kind) -> Value {
        let mut file = json!({
            "app": app,
            "project": PROJECT,
            "workload": { "kubernetes": { "namespace": self.namespace, "deployment": app } },
            "traffic": { "gatewayApi": {
                "namespace": self.namespace, "httpRoute": app, "service": app,
            }},
            "strategy": { "canary": { "steps": kind.steps } },
            "alerts": [{ "match": { "app": app, "severity": "critical" }, "do": "rollback" }],
            "progressDeadline": "2m",
            "drain": "1s",
        });
        let more = kind.more.as_object().into_iter().flatten();
        if let Some(file) = file.as_object_mut() {
            file.extend(more.map(|(key, value)| (key.clone(), value.clone())));
        }
        file
    }

    /// What the server has asked for since `from`, in the namespace or beside it.
    pub(crate) async fn asked_since(&self, from: Timestamp) -> anyhow::Result<Vec<Entry>> {
        // An entry is written after its answer is out.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut entries = self.cluster.audit_log().read()?;
        entries.retain(|it| it.user == SLUICE && it.at >= from);
        Ok(entries)
    }

    /// Waits until the routes of all these apps have changed as `seen` says, and gives for each when
    /// that was told first. `seen` gets the app's route as it became at or after `from`.
    pub(crate) async fn routes(
        &self,
        apps: &[String],
        from: Timestamp,
        within: Duration,
        seen: impl Fn(&str, &Value) -> bool,
    ) -> anyhow::Result<Vec<(String, Timestamp)>> {
        let first = |app: &String, all: &[Recorded]| {
            let mut its = all.iter().filter(|it| it.name == *app && it.at >= from);
            let found = its.find(|it| {
                let route = it.object.as_ref();
                it.path.ends_with("/httproutes") && route.is_some_and(|route| seen(app, route))
            });
            found.map(|it| (app.clone(), it.at))
        };
        let began = Instant::now();
        loop {
            let found: Vec<_> = self
                .recording
                .look(|all| apps.iter().filter_map(|app| first(app, all)).collect());
            if found.len() == apps.len() {
                return Ok(found);
            }
            ensure!(
                began.elapsed() < within,
                "only {} of {} routes changed within {within:?}",
                found.len(),
                apps.len()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The candidate's weight in each of these apps' routes, as it was told last.
    pub(crate) fn weights(&self, apps: &[String]) -> BTreeMap<String, Option<u64>> {
        let weight = |app: &String, all: &[Recorded]| {
            let its = |it: &&Recorded| it.name == *app && it.path.ends_with("/httproutes");
            let last = all.iter().rev().find(its)?.object.as_ref()?;
            Some((app.clone(), candidates_weight(last)))
        };
        self.recording
            .look(|all| apps.iter().filter_map(|app| weight(app, all)).collect())
    }

    /// Waits until nothing of a rollout is left: no route names a candidate.
    pub(crate) async fn at_rest(&self, apps: &[String]) -> anyhow::Result<()> {
        wait::until_now(PREPARED_WITHIN, "the routes to be as before", || {
            let weights = self.weights(apps);
            match weights.values().flatten().count() {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await?;
        Ok(())
    }
}

/// The weight of the candidate's Service in a route; `None` when it is not there.
pub(crate) fn candidates_weight(route: &Value) -> Option<u64> {
    let backends = route.pointer("/spec/rules/0/backendRefs")?.as_array()?;
    let name = |it: &&Value| {
        let name = it.get("name").and_then(Value::as_str);
        name.is_some_and(|it| it.ends_with("-candidate"))
    };
    backends.iter().find(name)?.get("weight")?.as_u64()
}

/// A span of time; none when `to` is before `from`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

async fn make(api: &Api, namespace: &str, app: &str, kind: &Kind) -> anyhow::Result<()> {
    let labels = json!({ "app": app });
    let deployment = json!({
        "metadata": { "name": app },
        "spec": {
            "replicas": kind.replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": { "sluice.test/ready-after": kind.ready_after },
                },
                "spec": { "containers": [{ "name": "web", "image": STABLE }] },
            },
        },
    });
    let service = json!({
        "metadata": { "name": app },
        "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": app },
        "spec": {
            "parentRefs": [{ "name": "gateway" }],
            "hostnames": [format!("{app}.test")],
            "rules": [{ "backendRefs": [{ "name": app, "port": 80 }] }],
        },
    });
    for (group, kind, object) in [
        ("/apis/apps/v1", "deployments", deployment),
        ("/api/v1", "services", service),
        ("/apis/gateway.networking.k8s.io/v1", "httproutes", route),
    ] {
        let path = format!("{group}/namespaces/{namespace}/{kind}");
        let made = api.create(&path, &object).await;
        made.with_context(|| format!("make {kind} {app}"))?;
    }
    Ok(())
}

async fn ready(api: &Api, namespace: &str, pods: usize) -> anyhow::Result<()> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let what = format!("{pods} pods to be ready");
    wait::until(PREPARED_WITHIN, &what, || async {
        let list = api.get(&path).await.map_err(|it| it.to_string())?;
        let items = list.get("items").and_then(Value::as_array);
        let ready = |it: &Value| it.pointer("/status/readyReplicas").and_then(Value::as_u64);
        let ready: u64 = items.into_iter().flatten().filter_map(ready).sum();
        match usize::try_from(ready) {
            Ok(ready) if ready == pods => Ok(()),
            _ => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Err(ready.to_string())
            }
        }
    })
    .await?;
    Ok(())
}
