//! What an API server makes of a JSON patch, for models of it.

use serde_json::{Value, json};

use crate::kubernetes::EPOCH;

/// Applies a JSON patch to an object, as the API server does.
pub(super) fn patch(object: &mut Value, operations: &[Value]) {
    object["metadata"]["annotations"][EPOCH] = json!("1");
    for operation in operations {
        let path = operation["path"].as_str().unwrap();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let key = key.replace("~1", "/").replace("~0", "~");
        if object.pointer(parent).is_none_or(Value::is_null) {
            let (above, last) = parent.rsplit_once('/').unwrap();
            object.pointer_mut(above).unwrap()[last] = json!({});
        }
        let parent = object.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match operation["op"].as_str().unwrap() {
            "test" => assert_eq!(parent.get(&key), operation.get("value"), "{operation}"),
            "add" => {
                parent.insert(key, operation["value"].clone());
            }
            "replace" => {
                let before = parent.insert(key, operation["value"].clone());
                assert!(before.is_some(), "{operation}");
            }
            "remove" => {
                assert!(parent.remove(&key).is_some(), "{operation}");
            }
            other => panic!("{other}"),
        }
    }
}
