//! From a pod that is ready to the next write: a watch says when a candidate's pod became ready, the
//! audit log when Sluice wrote next, a watch when the candidate got its share.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use local::kubernetes::{Entry, Recorded};
use serde_json::{Value, json};

use crate::figure::Figure;
use crate::stage::{CANDIDATE, Kind, Stage, candidates_weight, names, span};

const APPS: usize = 40;
/// Rollouts at a time.
const AT_A_TIME: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);
const TARGET: Duration = Duration::from_millis(250);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('r', APPS);
    let kind = Kind {
        replicas: 2,
        ready_after: "1s",
        steps: json!([{ "setWeight": 50 }, { "pause": {} }, { "setWeight": 100 }]),
        more: json!({}),
    };
    let stage = Stage::start(&apps, &kind).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Timestamp::now();
    let mut shares = Vec::new();
    for (number, some) in apps.chunks(AT_A_TIME).enumerate() {
        let from = Timestamp::now();
        stage.deploy(some, CANDIDATE, AT_A_TIME).await?;
        let half = |_: &str, route: &Value| candidates_weight(route) > Some(0);
        shares.extend(stage.routes(some, from, WITHIN, half).await?);
        stage.until_held((number + 1) * AT_A_TIME).await?;
    }
    let asked = stage.asked_since(began).await?;
    let (mut writes, mut weights) = (Vec::new(), Vec::new());
    for (app, share) in &shares {
        let ready = stage.recording.look(|all| ready(all, app));
        let ready = ready.with_context(|| format!("no pod of {app}'s candidate became ready"))?;
        let next = asked
            .iter()
            .filter(|it| is_write_for(it, app) && it.at >= ready);
        let next = next.map(|it| it.at).min();
        writes.push(span(
            ready,
            next.with_context(|| format!("nothing was written for {app}"))?,
        ));
        weights.push(span(ready, *share));
    }
    Ok(vec![
        Figure::times("pod Ready → next write", &writes, Some(TARGET)),
        Figure::times(
            "pod Ready → its share in the route, of which 100 ms at least are waited on purpose",
            &weights,
            None,
        ),
    ])
}

/// When the first pod of the candidate was told to be ready.
fn ready(all: &[Recorded], app: &str) -> Option<Timestamp> {
    let is_ready = |pod: &Value| {
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|it| {
            it.get("type") == Some(&json!("Ready")) && it.get("status") == Some(&json!("True"))
        })
    };
    let its = |pod: &&Value| {
        let label = pod.pointer("/metadata/labels/app");
        let image = pod.pointer("/spec/containers/0/image");
        label == Some(&json!(app)) && image == Some(&json!(CANDIDATE)) && is_ready(pod)
    };
    let found = all
        .iter()
        .find(|it| it.object.as_ref().filter(its).is_some());
    found.map(|it| it.at)
}

/// Whether it changed something of the app: its objects' names begin with its own.
pub(crate) fn is_write_for(entry: &Entry, app: &str) -> bool {
    let rest = entry.name.strip_prefix(app);
    entry.is_write()
        && entry.code < 300
        && rest.is_some_and(|it| it.is_empty() || it.starts_with('-'))
}
