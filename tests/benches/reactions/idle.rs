//! What a thousand apps cost while nothing happens: CPU time and memory, from `/proc`.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;

use crate::figure::Figure;
use crate::round_trips;
use crate::site::{PROJECT, Site, names};

const APPS: usize = 1000;
/// The same, as passes are counted.
const APPS_IN_PASSES: u16 = 1000;
/// How long CPU time is counted.
const COUNTED: Duration = Duration::from_secs(60);
/// What the deploys have stirred up is over after a minute.
const AT_REST_AFTER: Duration = Duration::from_secs(65);
/// A stable app that nothing wakes is looked at this often.
const LOOKED_AT_EVERY: f64 = 300.0;
/// How long a server may take to look at each app after its start.
const LOOKS_WITHIN: Duration = Duration::from_secs(60);
/// What `/proc` counts CPU time in: `USER_HZ`, 100 on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Percent of a core.
const CPU_TARGET: f64 = 0.5;
/// MiB.
const MEMORY_TARGET: f64 = 60.0;

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let apps = names('i', APPS);
    let mut site = Site::start(&apps).await?;
    // HAProxy's own checks of a thousand servers would only cost the machine, not Sluice.
    let document = |app: &str| {
        let mut document = site.app(app, &json!([{ "setWeight": 50 }]));
        if let Some(check) = document.pointer_mut("/traffic/haproxy") {
            let object = check.as_object_mut();
            object.map(|it| it.insert("check".to_owned(), json!(false)));
        }
        document
    };
    site.apply(&apps, document).await?;
    let pid = site.servers.first().and_then(|it| it.part.pid());
    let pid = pid.context("the server does not run")?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let applied = Cost::of(pid, Duration::from_secs(20)).await?;
    site.deploy(&apps, "blue", 8).await?;
    site.until("succeeded", APPS).await?;
    let settled = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let fresh = Cost::of(pid, Duration::from_secs(20)).await?;
    let listed = site.client.apps(Some(PROJECT), None).await?;
    ensure!(!listed.items.is_empty(), "the server lists no apps");
    tokio::time::sleep(AT_REST_AFTER.saturating_sub(settled.elapsed())).await;
    let passes = round_trips::passes(&site).await?;
    let rest = Cost::of(pid, COUNTED).await?;
    let passes = round_trips::passes(&site).await? - passes;
    eprintln!("{passes} passes while at rest");
    let looks = looks(&mut site).await?;
    Ok(vec![
        cpu(
            "CPU, 1,000 apps applied, none deployed (20 s)",
            applied.cpu,
            true,
        ),
        memory(
            "RSS, 1,000 apps applied, none deployed",
            applied.memory,
            true,
        ),
        cpu("CPU, 1,000 stable apps at rest (60 s)", rest.cpu, true),
        cpu("… in the first 20 s after the deploys", fresh.cpu, false),
        cpu(
            "… with the look at each app every five minutes, from what a look costs",
            rest.cpu + looks,
            true,
        ),
        memory("RSS, 1,000 stable apps", rest.memory, true),
    ])
}

/// Percent of a core that looking at each app every five minutes takes. A server that starts looks
/// at each of its apps once; its start is counted with them.
async fn looks(site: &mut Site) -> anyhow::Result<f64> {
    let server = site.servers.first_mut().context("no server")?;
    server.part.start_again().await?;
    let pid = server.part.pid().context("the server does not run")?;
    let began = Instant::now();
    let looked = loop {
        let passes = round_trips::passes(site).await.unwrap_or_default();
        if passes >= f64::from(APPS_IN_PASSES) {
            break passes;
        }
        ensure!(
            began.elapsed() < LOOKS_WITHIN,
            "only {passes} apps were looked at"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let each = cpu_seconds(pid)? / looked;
    eprintln!("a look costs {:.2} ms of CPU time", each * 1000.0);
    Ok(100.0 * each * f64::from(APPS_IN_PASSES) / LOOKED_AT_EVERY)
}

fn cpu(what: &str, percent: f64, judged: bool) -> Figure {
    let met = judged.then_some(percent < CPU_TARGET);
    let target = if judged { "< 0.5 % of a core" } else { "–" };
    Figure::value(what, format!("{percent:.2} %"), target, met)
}

fn memory(what: &str, mib: f64, judged: bool) -> Figure {
    let met = judged.then_some(mib <= MEMORY_TARGET);
    Figure::value(what, format!("{mib:.1} MiB"), "≤ 60 MiB", met)
}

struct Cost {
    /// Percent of a core.
    cpu: f64,
    /// MiB that are resident at the end.
    memory: f64,
}

impl Cost {
    async fn of(pid: u32, over: Duration) -> anyhow::Result<Self> {
        let (before, began) = (cpu_seconds(pid)?, Instant::now());
        tokio::time::sleep(over).await;
        let used = cpu_seconds(pid)? - before;
        Ok(Self {
            cpu: 100.0 * used / began.elapsed().as_secs_f64(),
            memory: resident(pid)?,
        })
    }
}

/// User and system time of all threads.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read stat")?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
    let (_, after) = stat.rsplit_once(')').context("understand stat")?;
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|it| it.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// MiB of a process that are resident.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read status")?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("understand status")? / 1024.0)
}
