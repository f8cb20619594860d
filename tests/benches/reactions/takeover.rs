//! A server is killed with -9: how long until another one moves its apps' traffic on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::figure::Figure;
use crate::router::of_revision;
use crate::site::{Site, names};

/// Apps, spread over two servers by their shards.
const APPS: usize = 20;
const ROUNDS: usize = 2;
const TARGET: Duration = Duration::from_secs(7);
const WITHIN: Duration = Duration::from_secs(20);
/// Each app's next step is due this often.
const STEP: &str = "500ms";

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('k', APPS);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let mut site = Site::start(&apps).await?;
        // Weights of two pools of one address: each step is one that HAProxy shows.
        let steps: Vec<_> = (1..=45)
            .flat_map(|it| [json!({ "setWeight": it * 2 }), json!({ "pause": STEP })])
            .collect();
        site.install(&apps, &json!(steps)).await?;
        let first = owner(&site).await?;
        site.add_server().await?;
        site.deploy(&apps, "green", APPS).await?;
        // Both servers have their halves, and every app is under way.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let killed = if round % 2 == 0 { &first } else { "another" };
        times.extend(kill(&mut site, &apps, &first, killed == first).await?);
    }
    Ok(vec![Figure::times(
        "kill -9 of a server → next effect on HAProxy by another one, each app of the dead one",
        &times,
        Some(TARGET),
    )])
}

/// Who holds most leases: the only server, before there is a second.
async fn owner(site: &Site) -> anyhow::Result<String> {
    site.sql(
        "SELECT owner FROM shard WHERE owner IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1",
    )
    .await
}

/// Kills one of the two servers; gives for each of its apps the time to the next change of weight.
async fn kill(
    site: &mut Site,
    apps: &[String],
    first: &str,
    kill_first: bool,
) -> anyhow::Result<Vec<Duration>> {
    let is = if kill_first { "=" } else { "<>" };
    let sql = format!(
        "SELECT a.name FROM app a JOIN shard s ON s.number = a.shard WHERE s.owner {is} '{first}'"
    );
    let listed = site.sql(&sql).await?;
    let own: Vec<String> = listed.lines().map(str::to_owned).collect();
    ensure!(
        !own.is_empty() && own.len() < apps.len(),
        "the apps are not shared: {} of {}",
        own.len(),
        apps.len()
    );
    let victim = site.servers.get_mut(usize::from(!kill_first));
    let killed = Instant::now();
    victim.context("no such server")?.part.kill9()?;
    // What the victim had sent has arrived.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let router = site.router.clone();
    let before: BTreeMap<String, u32> = router
        .weights(&own)?
        .into_iter()
        .map(|(app, servers)| (app, of_revision(&servers, "r2")))
        .collect();
    let seen = tokio::task::spawn_blocking(move || {
        router.watch(&own, WITHIN, |app, servers| {
            before.get(app) != Some(&of_revision(servers, "r2"))
        })
    });
    let seen = seen.await.context("watch HAProxy")??;
    Ok(seen
        .values()
        .map(|at| at.saturating_duration_since(killed))
        .collect())
}
