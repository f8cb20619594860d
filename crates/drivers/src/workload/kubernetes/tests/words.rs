//! Writes in words, a line each.

use serde_json::{Value, json};

use crate::{kubernetes::revisions, workload::kubernetes::desired::Write};

/// The image of a Deployment's or ReplicaSet's pods.
pub(super) fn image(object: &Value) -> &str {
    object["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap()
}

/// One line for a write.
pub(super) fn words(write: &Write) -> String {
    let (what, operations) = match write {
        Write::Create { manifest } => {
            let metadata = &manifest["metadata"];
            return format!(
                "create {} {} as revision {}, replicas {}",
                metadata["name"].as_str().unwrap(),
                image(manifest),
                metadata["labels"][revisions::REVISION].as_str().unwrap(),
                manifest["spec"]["replicas"]
            );
        }
        Write::Copy(copy) => return format!("copy {} holding {}", copy.of, copy.digest),
        Write::Forget(_) => return "delete a copy".to_owned(),
        Write::Deployment { operations, again } => {
            let again = if again.is_empty() { "" } else { " again" };
            (format!("Deployment{again}"), operations)
        }
        Write::Set { name, operations } => (name.clone(), operations),
    };
    let told = operations.iter().filter(|it| it["op"] != "test").map(|it| {
        let path = it["path"].as_str().unwrap();
        let path = path.replace("~1", "/");
        let name = path.trim_start_matches("/metadata/annotations/");
        let name = name
            .trim_start_matches("/metadata/labels/")
            .trim_start_matches("/spec/");
        match (it["op"].as_str(), name) {
            (Some("remove"), _) => format!("-{name}"),
            (_, "template") => format!(
                "template {}",
                image(&json!({"spec": {"template": it["value"]}}))
            ),
            _ => format!("{name} {}", it["value"].to_string().replace("\\\"", "'")),
        }
    });
    format!("{what}: {}", told.collect::<Vec<_>>().join(", "))
}
