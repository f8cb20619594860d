//! What a thousand apps cost while nothing happens: requests by the audit log, memory from `/proc`,
//! and how long a server takes that starts with them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::json;

use crate::figure::Figure;
use crate::stage::{Kind, Stage, names};

const APPS: usize = 1000;
/// The same, as passes are counted.
const APPS_IN_PASSES: f64 = 1000.0;
/// How long requests are counted.
const COUNTED: Duration = Duration::from_secs(120);
/// What the start has stirred up is over after this.
const AT_REST_AFTER: Duration = Duration::from_secs(65);
const READY_WITHIN: Duration = Duration::from_secs(120);
const READY_TARGET: Duration = Duration::from_secs(10);
/// MiB.
const MEMORY_TARGET: f64 = 150.0;

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('i', APPS);
    let kind = Kind {
        replicas: 1,
        ready_after: "0s",
        steps: json!([{ "setWeight": 50 }]),
        more: json!({}),
    };
    let mut stage = Stage::start(&apps, &kind).await?;
    let (ready, looked) = start_again(&mut stage).await?;
    tokio::time::sleep(AT_REST_AFTER).await;
    let from = Timestamp::now();
    tokio::time::sleep(COUNTED).await;
    let mut asked = stage.asked_since(from).await?;
    // Watches end by themselves after some minutes and are begun again, one for a kind.
    asked.retain(|it| it.verb != "watch");
    let pid = stage.servers.first().and_then(|it| it.part.pid());
    let memory = resident(pid.context("the server does not run")?)?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let each = asked.len() as f64 / (COUNTED.as_secs_f64() / 60.0) / APPS_IN_PASSES;
    Ok(vec![
        Figure::value(
            "requests an idle app and minute, watches not counted, 1,000 apps",
            format!("{each:.3}"),
            "0",
            Some(asked.is_empty()),
        ),
        Figure::value(
            "RSS, 1,000 apps with a Deployment each, at rest",
            format!("{memory:.1} MiB"),
            "≤ 150 MiB",
            Some(memory <= MEMORY_TARGET),
        ),
        Figure::value(
            "start → ready, 1,000 apps",
            format!("{:.1} s", ready.as_secs_f64()),
            "≤ 10 s",
            Some(ready <= READY_TARGET),
        ),
        Figure::value(
            "start → each of the 1,000 apps looked at",
            format!("{:.1} s", looked.as_secs_f64()),
            "–",
            None,
        ),
    ])
}

/// Starts the server anew; gives the time until it says that it is ready, and until it has looked at
/// every app.
async fn start_again(stage: &mut Stage) -> anyhow::Result<(Duration, Duration)> {
    let began = Instant::now();
    let server = stage.servers.first_mut().context("no server")?;
    server.part.start_again().await?;
    let url = format!("{}/ready", server.url);
    let http = reqwest::Client::new();
    let mut ready = None;
    loop {
        let answer = http.get(&url).send().await;
        if ready.is_none() && answer.is_ok_and(|it| it.status().is_success()) {
            ready = Some(began.elapsed());
        }
        if let Some(ready) = ready
            && passes(stage).await.unwrap_or_default() >= APPS_IN_PASSES
        {
            return Ok((ready, began.elapsed()));
        }
        ensure!(
            began.elapsed() < READY_WITHIN,
            "not every app was looked at within {READY_WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Passes since the server's start, by its own count.
async fn passes(stage: &Stage) -> anyhow::Result<f64> {
    let metrics = stage.metrics().await?;
    let mut passes = 0.0;
    for line in metrics
        .lines()
        .filter(|it| it.starts_with("sluice_passes_total"))
    {
        let count = line.rsplit(' ').next().context("a count")?;
        passes += count.parse::<f64>()?;
    }
    Ok(passes)
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("understand status")? / 1024.0)
}
