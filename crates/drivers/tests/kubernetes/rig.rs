//! A control plane that the tests share, and a driver's context on it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use drivers::{
    AppKey, Cx, Wake,
    kubernetes::{Cluster, Clusters},
    traffic::haproxy::Sockets,
    workload::{probe::Probes, process::Supervisor},
};
use local::kubernetes::{ADMIN, Api, Component, ControlPlane, Options, SLUICE};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell, mpsc::UnboundedReceiver};

/// Time in which anything happens here, with other tests beside it.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A control plane and its directory; the control plane goes first.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) plane: ControlPlane,
    _directory: TempDir,
}

impl Plane {
    /// One for a test that hurts it.
    pub(crate) async fn own() -> Self {
        Self::with(Vec::new()).await
    }

    /// One whose programs get these flags as well.
    pub(crate) async fn with(flags: Vec<(Component, String)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plane = ControlPlane::start(
            directory.path(),
            Options {
                gateway_api: true,
                flags,
                ..Options::default()
            },
        );
        Self {
            plane: plane.await.unwrap(),
            _directory: directory,
        }
    }

    /// The one that all tests of this process use; it ends with its last user.
    pub(crate) async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Plane>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(plane) = shared.upgrade() {
            return plane;
        }
        let plane = Arc::new(Self::own().await);
        *shared = Arc::downgrade(&plane);
        plane
    }
}

/// A driver's context on a control plane, as one replica has it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) cx: Cx,
    pub(crate) wakes: UnboundedReceiver<AppKey>,
    _directory: TempDir,
}

impl Replica {
    /// As user [`SLUICE`].
    pub(crate) fn new(plane: &ControlPlane) -> Self {
        Self::of(plane, SLUICE)
    }

    pub(crate) fn of(plane: &ControlPlane, user: &str) -> Self {
        // An error only says that a provider is installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let directory = tempfile::tempdir().unwrap();
        let (wake, wakes) = Wake::channel();
        let kubeconfig = plane.kubeconfig(user).unwrap();
        let cx = Cx {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            processes: Supervisor::open(directory.path(), wake.clone()).unwrap(),
            probes: Probes::new(wake.clone()),
            haproxy: Arc::new(Sockets::default()),
            single_flight: Arc::default(),
            kubernetes: Clusters::new(wake.clone(), Some(kubeconfig)),
            wake,
            data_dir: directory.path().to_owned(),
        };
        Self {
            cx,
            wakes,
            _directory: directory,
        }
    }

    pub(crate) async fn cluster(&self) -> Arc<Cluster> {
        self.cx.kubernetes.get(None).await.unwrap()
    }

    /// The apps that were woken since the last call.
    pub(crate) fn woken(&mut self) -> BTreeSet<String> {
        let mut woken = BTreeSet::new();
        while let Ok(app) = self.wakes.try_recv() {
            woken.insert(app.app);
        }
        woken
    }
}

pub(crate) fn app(name: &str) -> AppKey {
    AppKey {
        project: "default".to_owned(),
        app: name.to_owned(),
    }
}

/// All that the drivers need, in one namespace: the rights that are shipped, and no others.
pub(crate) async fn allow(plane: &ControlPlane, namespace: &str) {
    let rules = shipped_rights(plane).await;
    plane.allow(SLUICE, namespace, &rules).await.unwrap();
}

/// The rules of `deploy/kubernetes/rights.yaml`.
pub(crate) async fn shipped_rights(plane: &ControlPlane) -> Value {
    static RIGHTS: OnceCell<Value> = OnceCell::const_new();
    let read = RIGHTS.get_or_init(|| rules(plane, "rights.yaml"));
    read.await.clone()
}

/// The rules of the role in a file of `deploy/kubernetes`.
pub(crate) async fn rules(plane: &ControlPlane, file: &str) -> Value {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kubernetes");
    let file = format!("{directory}/{file}");
    let create = ["create", "--dry-run=client", "-o", "json", "-f", &file];
    let text = plane.kubectl(&create, "").await.unwrap();
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let roles = objects.map(|it| it.unwrap()["rules"].take());
    let mut rules = roles.filter(|it| !it.is_null());
    rules.next().unwrap()
}

pub(crate) fn admin(plane: &ControlPlane) -> Api {
    plane.api(ADMIN, "test").unwrap()
}

/// A Deployment's manifest; `spec` goes over it.
pub(crate) fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [
                    {"name": "web", "image": image, "ports": [{"containerPort": 8080}]},
                ]},
            },
        },
    })
}

pub(crate) fn deployments(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments")
}
