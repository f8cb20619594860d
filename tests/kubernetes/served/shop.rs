//! A shop of somebody's on the cluster, and the server that delivers it: started, adopted, recorded,
//! and at the end released, with everything as it was.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use e2e::apps::{APP, PROJECT};
use e2e::database::Database;
use e2e::real_cluster::Belongings;
use e2e::server::Server;
use e2e::{AppClient, Cluster, binary, invariants, rights, world};
use local::kubernetes::gateway::{Behaviour, GatewayStub};
use local::kubernetes::{ADMIN, Api, AuditLog, Entry, Recording, SLUICE};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::SOON;
use super::moments::{Moment, replay};

/// The images of stable and of what is brought out.
pub(crate) const V1: &str = "shop:v1";
pub(crate) const V2: &str = "shop:v2";
pub(crate) const V3: &str = "shop:v3";
pub(crate) const V4: &str = "shop:v4";

/// A busy machine, not a fault: see `invariants`. The last one is told when the router is looked at
/// before the mark that the workload sets on its ReplicaSet is seen.
const BUSY_MACHINE: [&str; 5] = [
    "Postgres is unavailable",
    "works again",
    "slow statement",
    "the API server has not answered within",
    "narrowing it would take their traffic",
];

/// What a shop is like.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Its pods.
    pub(crate) replicas: u32,
    /// How they are brought out.
    pub(crate) strategy: Value,
    /// More objects of the user's.
    pub(crate) objects: Vec<Value>,
    /// As whom the server talks to the API server, if not as [`SLUICE`] straight.
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn new(replicas: u32, strategy: Value) -> Self {
        Self {
            replicas,
            strategy,
            objects: Vec::new(),
            kubeconfig: None,
        }
    }
}

/// The parts, dropped in this order.
pub(crate) struct Shop {
    pub(crate) server: Server,
    app: AppClient,
    pub(crate) token: String,
    pub(crate) database: Database,
    recording: Recording,
    /// What servers have asked for so far.
    asked: Mutex<(AuditLog, Vec<Entry>)>,
    /// The version from which on its moments are looked at.
    began: u64,
    found: Belongings,
    _gateway: GatewayStub,
    pub(crate) api: Api,
    pub(crate) namespace: String,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) directory: TempDir,
}

impl Deref for Shop {
    type Target = AppClient;

    fn deref(&self) -> &AppClient {
        &self.app
    }
}

impl Shop {
    /// One on the shared cluster, adopted.
    pub(crate) async fn start(setup: Setup) -> anyhow::Result<Self> {
        Self::on(Cluster::shared().await?, setup).await
    }

    pub(crate) async fn on(cluster: Arc<Cluster>, setup: Setup) -> anyhow::Result<Self> {
        drop(world::http()?);
        let namespace = cluster.namespace("served").await?;
        rights::grant(&cluster, &namespace).await?;
        let objects = [objects(setup.replicas), setup.objects].concat();
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        cluster
            .kubectl(&["apply", "-n", &namespace, "-f", "-"], &objects)
            .await?;
        let gateway = GatewayStub::start(&cluster, &namespace, Behaviour::accept())?;
        let status = ["rollout", "status", "deployment/shop", "--timeout=90s"];
        cluster
            .kubectl(&[&status[..], &["-n", &namespace]].concat(), "")
            .await?;
        let api = cluster.api(ADMIN, "test")?;
        let found = Belongings::of(&api, &namespace).await?;
        let recording = cluster.record(&collections(&namespace)).await?;
        let database = Database::shared().await?;
        let directory = tempfile::Builder::new()
            .prefix("sluice-served-")
            .tempdir()?;
        let kubeconfig = match setup.kubeconfig {
            Some(path) => path,
            None => cluster.kubeconfig(SLUICE)?,
        };
        let environment = [("KUBECONFIG".to_owned(), kubeconfig.display().to_string())];
        let server = Server::start_with(directory.path(), database.url(), &environment).await?;
        let token = world::first_token(database.url()).await?;
        let app = AppClient::new(&server.url(), &token)?;
        let mut shop = Self {
            server,
            app,
            token,
            database,
            recording,
            asked: Mutex::new((cluster.audit_log(), Vec::new())),
            began: 0,
            found,
            _gateway: gateway,
            api,
            namespace,
            cluster,
            directory,
        };
        let adopted = shop.apply(&shop.file(&setup.strategy)).await;
        shop.explained(adopted).await?;
        let seen = shop.recording.so_far().await?;
        shop.began = seen.last().map_or(0, |it| it.version);
        Ok(shop)
    }

