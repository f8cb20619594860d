//! Pod templates: when two are the same, and a name for what they say.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    references,
    revisions::{REVISION, TEMPLATE_HASH},
};

/// A digest of what a pod template says, `sha256:…`. What Kubernetes adds to tell ReplicaSets apart
/// is left out, and so are fields that are there and empty (`null`). One that reads copies says what
/// it says without them.
pub fn digest(template: &Value) -> String {
    let mut plain = references::without_copies(template);
    strip(&mut plain, "labels", TEMPLATE_HASH);
    digest_of(&text(&plain))
}

/// A digest of any text, `sha256:…`.
pub fn digest_of(text: &str) -> String {
    format!("sha256:{}", hex(&Sha256::digest(text.as_bytes())))
}

/// A value as text: the same for maps of any order, and without what is there and empty.
pub fn text(value: &Value) -> String {
    canonical(value).to_string()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Whether `whole` says all that `part` says, and in its maps maybe more.
pub fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(key, part)| {
            let empty = Value::Null;
            contains(whole.get(key).unwrap_or(&empty), part)
        }),
        (Value::Array(whole), Value::Array(part)) => {
            let pairs = whole.iter().zip(part);
            whole.len() == part.len() && pairs.into_iter().all(|(it, part)| contains(it, part))
        }
        (whole, part) => whole == part,
    }
}

/// The template as a user wrote it: without what the drivers add to make two revisions of the same
/// template differ.
pub fn without_marks(template: &Value) -> Value {
    let mut plain = template.clone();
    strip(&mut plain, "annotations", REVISION);
    plain
}

/// A selector as a query: `app=web,tier in (a,b)`.
pub fn query(selector: &Value) -> String {
    let equal = selector.get("matchLabels").and_then(Value::as_object);
    let equal = equal
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    let more = selector.get("matchExpressions").and_then(Value::as_array);
    let more = more.into_iter().flatten().filter_map(expression);
    equal.chain(more).collect::<Vec<_>>().join(",")
}

fn expression(it: &Value) -> Option<String> {
    let key = it.get("key")?.as_str()?;
    let values = it.get("values").and_then(Value::as_array);
    let values: Vec<&str> = values
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let values = values.join(",");
    match it.get("operator")?.as_str()? {
        "In" => Some(format!("{key} in ({values})")),
        "NotIn" => Some(format!("{key} notin ({values})")),
        "Exists" => Some(key.to_owned()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

/// Takes `key` out of the metadata's `map`, and the map when nothing else is in it.
pub(super) fn strip(template: &mut Value, map: &str, key: &str) {
    let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(entries) = metadata.get_mut(map).and_then(Value::as_object_mut) else {
        return;
    };
    if entries.remove(key).is_some() && entries.is_empty() {
        metadata.remove(map);
    }
}

/// The same value with its maps in the order of their keys and without nulls.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().filter(|(_, it)| !it.is_null()).collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter();
            Value::Object(
                entries
                    .map(|(key, it)| (key.clone(), canonical(it)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kubernetes_adds_to_a_template_does_not_make_it_another_one() {
        let plain = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "web:1"}]}});
        let read = json!({
            "spec": {"containers": [{"image": "web:1"}]},
            "metadata": {"creationTimestamp": null, "labels": {"pod-template-hash": "abc", "app": "web"}},
        });
        assert_eq!(digest(&plain), digest(&read));
        let other = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "web:2"}]}});
        assert_ne!(digest(&plain), digest(&other));
    }

    #[test]
    fn a_template_written_again_may_come_back_with_more() {
        let kept = json!({"metadata": {"creationTimestamp": null}, "spec": {"containers": [{"image": "web:1"}]}});
        let read = json!({"metadata": {"labels": {}}, "spec": {"os": "linux", "containers": [{"image": "web:1", "new": 1}]}});
        assert!(contains(&read, &kept));
        assert!(!contains(&kept, &read));
        let more = json!({"spec": {"containers": [{"image": "web:1"}, {"image": "b"}]}});
        assert!(!contains(&more, &kept), "an item of a list more");
    }

    #[test]
    fn our_mark_is_taken_off_without_a_trace() {
        let plain = json!({"metadata": {"labels": {"app": "web"}}});
        let marked = json!({"metadata": {"labels": {"app": "web"}, "annotations": {"sluice.dev/revision": "3"}}});
        assert_eq!(without_marks(&marked), plain);
        let other = json!({"metadata": {"annotations": {"sluice.dev/revision": "3", "a": "b"}}});
        assert_eq!(
            without_marks(&other),
            json!({"metadata": {"annotations": {"a": "b"}}})
        );
    }
}
