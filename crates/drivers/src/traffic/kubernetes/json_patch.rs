//! What an API server makes of a JSON patch (RFC 6902, as far as it is used), for tests.

use serde_json::Value;

/// Applies `operations`; the first that does not fit is the error, and then `value` is of no use.
pub(in crate::traffic) fn apply(value: &mut Value, operations: &[Value]) -> Result<(), String> {
    for operation in operations {
        let refused = || format!("{operation}");
        let path = operation["path"].as_str().ok_or_else(refused)?;
        let (parent, key) = path.rsplit_once('/').ok_or_else(refused)?;
        let key = key.replace("~1", "/");
        let index = key.parse::<usize>().ok();
        let it = value.pointer_mut(parent).ok_or_else(refused)?;
        let done = match (operation["op"].as_str(), it) {
            (Some("test"), it) => {
                let now = it.get(&key).or_else(|| it.get(index?));
                now == operation.get("value")
            }
            (Some("add"), Value::Array(it)) if key == "-" => {
                it.push(operation["value"].clone());
                true
            }
            (Some("add"), Value::Object(it)) => {
                it.insert(key, operation["value"].clone());
                true
            }
            (Some("remove"), Value::Object(it)) => it.remove(&key).is_some(),
            (Some("remove"), Value::Array(it)) => match index.filter(|at| *at < it.len()) {
                Some(at) => {
                    it.remove(at);
                    true
                }
                None => false,
            },
            (_, _) => false,
        };
        if !done {
            return Err(refused());
        }
    }
    Ok(())
}