    /// Its app file with this strategy.
    pub(crate) fn file(&self, strategy: &Value) -> Value {
        let namespace = &self.namespace;
        json!({
            "app": APP,
            "project": PROJECT,
            "workload": {"kubernetes": {"namespace": namespace, "deployment": "shop"}},
            "traffic": {"gatewayApi": {"namespace": namespace, "httpRoute": "shop", "service": "shop"}},
            "strategy": strategy,
            "progressDeadline": "60s",
            "drain": "300ms",
        })
    }

    /// Its server, to be hurt, and its app.
    pub(crate) fn server_and_app(&mut self) -> (&mut Server, &AppClient) {
        (&mut self.server, &self.app)
    }

    /// Deploys an image and waits until its rollout has ended, in `phase`.
    pub(crate) async fn delivered(&self, image: &str, phase: &str) -> anyhow::Result<()> {
        let id = self.deploy(image).await?.summary.id;
        self.ended(id, phase).await?;
        Ok(())
    }

    /// Every moment since it was adopted, in order.
    pub(crate) async fn moments(&self) -> anyhow::Result<Vec<Moment>> {
        let recorded = self.recording.so_far().await?;
        Ok(replay(&recorded, self.began))
    }

    /// Waits until something recorded is so.
    pub(crate) async fn recorded(
        &self,
        what: &str,
        is: impl Fn(&Moment) -> bool,
    ) -> anyhow::Result<()> {
        local::wait::until_now(SOON, what, || {
            let moments = self.recording.look(|all| replay(all, self.began));
            match moments.iter().any(&is) {
                true => Ok(()),
                false => Err("not so"),
            }
        })
        .await?;
        Ok(())
    }

    /// What servers as `user` have asked for in its namespace.
    pub(crate) fn asked(&self, user: &str) -> anyhow::Result<Vec<Entry>> {
        let mut asked = self.asked.lock().unwrap();
        let (log, entries) = &mut *asked;
        let ours =
            |it: &Entry| it.namespace == self.namespace && it.user_agent.starts_with("sluice/");
        entries.extend(log.read()?.into_iter().filter(ours));
        let its = entries.iter().filter(|it| it.user == user);
        Ok(its.cloned().collect())
    }

    /// The history is whole, the log without a complaint but `allowed`, and once the app is released
    /// everything is as it was found, with `image`.
    pub(crate) async fn finish(&self, image: &str, allowed: &[&str]) -> anyhow::Result<()> {
        let outcome = self.finished(image, allowed).await;
        self.explained(outcome).await
    }

    async fn finished(&self, image: &str, allowed: &[&str]) -> anyhow::Result<()> {
        invariants::history(&self.database).await?;
        self.cli(&["release", APP]).await?.expect(0)?;
        let mut found = self.found.clone();
        found.set_image(image);
        found
            .are_there_again(&self.api, &self.namespace, SOON)
            .await?;
        let allowed = [allowed, &BUSY_MACHINE].concat();
        let complaints = self.server.complaints(&allowed);
        anyhow::ensure!(
            complaints.is_empty(),
            "the server's log complains:\n{}",
            complaints.join("\n")
        );
        Ok(())
    }

    /// Runs a `sluice` command against its server.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> anyhow::Result<binary::Ran> {
        let url = self.server.url();
        let environment = [
            ("SLUICE_SERVER", url.as_str()),
            ("SLUICE_TOKEN", &self.token),
        ];
        binary::run(arguments, &environment, "").await
    }

    /// A failure gets the report that explains it.
    pub(crate) async fn explained<T>(&self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        match outcome {
            Ok(value) => Ok(value),
            Err(error) => {
                let rollouts = self.database.rollouts().await;
                let log = self.server.log_tail(60);
                Err(anyhow::anyhow!(
                    "{error:#}\n{rollouts}\nend of the server's log:\n{log}"
                ))
            }
        }
    }

    /// The path of the Deployment.
    pub(crate) fn deployment(&self) -> String {
        format!(
            "/apis/apps/v1/namespaces/{}/deployments/shop",
            self.namespace
        )
    }
}

fn objects(replicas: u32) -> Vec<Value> {
    let labels = json!({"app": "shop"});
    // So long that what happens in between is recorded.
    let times = json!({"sluice.test/ready-after": "100ms", "sluice.test/drain": "200ms"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": times},
                "spec": {"containers": [
                    {"name": "web", "image": V1, "ports": [{"containerPort": 8080}]},
                ]},
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "shop"},
        "spec": {
            "parentRefs": [{"name": "gateway"}],
            "hostnames": ["shop.test"],
            "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
        },
    });
    vec![deployment, service, route]
}

fn collections(namespace: &str) -> [String; 5] {
    [
        "/apis/apps/v1|deployments",
        "/apis/apps/v1|replicasets",
        "/api/v1|pods",
        "/apis/discovery.k8s.io/v1|endpointslices",
        "/apis/gateway.networking.k8s.io/v1|httproutes",
    ]
    .map(|it| it.replace('|', &format!("/namespaces/{namespace}/")))
}
