//! `deploy/kubernetes` as it is shipped, on a real API server: the account and its rights, the two
//! policies, the example.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use e2e::Cluster;
use local::kubernetes::ADMIN;
use local::wait;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::in_place::SOON;

mod policies;
mod rights;

/// The account that is shipped.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:sluice:sluice";

/// A file of `deploy/kubernetes`.
pub(crate) fn path(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    root.join(name).canonicalize().unwrap()
}

/// The shared cluster, with everything applied and in force.
pub(crate) async fn installed() -> Arc<Cluster> {
    // Not held here: it ends with its last user.
    static INSTALLED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
    let mut installed = INSTALLED.lock().await;
    let cluster = Cluster::shared().await.unwrap();
    if !installed.ptr_eq(&Arc::downgrade(&cluster)) {
        let directory = path("");
        let apply = ["apply", "-k", directory.to_str().unwrap()];
        cluster.kubectl(&apply, "").await.unwrap();
        in_force(&cluster).await;
        *installed = Arc::downgrade(&cluster);
    }
    cluster
}

/// Waits until the API server goes by both policies: it learns of them a moment later.
async fn in_force(cluster: &Cluster) {
    let api = cluster.api(ADMIN, "test").unwrap();
    let namespace = cluster.namespace("in-force").await.unwrap();
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let mut held = policies::held("probe");
    held["metadata"]["annotations"]["sluice.dev/epoch"] = json!("2");
    api.create(&path, &held).await.unwrap();
    let path = format!("{path}/probe?dryRun=All&fieldManager=sluice");
    let changes = [
        json!({"spec": {"paused": false}}),
        json!({"metadata": {"annotations": {"sluice.dev/epoch": "1"}}}),
    ];
    for change in changes {
        wait::until(SOON, "a policy to be in force", || async {
            let patched = api.patch(&path, local::kubernetes::Patch::Merge, &change);
            match patched.await {
                Ok(_) => Err("it was let through".to_owned()),
                Err(error) if error.status() == Some(403) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
        .unwrap();
    }
}

/// An object as kubectl reads it from YAML.
pub(crate) async fn objects(cluster: &Cluster, file: &str) -> Vec<Value> {
    let file = path(file);
    let create = [
        "create",
        "--dry-run=client",
        "-o",
        "json",
        "-f",
        file.to_str().unwrap(),
    ];
    let text = cluster.kubectl(&create, "").await.unwrap();
    let stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let read: Vec<Value> = stream.map(Result::unwrap).collect();
    let items = |it: Value| match it["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![it],
    };
    read.into_iter().flat_map(items).collect()
}
