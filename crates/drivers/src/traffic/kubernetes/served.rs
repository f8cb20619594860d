//! Which of a kind's versions a cluster serves.

use serde_json::Value;

use crate::{
    DriverError,
    kubernetes::{Cluster, Failure, Kind},
};

/// The first of `kinds` (one kind in several versions) that the cluster serves. `what` they belong to,
/// for people.
pub(in crate::traffic) async fn served(
    cluster: &Cluster,
    what: &str,
    kinds: &'static [&'static Kind],
) -> Result<&'static Kind, DriverError> {
    let operation = format!("look for {what}");
    for kind in kinds {
        let key = format!("{} {}", kind.resource(), kind.version);
        if cluster.notes().last_certain(&key).is_some() {
            return Ok(kind);
        }
        let path = format!("/apis/{}/{}", kind.group, kind.version);
        match cluster.text(&operation, &path).await {
            Ok(text) if serves(&text, kind.plural) => {
                cluster.notes().note_certain(&key, "served");
                return Ok(kind);
            }
            Ok(_) => {}
            Err(error) if error.failure == Failure::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    let names: Vec<String> = kinds
        .iter()
        .map(|it| format!("{} {}", it.kind, it.version))
        .collect();
    Err(DriverError::permanent(
        operation,
        format!(
            "cluster {} does not serve {}: install {what}",
            cluster.name(),
            names.join(" or ")
        ),
    ))
}

fn serves(answer: &str, plural: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let resources = answer.get("resources").and_then(Value::as_array);
    let named = |it: &Value| it.get("name").and_then(Value::as_str) == Some(plural);
    resources.is_some_and(|it| it.iter().any(named))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_version_serves_is_read_from_its_list() {
        let answer =
            json!({ "resources": [{ "name": "httproutes" }, { "name": "httproutes/status" }] });
        assert!(serves(&answer.to_string(), "httproutes"));
        assert!(!serves(&answer.to_string(), "grpcroutes"));
        assert!(!serves("gone", "httproutes"));
    }
}
