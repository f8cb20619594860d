//! Operations of a JSON patch.

use serde_json::{Map, Value};

/// The path of an annotation.
pub(super) fn annotation(name: &str) -> String {
    format!("/metadata/annotations/{}", escaped(name))
}

/// The path of a label.
pub(super) fn label(name: &str) -> String {
    format!("/metadata/labels/{}", escaped(name))
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Operations, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Operations(Vec<Value>);

impl Operations {
    /// Sets a field, whatever it was.
    pub(super) fn set(&mut self, path: &str, value: Value) {
        self.push("add", path, Some(value));
    }

    /// Sets a field that was `seen` so: if it is not any more, nothing of the patch is done.
    pub(super) fn replace(&mut self, path: &str, seen: &Value, value: Value) {
        self.push("test", path, Some(seen.clone()));
        self.push("replace", path, Some(value));
    }

    /// Takes away a field that is there.
    pub(super) fn remove(&mut self, path: &str) {
        self.push("remove", path, None);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn done(self) -> Vec<Value> {
        self.0
    }

    fn push(&mut self, operation: &str, path: &str, value: Option<Value>) {
        let mut entry = Map::new();
        entry.insert("op".to_owned(), Value::from(operation));
        entry.insert("path".to_owned(), Value::from(path));
        entry.extend(value.map(|it| ("value".to_owned(), it)));
        self.0.push(Value::Object(entry));
    }
}
