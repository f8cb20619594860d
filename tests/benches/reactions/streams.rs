//! Five hundred people who watch: what their open event streams cost in memory, and whether a rollback
//! waits for them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use tokio::sync::watch;

use crate::alerts::{Taken, fire};
use crate::figure::Figure;
use crate::idle::resident;
use crate::site::{Site, names};

const APPS: usize = 80;
/// Alerts one after another: first with nobody watching, then with everybody.
const ALERTS: usize = 40;
const STREAMS: usize = 500;
/// Streams that are opened at once.
const AT_ONCE: usize = 50;
/// How long every stream may take to tell of a rollback.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// MiB, for all of them.
const MEMORY_TARGET: f64 = 30.0;
const TARGET: Duration = Duration::from_millis(100);

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('s', APPS);
    let site = Site::held(&apps).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let pid = site.servers.first().and_then(|it| it.part.pid());
    let pid = pid.context("the server does not run")?;
    let http = reqwest::Client::new();
    let (before, after) = apps.split_at(ALERTS);
    let alone = one_by_one(&site, &http, before).await?;
    let empty = resident(pid)?;
    let streams = Streams::open(&site).await?;
    let open = resident(pid)? - empty;
    let watched = one_by_one(&site, &http, after).await?;
    streams.told(after).await?;
    let busy = resident(pid)? - empty;
    let memory = |what: &str, mib: f64| {
        let met = Some(mib <= MEMORY_TARGET);
        Figure::value(what, format!("{mib:.1} MiB"), "≤ 30 MiB", met)
    };
    let times = |what: &str, times: &[Taken]| {
        let times: Vec<Duration> = times.iter().map(|it| it.weight).collect();
        Figure::times(what, &times, Some(TARGET))
    };
    Ok(vec![
        memory("RSS of 500 event streams, just opened", open),
        memory("… after each has told of forty rollbacks", busy),
        times("alert sent → weight 0 on HAProxy, nobody watching", &alone),
        times("… with 500 event streams open", &watched),
    ])
}

async fn one_by_one(
    site: &Site,
    http: &reqwest::Client,
    apps: &[String],
) -> anyhow::Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for app in apps {
        taken.extend(fire(site, http, std::slice::from_ref(app), 1).await?);
    }
    Ok(taken)
}

/// Open streams, each read by a task.
struct Streams(Vec<watch::Receiver<String>>);

impl Streams {
    async fn open(site: &Site) -> anyhow::Result<Self> {
        let http = reqwest::Client::new();
        let url = format!("{}/api/v1/events", site.client.base());
        let open = async |_| {
            let asked = http.get(&url).bearer_auth(&site.token).send().await?;
            let mut answer = asked.error_for_status()?;
            let (told, tells) = watch::channel(String::new());
            tokio::spawn(async move {
                while let Ok(Some(chunk)) = answer.chunk().await {
                    told.send_modify(|it| it.push_str(&String::from_utf8_lossy(&chunk)));
                }
            });
            anyhow::Ok(tells)
        };
        let mut all = Vec::new();
        while all.len() < STREAMS {
            all.extend(try_join_all((0..AT_ONCE).map(open)).await?);
        }
        Ok(Self(all))
    }

    /// Waits until every stream has told that each of `apps` goes back.
    async fn told(&self, apps: &[String]) -> anyhow::Result<()> {
        let began = Instant::now();
        for stream in &self.0 {
            let mut stream = stream.clone();
            let all = |text: &String| text.matches("abortStarted").count() >= apps.len();
            let left = TOLD_WITHIN.saturating_sub(began.elapsed());
            let told = tokio::time::timeout(left, stream.wait_for(all)).await;
            ensure!(
                matches!(told, Ok(Ok(_))),
                "a stream did not tell of every rollback: {}",
                self.0.len()
            );
        }
        Ok(())
    }
}
