//! What a canary of five steps costs the API server: requests by its audit log, from the deploy until
//! nothing of the rollout is left.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use local::kubernetes::Entry;
use serde_json::json;

use crate::figure::Figure;
use crate::stage::{CANDIDATE, Kind, Stage, names};

const APPS: usize = 10;
const REQUESTS_TARGET: f64 = 20.0;
const WRITES_TARGET: f64 = 13.0;

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('q', APPS);
    let kind = Kind {
        replicas: 4,
        ready_after: "100ms",
        steps: json!([
            { "setWeight": 10 }, { "pause": "2s" },
            { "setWeight": 25 }, { "pause": "2s" },
            { "setWeight": 50 }, { "pause": "2s" },
            { "setWeight": 75 }, { "pause": "2s" },
            { "setWeight": 100 },
        ]),
        more: json!({}),
    };
    let stage = Stage::start(&apps, &kind).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from = Timestamp::now();
    stage.deploy(&apps, CANDIDATE, APPS).await?;
    stage.until("succeeded", APPS).await?;
    stage.at_rest(&apps).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = stage.asked_since(from).await?;
    let is_conflict = |it: &&Entry| it.code == 409;
    let is_watch = |it: &&Entry| it.verb == "watch";
    let conflicts = asked.iter().filter(is_conflict).count();
    // The end of a watch is an entry of its own.
    let watches = asked.iter().filter(|it| is_watch(it) && it.begins).count();
    let counted: Vec<&Entry> = asked
        .iter()
        .filter(|it| !is_conflict(it) && !is_watch(it) && !it.begins)
        .collect();
    let writes = counted.iter().filter(|it| it.is_write()).count();
    let events = counted.iter().filter(|it| it.resource == "events").count();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for it in &counted {
        *kinds
            .entry(format!("{} {} {}", it.verb, it.resource, it.code))
            .or_default() += 1;
    }
    for (kind, count) in &kinds {
        eprintln!("{count:5} {kind}");
    }
    let each = |count: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let each = count as f64 / APPS as f64;
        each
    };
    let figure = |what: &str, count: usize, target: Option<f64>| {
        let met = target.map(|it| each(count) <= it);
        let bound = target.map_or("–".to_owned(), |it| format!("≤ {it}"));
        Figure::value(what, format!("{:.1}", each(count)), &bound, met)
    };
    Ok(vec![
        figure(
            "requests a canary of 5 weights, watches not counted",
            counted.len(),
            Some(REQUESTS_TARGET),
        ),
        figure("… of which writes", writes, Some(WRITES_TARGET)),
        figure("… … of which events", events, None),
        figure("… of which reads", counted.len() - writes, Some(0.0)),
        figure("watches begun for it", watches, None),
        figure("refused as conflicts", conflicts, None),
    ])
}
