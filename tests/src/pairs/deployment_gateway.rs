//! A Deployment of somebody's, behind an HTTPRoute, on a real node: Sluice finds it running, delivers
//! in place, and gives it back at the end of every scenario, under load.

use anyhow::{Context, ensure};
use async_trait::async_trait;
use local::kubernetes::SLUICE;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{First, Instance, Pair, REPLICAS, Version};
use crate::apps::{APP, PROJECT};
use crate::fronts::GatewayFront;
use crate::real_cluster::{Belongings, Namespace, RealCluster, SOON, version_of};
use crate::{Front, World, rights};

/// How long a pod serves on after it was told to end. Envoy learns of it some time later than the
/// kubelet; without Sluice it would take as long.
const GRACE: &str = "2s";
/// Requests that see the app released.
const SERVED: u64 = 60;

/// `kubernetes` with `gatewayApi`. One belongs to one world.
#[derive(Debug, Default)]
pub struct DeploymentGateway {
    found: OnceCell<Belongings>,
}

impl DeploymentGateway {
    async fn namespace(world: &World) -> anyhow::Result<Namespace> {
        Namespace::named(&GatewayFront::namespace(world)).await
    }

    /// The pods that nobody has told to end.
    async fn pods(world: &World) -> anyhow::Result<Vec<Value>> {
        let namespace = Self::namespace(world).await?;
        let path = format!("/api/v1/namespaces/{}/pods", namespace.name);
        let mut pods = namespace.api.get(&path).await?;
        let items = pods["items"].as_array_mut().map(std::mem::take);
        let mut pods = items.context("a list has no items")?;
        pods.retain(|it| it["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }
}

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap_or_default()
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn patient(version: &Version) -> Version {
    let mut version = version.clone();
    let grace = version.flags.iter().position(|it| it == "--grace");
    if let Some(value) = grace.and_then(|it| version.flags.get_mut(it + 1)) {
        GRACE.clone_into(value);
    }
    version
}

#[async_trait]
impl Pair for DeploymentGateway {
    fn name(&self) -> &'static str {
        "kubernetes x gatewayApi"
    }

    fn workload(&self, world: &World) -> Value {
        let namespace = GatewayFront::namespace(world);
        json!({ "kubernetes": { "namespace": namespace, "deployment": "shop" } })
    }

    fn traffic(&self, world: &World) -> Value {
        let namespace = GatewayFront::namespace(world);
        json!({ "gatewayApi": { "namespace": namespace, "httpRoute": "shop", "service": "shop" } })
    }

    fn front(&self) -> &dyn Front {
        &GatewayFront
    }

    fn progress_deadline(&self) -> &'static str {
        "40s"
    }

    async fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        let kubeconfig = RealCluster::shared().await?.plane.kubeconfig(SLUICE)?;
        Ok(vec![(
            "KUBECONFIG".to_owned(),
            kubeconfig.display().to_string(),
        )])
    }

    async fn prepare(&self, world: &World, version: &Version) -> anyhow::Result<First> {
        let image = self.artifact(world, version).await?;
        let namespace = Self::namespace(world).await?;
        let objects = [
            namespace.deployment("shop", &image, REPLICAS),
            namespace.service("shop"),
            namespace.route(&[("shop", 1)]),
        ];
        namespace.apply(&objects).await?;
        rights::grant(&namespace.cluster.plane, &namespace.name).await?;
        namespace.rolled_out("shop").await?;
        namespace.open().await?;
        let found = Belongings::of(&namespace.api, &namespace.name).await?;
        self.found.set(found).context("one pair, two worlds")?;
        Ok(First::Adopted)
    }

    /// The app is released: users notice nothing, and what is there is what was found, with stable's
    /// image.
    async fn finish(&self, world: &mut World) -> anyhow::Result<()> {
        let namespace = Self::namespace(world).await?;
        let app = world.client.app(PROJECT, APP).await?;
        let stable = app.stable.context("there is no stable revision")?.artifact;
        let running = self.running(world).await?;
        let scenario = world.load_log.take();
        world.start_load(&GatewayFront)?;
        world.served(SERVED).await?;
        world.cli(&["release", APP]).await?.expect(0)?;
        world.served(SERVED).await?;
        world.stop_load().await;
        let log = std::mem::replace(&mut world.load_log, scenario);
        let log = log.context("there was no load")?;
        ensure!(
            log.totals.errors() == 0 && log.totals.unversioned.requests == 0,
            "while the app was released: {:?} {:?}",
            log.totals,
            log.transport_errors
        );
        let mut found = self.found.get().context("nothing was found")?.clone();
        found.set_image(&stable);
        found
            .are_there_again(&namespace.api, &namespace.name, SOON)
            .await?;
        let after = self.running(world).await?;
        ensure!(
            running == after,
            "before the release {running:?}, after it {after:?}"
        );
        namespace.delete().await
    }

    async fn artifact(&self, _: &World, version: &Version) -> anyhow::Result<String> {
        RealCluster::shared().await?.image(&patient(version)).await
    }

    fn runs_instances(&self) -> bool {
        true
    }

    async fn running(&self, world: &World) -> anyhow::Result<Vec<Instance>> {
        let pods = Self::pods(world).await?;
        let instance = |pod: &Value| Instance {
            known_as: version_of(image(pod)).to_owned(),
            name: name(pod).to_owned(),
        };
        let mut running: Vec<Instance> = pods.iter().map(instance).collect();
        running.sort();
        Ok(running)
    }

    async fn kill_instances(
        &self,
        world: &World,
        version: &Version,
        _: &str,
    ) -> anyhow::Result<()> {
        let namespace = Self::namespace(world).await?;
        let pods = Self::pods(world).await?;
        for pod in pods
            .iter()
            .filter(|it| version_of(image(it)) == version.name)
        {
            let pod = name(pod);
            let delete = ["delete", "pod", pod, "--grace-period=0", "--force"];
            let delete = [&delete[..], &["-n", &namespace.name]].concat();
            namespace.cluster.plane.kubectl(&delete, "").await?;
        }
        Ok(())
    }
}
