//! A server is killed with -9: how long until another one moves its apps' routes on.

use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::json;

use crate::figure::Figure;
use crate::stage::{CANDIDATE, Kind, Stage, candidates_weight, names, span};

/// Apps, spread over two servers by their shards.
const APPS: usize = 20;
const TARGET: Duration = Duration::from_secs(7);
const WITHIN: Duration = Duration::from_secs(30);
/// Each app's next step is due this often.
const STEP: &str = "1s";

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('k', APPS);
    let steps: Vec<_> = (1..=40)
        .flat_map(|it| [json!({ "setWeight": it * 2 }), json!({ "pause": STEP })])
        .collect();
    let kind = Kind {
        replicas: 2,
        ready_after: "0s",
        steps: json!(steps),
        more: json!({}),
    };
    let mut stage = Stage::start(&apps, &kind).await?;
    let sql =
        "SELECT owner FROM shard WHERE owner IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1";
    let first = stage.sql(sql).await?;
    stage.add_server().await?;
    stage.deploy(&apps, CANDIDATE, APPS).await?;
    // Both servers have their halves, and every app is under way.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let sql = format!(
        "SELECT a.name FROM app a JOIN shard s ON s.number = a.shard WHERE s.owner = '{first}'"
    );
    let own: Vec<String> = stage.sql(&sql).await?.lines().map(str::to_owned).collect();
    ensure!(
        !own.is_empty() && own.len() < apps.len(),
        "the apps are not shared: {} of {}",
        own.len(),
        apps.len()
    );
    let killed = Timestamp::now();
    let victim = stage.servers.first_mut().context("no server")?;
    victim.part.kill9()?;
    // What the victim had sent has arrived.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let from = Timestamp::now();
    let before = stage.weights(&own);
    let moved = |app: &str, route: &_| before.get(app) != Some(&candidates_weight(route));
    let seen = stage.routes(&own, from, WITHIN, moved).await?;
    let times: Vec<Duration> = seen.iter().map(|(_, at)| span(killed, *at)).collect();
    Ok(vec![Figure::times(
        "kill -9 of a server → next weight by another one, each app of the dead one",
        &times,
        Some(TARGET),
    )])
}
