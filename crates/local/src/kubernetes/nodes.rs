//! Nodes that are only said to be there.

use std::time::Duration;

use serde_json::{Value, json};

use super::ControlPlane;
use crate::wait;

/// How long the controllers and KWOK may take to make the nodes ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

impl ControlPlane {
    /// Makes the nodes `fake-0`, …. KWOK takes them from there.
    pub(super) async fn make_nodes(&self, count: usize) -> anyhow::Result<()> {
        let api = self.admin()?;
        for number in 0..count {
            let name = format!("fake-{number}");
            let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
            let node = json!({"metadata": {"name": name, "labels": labels}});
            api.create("/api/v1/nodes", &node).await?;
        }
        Ok(())
    }

    /// Waits until pods can be put on every node.
    pub(super) async fn nodes_are_ready(&mut self, count: usize) -> anyhow::Result<()> {
        let api = self.admin()?;
        let clients = &mut self.clients;
        let ready = wait::until(READY_WITHIN, "the nodes to be ready", || {
            let ended = clients.iter_mut().find_map(|part| part.check().err());
            let api = &api;
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(ended));
                }
                let nodes = api.get("/api/v1/nodes").await;
                let nodes = nodes.map_err(|error| format!("{error:#}"))?;
                let ready = list(&nodes, "/items").filter(|node| is_ready(node)).count();
                if ready >= count {
                    Ok(Ok(()))
                } else {
                    Err(format!("{ready} of {count}"))
                }
            }
        });
        Ok(ready.await??)
    }
}

/// The items of a list within an object; none where there is none.
pub(super) fn list<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    object
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A text within an object.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> Option<&'a str> {
    object.pointer(path)?.as_str()
}

fn is_ready(node: &Value) -> bool {
    let ready = list(node, "/status/conditions")
        .any(|it| text(it, "/type") == Some("Ready") && text(it, "/status") == Some("True"));
    ready && list(node, "/spec/taints").next().is_none()
}
