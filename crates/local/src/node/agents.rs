//! The two agents of a node: the kubelet, which runs its pods, and kube-proxy, which makes the
//! addresses of Services work.

use std::path::Path;

use serde_json::{Value, json};

use super::{ADDRESS, NAME, PODS, write};
use crate::part::{Part, Spec};

/// Starts the kubelet. Its pods' processes are in the control group `group`.
pub(super) async fn kubelet(
    place: &Path,
    program: &Path,
    kubeconfig: &Path,
    endpoint: &str,
    group: &str,
) -> anyhow::Result<Part> {
    let configuration = place.join("kubelet.json");
    write(
        &configuration,
        &kubelet_configuration(place, endpoint, group).to_string(),
    )?;
    let spec = Spec::new("kubelet", program.to_owned(), place.join("kubelet.log"))
        .arguments(["kubelet"])
        .arguments([
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--config={}", configuration.display()),
            format!("--root-dir={}", place.join("kubelet").display()),
            format!(
                "--cert-dir={}",
                place.join("kubelet-certificates").display()
            ),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={ADDRESS}"),
        ])
        .environment("NO_PROXY", "*");
    Ok(Part::start(spec).await?)
}

/// Starts kube-proxy.
pub(super) async fn proxy(place: &Path, program: &Path, kubeconfig: &Path) -> anyhow::Result<Part> {
    let configuration = place.join("kube-proxy.json");
    write(&configuration, &proxy_configuration(kubeconfig).to_string())?;
    let spec = Spec::new(
        "kube-proxy",
        program.to_owned(),
        place.join("kube-proxy.log"),
    )
    .arguments(["kube-proxy"])
    .arguments([format!("--config={}", configuration.display())])
    .environment("NO_PROXY", "*");
    Ok(Part::start(spec).await?)
}

fn kubelet_configuration(place: &Path, endpoint: &str, group: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "containerRuntimeEndpoint": endpoint,
        // Two nodes on one machine must not tidy up each other's pods.
        "cgroupRoot": format!("/{group}"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        // The namespace is the fence: in it, whoever reaches the kubelet may read logs.
        "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
        "authorization": { "mode": "AlwaysAllow" },
        "resolvConf": "",
        "failSwapOn": false,
        // What the machine lacks is not what is tested, and images cannot be pulled again.
        "evictionHard": { "memory.available": "1Mi" },
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": place.join("logs"),
        "volumePluginDir": place.join("volume-plugins"),
    })
}

fn proxy_configuration(kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": kubeconfig },
        "hostnameOverride": NAME,
        "bindAddress": ADDRESS,
        "clusterCIDR": PODS,
        // These limits are the whole host's.
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "nftables": { "minSyncPeriod": "100ms" },
    })
}
