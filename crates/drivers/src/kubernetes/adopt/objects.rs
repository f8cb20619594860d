//! Looking into objects as the API server gives them.

use std::collections::BTreeMap;

use serde_json::Value;

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name").unwrap_or_default()
}

pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    let list = object.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// A map of texts: labels, annotations, a selector.
pub(super) fn texts<'a>(object: &'a Value, pointer: &str) -> BTreeMap<&'a str, &'a str> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let pairs = map.into_iter().flatten();
    pairs
        .filter_map(|(key, it)| Some((key.as_str(), it.as_str()?)))
        .collect()
}

pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    texts(object, "/metadata/annotations").get(key).copied()
}

pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    texts(object, "/metadata/labels").get(key).copied()
}

pub(super) fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer)?.as_u64()
}

/// Whether a selector of plain labels selects pods with `labels`. An empty one selects nothing here.
pub(super) fn selects(selector: &BTreeMap<&str, &str>, labels: &BTreeMap<&str, &str>) -> bool {
    let has = |(key, value): (&&str, &&str)| labels.get(key) == Some(value);
    !selector.is_empty() && selector.iter().all(has)
}

/// Whether a label selector (`matchLabels`, `matchExpressions`) selects pods with `labels`.
pub(super) fn matches(selector: &Value, labels: &BTreeMap<&str, &str>) -> bool {
    let equal = texts(selector, "/matchLabels");
    let equal = equal.iter().all(|(key, it)| labels.get(key) == Some(it));
    let expressions = list(selector, "/matchExpressions").iter();
    equal
        && expressions.into_iter().all(|it| {
            let value = text(it, "/key").and_then(|key| labels.get(key));
            let values = list(it, "/values");
            let listed = value.is_some_and(|it| values.iter().any(|value| value == it));
            match text(it, "/operator") {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                Some(_) | None => false,
            }
        })
}

/// The labels of the pods that a Deployment makes.
pub(super) fn pod_labels(deployment: &Value) -> BTreeMap<&str, &str> {
    texts(deployment, "/spec/template/metadata/labels")
}

/// `a, b and c`.
pub(super) fn sequence(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
