//! From an instance that can work to its share of the traffic: processes that Sluice starts itself.
//! The moment of being ready is taken by asking the instance every millisecond.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::{CommandRequest, OrderWord};
use e2e::instances;
use serde_json::json;
use uuid::Uuid;

use crate::backend::binary;
use crate::figure::Figure;
use crate::router::of_revision;
use crate::site::{PROJECT, Site, names};

/// Rollouts, one after another.
const ROUNDS: usize = 25;
const WITHIN: Duration = Duration::from_secs(20);
const TARGET: Duration = Duration::from_millis(250);
/// Time between two questions to the instance.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// How long an instance is up but not ready: another one each round, so that no round meets the
/// probe at the same phase.
const NOT_READY: std::ops::Range<usize> = 200..400;

pub(crate) async fn measure() -> anyhow::Result<Vec<Figure>> {
    let instances = Instances(Uuid::now_v7().to_string());
    let apps = names('p', 1);
    let app = apps.first().context("no app")?;
    let site = Site::start(&apps).await?;
    let ports = local::ports::free_ports(1)?;
    let from = ports.first().copied().unwrap_or_default();
    let document = json!({
        "app": app,
        "project": PROJECT,
        "workload": { "process": {
            "replicas": 1,
            "command": ["{{artifact}}"],
            "env": { instances::MARK: instances.0 },
            "ports": { "from": from, "to": from + 9 },
            "ready": { "path": "/ready" },
            "drain": "10ms",
            "stopTimeout": "2s",
        }},
        "traffic": site.traffic(app),
        "strategy": { "canary": { "steps": [{ "setWeight": 50 }, { "pause": {} }] } },
        "progressDeadline": "30s",
        "drain": "100ms",
    });
    site.apply(&apps, |_| document.clone()).await?;
    site.deploy(&apps, &artifact(&site, 0)?, 1).await?;
    site.until("succeeded", 1).await?;
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        times.push(one(&site, app, round, from).await?);
    }
    Ok(vec![Figure::times(
        "instance ready → its share on HAProxy (process workload)",
        &times,
        Some(TARGET),
    )])
}

/// A program that is the sample shop, ready some time after its start.
fn artifact(site: &Site, round: usize) -> anyhow::Result<String> {
    let path = site.directory().join(format!("shop-{round}"));
    let span = NOT_READY.end - NOT_READY.start;
    let delay = NOT_READY.start + round * 37 % span;
    let text = format!(
        "#!/bin/sh\nexec '{}' demo-shop --version v{round} --startup-delay {delay}ms --grace 0s\n",
        binary()?.display()
    );
    std::fs::write(&path, text).context("write the artifact")?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
    Ok(path.display().to_string())
}

/// One rollout to its first weight, and back.
async fn one(site: &Site, app: &str, round: usize, from: u16) -> anyhow::Result<Duration> {
    let (apps, revision) = ([app.to_owned()], format!("r{}", round + 1));
    let router = site.router.clone();
    let (watched, candidate) = (apps.to_vec(), revision.clone());
    let weighed = tokio::task::spawn_blocking(move || {
        router.watch(&watched, WITHIN, |_, it| of_revision(it, &candidate) > 0)
    });
    let version = format!("v{round}\"");
    let ready = tokio::task::spawn_blocking(move || until_ready(from, &version));
    site.deploy(&apps, &artifact(site, round)?, 1).await?;
    let ready = ready.await.context("ask the instance")??;
    let weighed = weighed.await.context("watch HAProxy")??;
    let weighed = weighed.get(app).context("no weight was seen")?;
    let rollouts = site.client.rollouts(Some(PROJECT), Some(app), None).await?;
    let rollout = rollouts.items.first().context("no rollout")?;
    let abort = CommandRequest {
        order: OrderWord::Abort,
        comment: None,
    };
    site.client.command(rollout.id, &abort).await?;
    site.until("rolledBack", round).await?;
    Ok(weighed.saturating_duration_since(ready))
}

/// When an instance of this version first answered that it is ready.
fn until_ready(from: u16, version: &str) -> anyhow::Result<Instant> {
    let began = Instant::now();
    loop {
        for port in from..from + 10 {
            if is_ready(port, version) {
                return Ok(Instant::now());
            }
        }
        ensure!(began.elapsed() < WITHIN, "no instance became ready");
        std::thread::sleep(ASK_EVERY);
    }
}

fn is_ready(port: u16, version: &str) -> bool {
    let Some(metrics) = get(port, "/metrics") else {
        return false;
    };
    metrics.contains(version)
        && get(port, "/ready").is_some_and(|it| it.starts_with("HTTP/1.1 200"))
}

fn get(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Ends the instances when it is dropped, which is after the server that would start them again.
struct Instances(String);

impl Drop for Instances {
    fn drop(&mut self) {
        instances::kill_all(&self.0);
    }
}
