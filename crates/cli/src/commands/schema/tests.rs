//! The schema says what the readers accept. They are asked for their keys with a key that no
//! reader knows: the answer lists the known ones.

use std::collections::{BTreeMap, BTreeSet};

use rollout::document::Problem;
use serde_json::{Value, json};

use super::*;

/// No reader's key, and not within a typing error of one.
const STRANGER: &str = "zzzzzzzzzzzzzzzzzzzzzzzz";

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn problems(document: &Value) -> Vec<Problem> {
    server::app_file::AppFile::read(document)
        .err()
        .unwrap_or_default()
}

/// An app file that is right, with every map of it once.
fn every_map() -> Value {
    json!({
        "app": "checkout",
        "workload": { "process": { "ports": { "from": 1, "to": 2 }, "startup": {}, "ready": {}, "health": {} } },
        "traffic": { "haproxy": { "socket": "/s", "backend": "b" } },
        "metrics": { "prometheus": { "url": "http://p" } },
        "notify": [
            { "webhook": { "url": "http://n" } },
            { "slack": { "urlFile": "/run/secrets/slack" } },
            { "teams": { "urlEnv": "TEAMS" } },
            { "email": { "host": "h", "from": "a@b.example", "to": ["c@b.example"] } },
            { "kubernetesEvent": { "context": "c", "namespace": "n", "deployment": "d" } }
        ],
        "strategy": { "canary": { "steps": [
            { "setWeight": 5 }, { "pause": {} }, { "gate": {} }, { "approve": {} }, { "setScale": 1 },
            { "setScale": "50%" }, { "pause": "1m" }, { "setMirrorRoute": { "name": "c" } },
            { "setHeaderRoute": { "name": "t", "match": [{ "headerName": "X", "headerValue": { "exact": "y" } }] } }
        ] } },
        "gates": [
            { "name": "a", "threshold": { "query": "q", "below": 1 } },
            { "name": "b", "webhook": { "url": "http://w" } },
            { "name": "c", "compare": { "requests": "r", "errors": "e", "revisions": { "label": "l" } } },
            { "name": "d", "latency": { "histogram": "h" } },
            { "name": "e", "slo": { "requests": "r", "errors": "e", "objective": 0.999 } },
            { "name": "f", "scalar": { "candidate": "c", "stable": "s", "margin": 1 } }
        ],
        "alerts": [{ "match": { "severity": "critical" } }]
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut document = every_map();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

/// The documents that have every map between them.
fn documents() -> Vec<Value> {
    vec![
        every_map(),
        with(
            "/strategy",
            json!({ "blueGreen": { "approve": {}, "gate": {} } }),
        ),
        with("/strategy", json!({ "rolling": { "gate": {} } })),
        with("/strategy", json!({ "recreate": { "gate": {} } })),
        with(
            "/workload",
            json!({ "static": { "pools": { "blue": ["h:1"] }, "ready": {} } }),
        ),
        with("/workload", json!({ "kubernetes": deployment() })),
        with(
            "/workload",
            json!({ "kubernetes": { "namespace": "shop", "statefulSet": "db" } }),
        ),
    ]
    .into_iter()
    .chain(kubernetes_routers().map(|it| with("/traffic", it)))
    .collect()
}

fn deployment() -> Value {
    json!({
        "context": "prod", "namespace": "shop", "deployment": "web.v2", "container": "web",
        "trigger": "template", "onCannotStart": "wait", "configs": "configMapsAndSecrets"
    })
}

/// Each with all its settings; of two that exclude each other, one.
fn kubernetes_routers() -> impl Iterator<Item = Value> {
    let place = json!({ "context": "prod", "namespace": "shop", "service": "web" });
    let with = |more: Value| {
        let mut settings = place.clone();
        settings
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        settings
    };
    [
        json!({ "gatewayApi": with(json!({ "httpRoute": "web", "candidateService": "b", "rule": 0 })) }),
        json!({ "gatewayApi": with(json!({ "grpcRoute": "web", "rule": "all" })) }),
        json!({ "service": with(json!({ "preview": "b" })) }),
        json!({ "replicaRatio": with(json!({})) }),
        json!({ "ingressNginx": with(json!({ "ingress": "web", "annotationPrefix": "n.example", "candidateService": "b" })) }),
        json!({ "istio": with(json!({ "virtualService": "web", "candidateService": "b", "route": 1 })) }),
        json!({ "traefik": with(json!({ "traefikService": "web", "candidateService": "b" })) }),
    ]
    .into_iter()
}

/// Every map of `value`, by pointer.
fn maps(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.push(pointer.to_owned());
            for (key, value) in map {
                maps(value, &format!("{pointer}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                maps(value, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of the map at `pointer`, with references followed.
fn schema_at<'a>(root: &'a Value, pointer: &str) -> &'a Value {
    let mut at = root;
    for part in pointer.split('/').skip(1) {
        let inner = match part.parse::<usize>() {
            Ok(_) => at.get("items"),
            Err(_) => at.get("properties").and_then(|it| it.get(part)),
        };
        at = resolved(
            root,
            inner.unwrap_or_else(|| panic!("{pointer}: no schema for {part}")),
        );
        // `pause` takes a duration or a map; the map is meant here.
        if let Some(choices) = at.get("oneOf").and_then(Value::as_array)
            && at.get("properties").is_none()
        {
            at = choices.iter().find(|it| it["type"] == "object").unwrap();
        }
    }
    at
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

#[test]
fn keys_of_the_schema_are_the_keys_of_the_readers() {
    let root = schema();
    let mut seen = BTreeMap::new();
    for document in documents() {
        assert_eq!(problems(&document), vec![], "{document:#}");
        let mut pointers = Vec::new();
        maps(&document, "", &mut pointers);
        for pointer in pointers {
            let mut strange = document.clone();
            strange.pointer_mut(&pointer).unwrap()[STRANGER] = json!(1);
            let at = format!("{pointer}/{STRANGER}");
            let problem = problems(&strange).into_iter().find(|it| it.pointer == at);
            let known = problem
                .as_ref()
                .and_then(|it| it.detail.split_once("known here: "));
            // Maps with free keys (labels, pools) list none.
            let Some((_, known)) = known else { continue };
            let known: BTreeSet<&str> = known.split(", ").collect();
            let schema = schema_at(&root, &pointer);
            let written = schema["properties"].as_object().unwrap().keys();
            let written: BTreeSet<&str> = written.map(String::as_str).collect();
            assert_eq!(written, known, "{pointer}");
            assert_eq!(schema["additionalProperties"], json!(false), "{pointer}");
            seen.insert(schema["properties"].to_string(), pointer);
        }
    }
    // All maps of the schema were held against a reader, none was forgotten here.
    let all = closed_maps(&root);
    assert_eq!(seen.len(), all.len(), "seen: {seen:#?}");
}

/// Every closed map of the schema, by its properties.
fn closed_maps(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match value {
        Value::Object(map) => {
            if map.get("additionalProperties") == Some(&json!(false)) {
                found.insert(map["properties"].to_string());
            }
            found.extend(map.values().flat_map(closed_maps));
        }
        Value::Array(items) => found.extend(items.iter().flat_map(closed_maps)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

#[test]
fn required_keys_are_what_the_readers_miss() {
    let root = schema();
    for document in documents() {
        let mut pointers = Vec::new();
        maps(&document, "", &mut pointers);
        for pointer in pointers {
            let before = document
                .pointer(&pointer)
                .and_then(Value::as_object)
                .unwrap();
            for key in before.keys() {
                let mut lacking = document.clone();
                let map = lacking
                    .pointer_mut(&pointer)
                    .and_then(Value::as_object_mut)
                    .unwrap();
                map.remove(key);
                let missing = format!("\"{key}\" is missing");
                let read = problems(&lacking);
                let missed = read
                    .iter()
                    .any(|it| it.pointer == pointer && it.detail == missing);
                let free = ["/match", "/pools", "/env"]
                    .iter()
                    .any(|it| pointer.ends_with(it));
                if free {
                    continue;
                }
                let required = schema_at(&root, &pointer).get("required");
                let required = required.and_then(Value::as_array);
                let required = required.is_some_and(|it| it.contains(&json!(key)));
                assert_eq!(required, missed, "{pointer}/{key}");
            }
        }
    }
}

#[test]
fn defaults_of_the_schema_are_those_of_the_readers() {
    // Of the values, those that the schema itself can be asked for.
    let workload = [("process", json!({})), ("kubernetes", deployment())];
    let workloads = workload.map(|(word, settings)| ("/workload", word.to_owned(), settings));
    let routers = kubernetes_routers().map(|it| {
        let (word, settings) = it.as_object().unwrap().iter().next().unwrap();
        ("/traffic", word.clone(), settings.clone())
    });
    for (pointer, word, mut settings) in workloads.into_iter().chain(routers) {
        let root = schema();
        let properties = root["$defs"][&word]["properties"].as_object().unwrap();
        let map = settings.as_object_mut().unwrap();
        let defaults = properties
            .iter()
            .filter_map(|(key, it)| Some((key, it.get("default")?)));
        for (key, default) in defaults.clone() {
            map.insert(key.clone(), default.clone());
        }
        let mut plain = map.clone();
        plain.retain(|key, _| !defaults.clone().any(|(it, _)| it == key));
        let given = with(pointer, json!({ &word: settings }));
        assert_eq!(problems(&given), vec![], "{given:#}");
        let plain = with(pointer, json!({ &word: plain }));
        let read = |it| server::app_file::AppFile::read(it).unwrap();
        assert_eq!(read(&given), read(&plain), "{word}");
    }
}

#[test]
fn words_of_the_schema_are_the_words_of_the_readers() {
    let root = schema();
    for key in ["trigger", "onCannotStart"] {
        let words = root["$defs"]["kubernetes"]["properties"][key]["enum"].clone();
        let words = words.as_array().unwrap().iter().filter(|it| !it.is_null());
        let mut settings = deployment();
        settings[key] = json!(STRANGER);
        let problem = problems(&with("/workload", json!({ "kubernetes": settings }))).remove(0);
        for word in words {
            assert!(
                problem.detail.contains(word.as_str().unwrap()),
                "{word}: {}",
                problem.detail
            );
            settings[key] = word.clone();
            assert_eq!(
                problems(&with("/workload", json!({ "kubernetes": settings }))),
                vec![]
            );
        }
    }
}

#[test]
fn every_setting_is_described() {
    let root = schema();
    fn walk(root: &Value, value: &Value, path: &str) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (key, it) in properties {
                let described = it
                    .get("description")
                    .or(resolved(root, it).get("description"));
                assert!(described.is_some(), "{path}/{key} has no description");
            }
        }
        if let Some(map) = value.as_object() {
            for (key, it) in map {
                walk(root, it, &format!("{path}/{key}"));
            }
        }
    }
    walk(&root, &root, "");
}

#[test]
fn kinds_and_defaults_of_notifiers_are_those_of_the_readers() {
    let root = schema();
    for (index, word) in ["webhook", "slack", "teams", "email"].iter().enumerate() {
        let properties = root["$defs"][word]["properties"].as_object().unwrap();
        let mut given = every_map();
        let settings = &mut given["notify"][index][word];
        for (key, default) in properties
            .iter()
            .filter_map(|(key, it)| Some((key, it.get("default")?)))
        {
            settings[key] = default.clone();
        }
        assert_eq!(problems(&given), vec![], "{given:#}");
        let read = |it| server::app_file::AppFile::read(it).unwrap();
        assert_eq!(read(&given), read(&every_map()), "{word}");
        given["notify"][index][word]["on"] = root["$defs"]["noticeKind"]["enum"].clone();
        assert_eq!(problems(&given), vec![], "{word}");
        given["notify"][index][word]["on"] = json!([STRANGER]);
        let problem = problems(&given).remove(0);
        let kinds = root["$defs"]["noticeKind"]["enum"].as_array().unwrap();
        for kind in kinds {
            assert!(problem.detail.contains(kind.as_str().unwrap()), "{kind}");
        }
    }
}

#[test]
fn notifiers_of_the_documentation_are_read() {
    let text = include_str!("../../../../../docs/notifications.md");
    let blocks = text.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|it| it.split("```").next()).collect();
    assert_eq!(blocks.len(), 5);
    for block in blocks {
        let settings: Value = serde_yaml::from_str(block).unwrap();
        let read = server::project_settings::ProjectSettings::read(&settings);
        assert!(read.is_ok(), "{block}{read:?}");
    }
    for kind in schema()["$defs"]["noticeKind"]["enum"].as_array().unwrap() {
        let kind = kind.as_str().unwrap();
        assert!(text.contains(&format!("`{kind}`")), "{kind} is not told of");
    }
}
