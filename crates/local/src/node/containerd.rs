//! The container runtime of a node: containerd with a network of its own for pods.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::{PODS, write};
use crate::part::{Part, Spec};
use crate::{programs, wait};

/// Where containerd keeps what the kubelet sees.
const NAMESPACE: &str = "k8s.io";
/// What containerd's CRI part puts on an image once it knows it.
const KNOWN: &str = "io.cri-containerd.image=managed";
/// Where Debian keeps the network plugins.
const PLUGINS: &str = "/usr/lib/cni";
/// A loaded machine takes seconds to start a program of this size.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// The first image brings its layer along.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// A running containerd.
#[derive(Debug)]
pub(super) struct Containerd {
    part: Part,
    socket: PathBuf,
    ctr: PathBuf,
}

impl Containerd {
    /// Starts it and waits until it answers. `pause` is the image that holds a pod's namespaces.
    pub(super) async fn start(place: &Path, pause: &str) -> anyhow::Result<Self> {
        ensure!(
            Path::new(PLUGINS).join("bridge").is_file(),
            "find the network plugins in {PLUGINS}: install the package containernetworking-plugins"
        );
        for program in ["runc", "nft"] {
            programs::find(program)?;
        }
        let networks = place.join("networks");
        std::fs::create_dir(&networks).context("create the directory of networks")?;
        write(&networks.join("pods.conflist"), &network(place).to_string())?;
        let configuration = place.join("containerd.toml");
        write(&configuration, &toml(place, &networks, pause))?;
        let spec = Spec::new(
            "containerd",
            programs::find("containerd")?,
            place.join("containerd.log"),
        )
        .arguments(["--config".as_ref(), configuration.as_os_str()]);
        let mut containerd = Self {
            part: Part::start(spec).await?,
            socket: socket(place),
            ctr: programs::find("ctr")?,
        };
        containerd.answers().await?;
        Ok(containerd)
    }

    /// Where the kubelet finds it.
    pub(super) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Imports an archive and waits until the kubelet can use its images.
    pub(super) async fn import(&self, archive: &Path, names: &[&str]) -> anyhow::Result<()> {
        let archive = archive.display().to_string();
        self.ctr(&["images", "import", &archive]).await?;
        // The CRI part hears of an image a moment later, and a pod that is started before that
        // fails as if there were none.
        for name in names {
            wait::until(
                KNOWN_WITHIN,
                &format!("image {name} to be known"),
                || async {
                    let filter = format!("name=={name}");
                    let listed = self.ctr(&["images", "list", &filter]).await;
                    let listed = listed.map_err(|error| format!("{error:#}"))?;
                    match listed.contains(KNOWN) {
                        true => Ok(()),
                        false => Err(listed),
                    }
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let deadline = std::time::Instant::now() + READY_WITHIN;
        loop {
            self.part.check()?;
            match self.ctr(&["version"]).await {
                Ok(_) => return Ok(()),
                Err(error) if std::time::Instant::now() >= deadline => {
                    return Err(error.context(self.part.log_tail()));
                }
                Err(_) => {}
            }
        }
    }

    async fn ctr(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let command = arguments.join(" ");
        let ran = tokio::process::Command::new(&self.ctr)
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace", NAMESPACE, "--connect-timeout", "2s"])
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("run ctr {command}"))?;
        ensure!(
            ran.status.success(),
            "ctr {command}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }
}

fn socket(place: &Path) -> PathBuf {
    place.join("containerd.sock")
}

/// A bridge for pods. Nothing is translated: all that pods talk to is in this network namespace.
fn network(place: &Path) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": place.join("addresses"),
                "ranges": [[{ "subnet": PODS }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}

fn toml(place: &Path, networks: &Path, pause: &str) -> String {
    let root = place.join("containerd");
    let state = place.join("containerd-state");
    let (root, state, socket) = (root.display(), state.display(), socket(place));
    let (socket, networks) = (socket.display(), networks.display());
    // Lowering a process' OOM score needs a capability that root in a virtual machine or container
    // may not have; without `restrict_oom_score_adj` no pod starts then.
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
disable_apparmor = true
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PLUGINS}"
conf_dir = "{networks}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}
