//! What somebody has in a namespace, to be found again as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use local::kubernetes::Api;
use local::wait;
use serde_json::Value;

/// What is looked at as a whole.
const OWN: [&str; 4] = [
    "apis/apps/v1/deployments",
    "api/v1/services",
    "apis/gateway.networking.k8s.io/v1/httproutes",
    "apis/policy/v1/poddisruptionbudgets",
];
/// What controllers make: only nothing of Sluice may be left in it.
const MADE: [&str; 3] = [
    "apis/apps/v1/replicasets",
    "api/v1/pods",
    "apis/discovery.k8s.io/v1/endpointslices",
];
/// What servers and controllers write into an object's metadata.
const MANAGED: [&str; 3] = ["managedFields", "resourceVersion", "generation"];
/// The Deployment controller's own count.
const COUNT: &str = "deployment.kubernetes.io/revision";
/// What the names of all labels and annotations of Sluice begin with.
const OURS: &str = "sluice.dev/";

/// The objects of a namespace, by collection and name, without what others write into them.
#[derive(Debug, Clone, PartialEq)]
pub struct Belongings(BTreeMap<String, Value>);

impl Belongings {
    /// Those that are there now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn of(api: &Api, namespace: &str) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        for collection in OWN {
            for mut object in list(api, namespace, collection).await? {
                let name = format!("{collection}/{}", name(&object));
                strip(&mut object);
                all.insert(name, object);
            }
        }
        Ok(Self(all))
    }

    /// Puts another image into every Deployment.
    pub fn set_image(&mut self, image: &str) {
        for object in self.0.values_mut() {
            let image_there = object.pointer_mut("/spec/template/spec/containers/0/image");
            if let Some(there) = image_there {
                *there = image.into();
            }
        }
    }

    /// Waits until these are there again, no others, and nothing of Sluice in anything.
    ///
    /// # Errors
    /// With what is not so.
    pub async fn are_there_again(
        &self,
        api: &Api,
        namespace: &str,
        within: Duration,
    ) -> anyhow::Result<()> {
        // Controllers copy labels a moment later.
        wait::until(within, "everything to be as it was", || async {
            let left = self.difference(api, namespace).await;
            match left.map_err(|error| format!("{error:#}"))?.as_slice() {
                [] => Ok(()),
                left => Err(left.join("\n")),
            }
        })
        .await?;
        Ok(())
    }

    async fn difference(&self, api: &Api, namespace: &str) -> anyhow::Result<Vec<String>> {
        let now = Self::of(api, namespace).await?;
        let mut found = Vec::new();
        for name in self.0.keys().chain(now.0.keys()) {
            let (before, after) = (self.0.get(name), now.0.get(name));
            if before != after {
                let text = |it: Option<&Value>| it.map_or("none".to_owned(), Value::to_string);
                found.push(format!("{name} was {}\nis {}", text(before), text(after)));
            }
        }
        for collection in OWN.iter().chain(&MADE) {
            for object in list(api, namespace, collection).await? {
                let metadata = without_managers(&object["metadata"]);
                if metadata.to_string().contains(OURS) {
                    found.push(format!("{collection}/{} has {metadata}", name(&object)));
                }
            }
        }
        Ok(found)
    }
}

async fn list(api: &Api, namespace: &str, collection: &str) -> anyhow::Result<Vec<Value>> {
    let (group, plural) = collection.rsplit_once('/').context("a path without '/'")?;
    let path = format!("/{group}/namespaces/{namespace}/{plural}");
    let mut list = api.get(&path).await?;
    let items = list["items"].as_array_mut().map(std::mem::take);
    items.with_context(|| format!("{path} has no items"))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn without_managers(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("managedFields");
    }
    metadata
}

/// Takes away what a user neither writes nor cares for.
fn strip(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in MANAGED {
            metadata.remove(field);
        }
    }
    if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(COUNT);
    }
}
