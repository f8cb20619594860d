//! What the server under test may do in Kubernetes: what is shipped for it (`deploy/kubernetes`), in
//! one namespace.

use local::kubernetes::{ControlPlane, SLUICE};
use serde_json::json;

/// The rules that are shipped.
const RIGHTS: &str = include_str!("../../deploy/kubernetes/rights.yaml");

/// Lets the user [`SLUICE`] deliver in a namespace.
///
/// # Errors
/// When the server refuses it.
pub async fn grant(plane: &ControlPlane, namespace: &str) -> anyhow::Result<()> {
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "RoleBinding",
        "metadata": { "name": "sluice", "namespace": namespace },
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "sluice" },
        "subjects": [{ "apiGroup": group, "kind": "User", "name": SLUICE }],
    });
    plane.apply(RIGHTS).await?;
    plane.apply(&binding.to_string()).await
}
