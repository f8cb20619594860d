//! A hundred rollouts whose gates turn bad at once: from the bad answer of the metrics to the route
//! that gives the candidate nothing.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use crate::figure::Figure;
use crate::metrics::Metrics;
use crate::stage::{CANDIDATE, Kind, Stage, candidates_weight, names, span};

const APPS: usize = 100;
const WITHIN: Duration = Duration::from_secs(60);
const TARGET: Duration = Duration::from_millis(250);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('f', APPS);
    let metrics = Metrics::start().await?;
    let kind = Kind {
        replicas: 2,
        ready_after: "0s",
        steps: json!([{ "setWeight": 50 }, { "gate": { "for": "1h" } }, { "setWeight": 100 }]),
        more: json!({
            "metrics": { "prometheus": { "url": metrics.url, "timeout": "5s" } },
            "gates": [{
                "name": "errors",
                "threshold": { "query": "errors_of_{{app}}", "below": 0.1, "failAfter": 1 },
                "interval": "1s",
            }],
        }),
    };
    let stage = Stage::start(&apps, &kind).await?;
    stage.deploy(&apps, CANDIDATE, 8).await?;
    let gated = "waiting::text LIKE '%gate%'";
    stage.until_that(gated, "at their gates", APPS).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from = Timestamp::now();
    metrics.turn_bad();
    let nothing = |_: &str, route: &_| candidates_weight(route) == Some(0);
    let seen = stage.routes(&apps, from, WITHIN, nothing).await?;
    let mut times = Vec::new();
    for (app, at) in &seen {
        let answered = metrics.answered(app);
        times.push(span(
            answered.with_context(|| format!("{app} was not asked for"))?,
            *at,
        ));
    }
    stage.until("rolled_back", APPS).await?;
    Ok(vec![Figure::times(
        "bad sample answered → route gives the candidate 0, 100 rollouts failing within a second",
        &times,
        Some(TARGET),
    )])
}
