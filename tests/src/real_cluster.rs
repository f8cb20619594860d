//! One real Kubernetes for all tests of a process: control plane, node and Gateway, in the namespace
//! that `scripts/in-namespace` has made for this process. Each test has a Kubernetes namespace and a
//! host name of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use local::kubernetes::{ADMIN, Api, ControlPlane};
use local::node::{self, Gateway, GatewayFiles, Image, Node};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::{Version, binary};

#[allow(
    clippy::indexing_slicing,
    reason = "what is missing in a JSON value reads as null"
)]
mod belongings;
#[allow(
    clippy::indexing_slicing,
    reason = "what is missing in a JSON value reads as null"
)]
mod namespace;

pub use belongings::Belongings;
pub use namespace::{Namespace, SOON};

/// The port that the shop listens on in its pods.
pub const SHOP_PORT: u16 = 8080;

/// The parts. They run until the process ends: the namespace ends the containers then.
#[derive(Debug)]
pub struct RealCluster {
    /// Where the users come in.
    pub gateway: Gateway,
    /// Where the pods run.
    pub node: Node,
    /// The API server and all that talks to it.
    pub plane: ControlPlane,
    /// When it began to start.
    pub began: Instant,
    /// How long that took.
    pub started_in: Duration,
    _directory: TempDir,
}

impl RealCluster {
    /// The cluster of this process, started by the first who asks. A namespace holds only one: if
    /// it does not start, it is not tried again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Result<RealCluster, String>> = OnceCell::const_new();
        let started = async || Self::start().await.map_err(|error| format!("{error:#}"));
        let shared = SHARED.get_or_init(started).await.as_ref();
        shared.map_err(|error| anyhow!("start the real cluster: {error}"))
    }

    async fn start() -> anyhow::Result<Self> {
        let began = Instant::now();
        let directory = tempfile::Builder::new().prefix("sluice-e2e-").tempdir()?;
        let place = directory.path();
        let files = GatewayFiles::find()?;
        let plane = ControlPlane::start(&place.join("plane"), node::control_plane()).await?;
        let sluice = binary::sluice()?;
        let (node_place, gateway_place) = (place.join("node"), place.join("gateway"));
        let (node, gateway) = tokio::join!(
            Node::start(&node_place, &plane, &sluice, &[]),
            Gateway::start(&gateway_place, &plane, &files),
        );
        Ok(Self {
            gateway: gateway.context("start the Gateway")?,
            node: node.context("start the node")?,
            plane,
            began,
            started_in: began.elapsed(),
            _directory: directory,
        })
    }

    /// A client that may do everything. It belongs to the runtime of the test that asks for it.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn api(&self) -> anyhow::Result<Api> {
        self.plane.api(ADMIN, "e2e")
    }

    /// Gives the node an image of a version of the shop and returns the image's name, which stands
    /// for the version and all its flags.
    ///
    /// # Errors
    /// When it cannot be imported.
    pub async fn image(&self, version: &Version) -> anyhow::Result<String> {
        let image = shop(version);
        self.node.import(std::slice::from_ref(&image)).await?;
        Ok(image.name)
    }
}

/// The version that an image of [`RealCluster::image`] runs.
pub fn version_of(image: &str) -> &str {
    let tag = image.rsplit_once(':').map_or(image, |(_, tag)| tag);
    tag.split_once('-').map_or(tag, |(version, _)| version)
}

fn shop(version: &Version) -> Image {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut command = vec![node::PROGRAM.to_owned()];
    command.extend(version.arguments());
    command.extend(["--address".to_owned(), "0.0.0.0".to_owned()]);
    // A version of the same name behaves otherwise in another test.
    let mut behaviour = DefaultHasher::new();
    version.flags.hash(&mut behaviour);
    Image {
        name: format!(
            "sluice.test/shop:{}-{:016x}",
            version.name,
            behaviour.finish()
        ),
        command,
        environment: vec![("PORT".to_owned(), SHOP_PORT.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_names_its_version_and_stands_for_its_flags() {
        let (good, bad) = (shop(&Version::good("v2")), shop(&Version::bad("v2")));
        assert_ne!(good.name, bad.name);
        assert_eq!(version_of(&good.name), "v2");
        assert_eq!(version_of(&bad.name), "v2");
    }
}
