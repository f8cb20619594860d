//! App files for the worlds, with times short enough for tests.

use serde_json::{Value, json};

use crate::{Pair, World};

/// The app of every world.
pub const APP: &str = "shop";
/// Its project.
pub const PROJECT: &str = "default";

/// The app file of a pair with this strategy.
pub fn app(world: &World, pair: &dyn Pair, strategy: &Value) -> Value {
    json!({
        "app": APP,
        "project": PROJECT,
        "workload": pair.workload(world),
        "traffic": pair.traffic(world),
        "metrics": { "prometheus": { "url": world.prometheus.url(), "timeout": "2s" } },
        "strategy": strategy,
        "gates": [errors_gate(world, pair, "rollback")],
        "alerts": [{ "match": { "app": APP, "severity": "critical" }, "do": "rollback" }],
        "progressDeadline": pair.progress_deadline(),
        "drain": "300ms",
    })
}

/// The gate on the candidate's share of errors, by the router's counters.
pub fn errors_gate(world: &World, pair: &dyn Pair, on_no_data: &str) -> Value {
    let query = pair.front().errors_query(world);
    json!({
        "name": "errors",
        "threshold": { "query": query, "below": 0.1, "unit": "of requests" },
        "interval": "300ms",
        "onNoData": on_no_data,
    })
}

/// The app file of a pair with this strategy and this gate alone.
pub fn app_with_gate(world: &World, pair: &dyn Pair, strategy: &Value, gate: Value) -> Value {
    let mut app = app(world, pair, strategy);
    if let Some(app) = app.as_object_mut() {
        app.insert("gates".to_owned(), Value::Array(vec![gate]));
    }
    app
}

/// A gate that compares the errors of HAProxy's servers, with more settings.
pub fn compare_gate(world: &World, more: &Value) -> Value {
    let port = world.haproxy.exporter_port();
    let selector = |more: &str| {
        let its = format!("instance=\"127.0.0.1:{port}\",proxy=\"shop\"{more}");
        format!("haproxy_server_http_responses_total{{{its}}}")
    };
    let mut compare = json!({
        "requests": selector(""),
        "errors": selector(",code=\"5xx\""),
        "revisions": { "label": "server" },
    });
    if let (Some(compare), Some(more)) = (compare.as_object_mut(), more.as_object()) {
        compare.extend(more.clone());
    }
    json!({ "name": "errors", "compare": compare, "interval": "300ms" })
}

/// A canary of these steps.
pub fn canary(steps: &Value) -> Value {
    json!({ "canary": { "steps": steps } })
}

/// A canary that goes 20, 50, 100 with one gate.
pub fn short_canary() -> Value {
    canary(&json!([
        { "setWeight": 20 },
        { "pause": "300ms" },
        { "setWeight": 50 },
        { "gate": { "for": "1s" } },
        { "setWeight": 100 },
    ]))
}

/// A canary that stands at 20 % until somebody promotes, then goes on to 100.
pub fn held_canary() -> Value {
    canary(&json!([{ "setWeight": 20 }, { "pause": {} }, { "setWeight": 100 }]))
}
