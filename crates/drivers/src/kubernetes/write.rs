//! Writes, each fenced: by what it was decided on, and by the epoch of the lease it is made under.
//!
//! A replica that lost its lease may not know it yet. So each object that is written carries the
//! epoch of its writer ([`EPOCH`]), a write is refused here when the object shows a higher one, and
//! the API server refuses it when the object is not the one that was looked at any more:
//!
//! - a merge patch names the version that it was decided on: any change in between is a conflict;
//! - a JSON patch tests what it was decided on, field by field, and the epoch: changes of other
//!   fields, such as a controller's counts, do not get in its way.

use std::sync::Arc;

use http::{
    Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    kind::Kind,
    object::Object,
    request::{Failure, RequestError, failed},
};

/// The annotation that holds the epoch an object was last written under.
pub const EPOCH: &str = "sluice.dev/epoch";

/// As which field manager objects are written.
pub const MANAGER: &str = "sluice";

/// How an object is changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A merge patch (RFC 7386). Any change of the object since it was read is a conflict.
    Merge(Value),
    /// Operations of a JSON patch (RFC 6902). `test` what they depend on; a test that fails is a
    /// conflict.
    Json(Vec<Value>),
}

impl Cluster {
    /// Changes `object`, as it was read. Its new state, which is in the cache as well.
    pub async fn patch(
        &self,
        kind: &'static Kind,
        object: &Object,
        epoch: i64,
        change: Change,
    ) -> Result<Arc<Object>, RequestError> {
        let operation = format!(
            "patch {} {}/{}",
            kind.resource(),
            object.namespace,
            object.name
        );
        fence(&operation, object, epoch)?;
        let (content, body) = match change {
            Change::Merge(patch) => (
                "application/merge-patch+json",
                merge_patch(object, epoch, patch),
            ),
            Change::Json(operations) => (
                "application/json-patch+json",
                json_patch(object, epoch, operations),
            ),
        };
        let path = kind.path(&object.namespace, Some(&object.name));
        let request = Request::patch(format!("{path}?fieldManager={MANAGER}"))
            .header(CONTENT_TYPE, content)
            .header(ACCEPT, "application/json");
        let namespace = &object.namespace;
        self.written(kind, namespace, "patch", operation, request, bytes(&body))
            .await
    }

    /// Makes an object from its manifest (without `apiVersion` and `kind`), written under `epoch`.
    pub async fn create(
        &self,
        kind: &'static Kind,
        namespace: &str,
        epoch: i64,
        mut manifest: Value,
    ) -> Result<Arc<Object>, RequestError> {
        let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
        let operation = format!(
            "create {} {namespace}/{}",
            kind.resource(),
            name.unwrap_or_default()
        );
        let ours = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": {"namespace": namespace, "annotations": {EPOCH: epoch.to_string()}},
        });
        merge(&mut manifest, ours);
        let path = kind.path(namespace, None);
        let request = Request::post(format!("{path}?fieldManager={MANAGER}"))
            .header(CONTENT_TYPE, "application/json");
        let body = bytes(&manifest);
        self.written(kind, namespace, "create", operation, request, body)
            .await
    }

    /// Deletes `object`, if it still is as it was read. Its dependents go with it.
    pub async fn delete(
        &self,
        kind: &'static Kind,
        object: &Object,
        epoch: i64,
    ) -> Result<(), RequestError> {
        let operation = format!(
            "delete {} {}/{}",
            kind.resource(),
            object.namespace,
            object.name
        );
        fence(&operation, object, epoch)?;
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": object.uid, "resourceVersion": object.resource_version},
        });
        let request = Request::delete(kind.path(&object.namespace, Some(&object.name)))
            .header(CONTENT_TYPE, "application/json");
        let server = Arc::clone(&self.server);
        let asked = operation.clone();
        let deleted = async move {
            let answer = server.ask("delete", &asked, request, bytes(&body)).await;
            answer.map(drop)
        };
        self.abandoned
            .or_answered(&object.namespace, &operation, deleted)
            .await
    }

    /// Sends a write and keeps what it was answered with, also when nobody waits any more.
    async fn written(
        &self,
        kind: &'static Kind,
        namespace: &str,
        verb: &'static str,
        operation: String,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Arc<Object>, RequestError> {
        let server = Arc::clone(&self.server);
        let cache = self.shared(kind, namespace);
        let asked = operation.clone();
        let written = async move {
            let answer = server.ask_json(verb, &asked, request, body).await;
            Ok(cache.written(taken(kind, &asked, answer)?))
        };
        self.abandoned
            .or_answered(namespace, &operation, written)
            .await
    }
}

/// The object that a write was answered with.
fn taken(
    kind: &'static Kind,
    operation: &str,
    answer: Result<Value, RequestError>,
) -> Result<Object, RequestError> {
    let object = match answer {
        Ok(answer) => Object::read(kind, answer),
        Err(error) if error.failure == Failure::Invalid && is_failed_test(&error) => {
            let message = "the object has changed since it was read";
            return Err(failed(operation, Failure::Conflict, message));
        }
        Err(error) => return Err(error),
    };
    object.ok_or_else(|| failed(operation, Failure::Unknown, "the answer is no object"))
}

/// Refuses to overwrite what was written under a newer lease.
fn fence(operation: &str, object: &Object, epoch: i64) -> Result<(), RequestError> {
    match object.epoch() {
        Some(newer) if newer > epoch => Err(failed(
            operation,
            Failure::Fenced,
            format!(
                "it was written under epoch {newer}, this is {epoch}: another replica has taken over; if the database was restored from a backup instead, take annotation {EPOCH} off"
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn merge_patch(object: &Object, epoch: i64, mut patch: Value) -> Value {
    let mut ours =
        json!({"metadata": {"resourceVersion": object.resource_version, "uid": object.uid}});
    if object.epoch() != Some(epoch) {
        merge(
            &mut ours,
            json!({"metadata": {"annotations": {EPOCH: epoch.to_string()}}}),
        );
    }
    merge(&mut patch, ours);
    patch
}

fn json_patch(object: &Object, epoch: i64, operations: Vec<Value>) -> Value {
    let path = format!("/metadata/annotations/{}", EPOCH.replace('/', "~1"));
    let mut all = vec![json!({"op": "test", "path": "/metadata/uid", "value": object.uid})];
    match object.annotations.get(EPOCH) {
        Some(seen) => all.push(json!({"op": "test", "path": path, "value": seen})),
        // That there is none cannot be tested: then nothing may have changed.
        None => all.push(json!({
            "op": "replace", "path": "/metadata/resourceVersion", "value": object.resource_version,
        })),
    }
    if object.annotations.is_empty() {
        all.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    if object.epoch() != Some(epoch) {
        all.push(json!({"op": "add", "path": path, "value": epoch.to_string()}));
    }
    all.extend(operations);
    Value::Array(all)
}

/// Lays `over` upon `value`, maps into maps.
pub(crate) fn merge(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(value), Value::Object(over)) => {
            for (key, over) in over {
                merge(value.entry(key).or_insert(Value::Null), over);
            }
        }
        (value, over) => *value = over,
    }
}

/// A test of a JSON patch that fails is answered by the general sentence for 422; an object that is
/// not valid by one that names the object and the field.
fn is_failed_test(error: &RequestError) -> bool {
    error
        .message
        .contains("rejected our request due to an error in our request")
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
