//! One real Kubernetes node and a real Gateway, in the namespace that this process was started in by
//! `scripts/in-namespace`.
//!
//! ```text
//!   load ──> Envoy (10.88.1.1:8080) ──> pods (10.88.0.0/24)
//!              ^                          ^
//!           Contour                   containerd <── kubelet     kube-proxy (10.88.2.0/24)
//!              └─────────── API server ──────────────┴───────────────┘
//! ```
//!
//! The control plane is somebody else's ([`crate::kubernetes`]). Images come from this machine
//! ([`Image`]); nothing is pulled.
//!
//! Pods outlive the kubelet and containerd, as they should; dropping a node therefore leaves its
//! containers to the namespace, which ends them. So there is one node a namespace, and none outside:
//! addresses and ports are fixed, and what a kubelet does to a host is done to the namespace's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

mod agents;
mod archive;
mod containerd;
pub mod gateway;
mod image;

pub use gateway::{Files as GatewayFiles, Gateway};
pub use image::Image;

use crate::kubernetes::{self, ADMIN, Api, Component, ControlPlane};
use crate::part::Part;
use crate::{programs, wait};
use containerd::Containerd;
use image::Layer;

/// The node's address, which `scripts/in-namespace` gives to the namespace.
pub const ADDRESS: &str = "10.88.1.1";
/// The addresses of Services: `--service-cluster-ip-range` of the control plane.
pub const SERVICES: &str = "10.88.2.0/24";
/// The addresses of pods.
pub const PODS: &str = "10.88.0.0/24";
/// The node's name.
pub const NAME: &str = "node0";
/// Where the sample service's binary is in every image.
pub const PROGRAM: &str = "/bin/sluice";

/// Set by `scripts/in-namespace`: the name of this run and of its control group.
const NAMESPACE_VARIABLE: &str = "SLUICE_NAMESPACE";
/// The image that holds a pod's namespaces, and does nothing.
const PAUSE: &str = "sluice.test/pause:1";
/// A node is ready in 3 to 6 s; a loaded machine takes its time.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The options of a control plane for a real node.
pub fn control_plane() -> kubernetes::Options {
    let mut options = kubernetes::Options {
        service_range: SERVICES.to_owned(),
        nodes: 0,
        // Logs are read from the node, whose name has no address.
        flags: vec![(
            Component::ApiServer,
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        )],
        ..kubernetes::Options::default()
    };
    // Makes a ConfigMap that the kubelet puts into every pod.
    let publisher = "root-ca-certificate-publisher-controller";
    options.controllers.push(publisher.to_owned());
    options
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order: what starts pods goes before what runs them.
    proxy: Part,
    kubelet: Part,
    containerd: Containerd,
    layer: Layer,
    place: PathBuf,
}

impl Node {
    /// Starts it in the directory `place` and waits until pods can be put on it. `sluice` is the
    /// binary whose sample service the images run; `images` are there from the beginning.
    ///
    /// # Errors
    /// When this process is not in a namespace made for it, a program is missing, or a part does
    /// not get ready.
    pub async fn start(
        place: &Path,
        plane: &ControlPlane,
        sluice: &Path,
        images: &[Image],
    ) -> anyhow::Result<Self> {
        let group = std::env::var(NAMESPACE_VARIABLE)
            .context("start a node: this is not a namespace made by scripts/in-namespace")?;
        std::fs::create_dir_all(place)
            .with_context(|| format!("create directory {}", place.display()))?;
        let sleep = programs::find("sleep")?;
        let layer = Layer::of(&[("sluice", sluice), ("sleep", &sleep)], place)?;
        let containerd = Containerd::start(place, PAUSE).await?;
        let pause = Image {
            name: PAUSE.to_owned(),
            command: vec!["/bin/sleep".to_owned(), "infinity".to_owned()],
            environment: Vec::new(),
        };
        let images = [&[pause], images].concat();
        let program = plane.binary().path();
        let kubeconfig = plane.kubeconfig(ADMIN)?;
        let endpoint = containerd.endpoint();
        let (kubelet, proxy, imported) = tokio::join!(
            agents::kubelet(place, program, &kubeconfig, &endpoint, &group),
            agents::proxy(place, program, &kubeconfig),
            import(&containerd, place, &layer, true, &images),
        );
        imported?;
        let mut node = Self {
            proxy: proxy?,
            kubelet: kubelet?,
            containerd,
            layer,
            place: place.to_owned(),
        };
        node.becomes_ready(&plane.api(ADMIN, "local")?).await?;
        Ok(node)
    }

    /// Gives it more images; those of a name it knows are replaced.
    ///
    /// # Errors
    /// When they cannot be imported.
    pub async fn import(&self, images: &[Image]) -> anyhow::Result<()> {
        import(&self.containerd, &self.place, &self.layer, false, images).await
    }

    /// Fails if a part of it has ended.
    fn check(&mut self) -> anyhow::Result<()> {
        self.kubelet.check()?;
        self.proxy.check()?;
        Ok(())
    }

    async fn becomes_ready(&mut self, api: &Api) -> anyhow::Result<()> {
        let path = format!("/api/v1/nodes/{NAME}");
        let ready = wait::until(READY_WITHIN, "the node to be ready", || {
            let ended = self.check().err();
            let path = &path;
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(ended));
                }
                let node = api.get(path).await.map_err(|error| error.to_string())?;
                let taints = node.pointer("/spec/taints");
                match (condition(&node, "Ready"), taints) {
                    (Some("True"), None) => Ok(Ok(())),
                    (ready, taints) => Err(format!("Ready: {ready:?}, taints: {taints:?}")),
                }
            }
        });
        ready.await?
    }
}

/// The status of an object's condition: `True`, `False` or `Unknown`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let is = |it: &&Value| it.get("type").and_then(Value::as_str) == Some(kind);
    conditions.iter().find(is)?.get("status")?.as_str()
}

async fn import(
    containerd: &Containerd,
    place: &Path,
    layer: &Layer,
    with_layer: bool,
    images: &[Image],
) -> anyhow::Result<()> {
    let path = archive_in(place);
    image::write_archive(&path, layer, with_layer, images)?;
    let names: Vec<&str> = images.iter().map(|it| it.name.as_str()).collect();
    let imported = containerd.import(&path, &names).await;
    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    imported
}

/// A name for an archive that no other import of this process uses.
fn archive_in(place: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    place.join(format!(
        "images-{}.tar",
        NEXT.fetch_add(1, Ordering::Relaxed)
    ))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
