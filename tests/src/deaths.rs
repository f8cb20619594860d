//! A server that dies with SIGKILL at a place of a pass (`SLUICE_CRASH_AT`), a rollout under way; and
//! that rollout, asked for again by its key.

use std::time::{Duration, Instant};

use anyhow::bail;
use local::wait;
use uuid::Uuid;

use crate::AppClient;
use crate::server::Server;

/// How long it may take until the server has got to the place where it dies.
const DIES_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks whether the rollout has ended without a death.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Starts the server anew, to die at `crash_at`, and deploys. Whether it has died; false: the rollout
/// has ended before it came to that place.
///
/// # Errors
/// When neither is so in time.
pub async fn die_at(
    server: &mut Server,
    app: &AppClient,
    artifact: &str,
    key: &str,
    crash_at: &str,
) -> anyhow::Result<bool> {
    // A clean stop gives the leases back, so that only the crash costs time.
    server.stop().await?;
    server.begin_again(&[("SLUICE_CRASH_AT", crash_at)]).await?;
    deploy_or_die(server, app, artifact, key).await?;
    dies(server, app, artifact, key).await
}

/// The rollout of this key, asked for until the server answers.
///
/// # Errors
/// When it does not.
pub async fn deployed(app: &AppClient, artifact: &str, key: &str) -> anyhow::Result<Uuid> {
    let asked = wait::until(DIES_WITHIN, "an answer to the key", || async {
        let asked = app.deploy_as(artifact, key).await;
        asked.map_err(|error| format!("{error:#}"))
    });
    Ok(asked.await?.summary.id)
}

/// Waits until the server has died; false when the rollout has ended before.
async fn dies(
    server: &mut Server,
    app: &AppClient,
    artifact: &str,
    key: &str,
) -> anyhow::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < DIES_WITHIN {
        if server.wait_ended(LOOK_EVERY).await.is_ok() {
            return Ok(true);
        }
        let Ok(view) = app.deploy_as(artifact, key).await else {
            continue;
        };
        let view = app.client.rollout(view.summary.id).await;
        if view.is_ok_and(|it| it.summary.ended_at.is_some()) {
            return Ok(false);
        }
    }
    bail!("the server neither dies nor ends the rollout within {DIES_WITHIN:?}")
}

/// Deploys as soon as the server answers, or leaves that for later if it dies before.
async fn deploy_or_die(
    server: &mut Server,
    app: &AppClient,
    artifact: &str,
    key: &str,
) -> anyhow::Result<()> {
    let mut refusal = None;
    for _ in 0..500 {
        match app.deploy_as(artifact, key).await {
            Ok(_) => return Ok(()),
            Err(_) if server.has_ended() => return Ok(()),
            Err(error) => refusal = Some(error),
        }
        // Paced by the condition below, not by a guess.
        let url = format!("{}/health", server.url());
        let http = crate::world::http()?;
        let up = wait::until(Duration::from_millis(200), "an answer", || async {
            http.get(&url).send().await.map(drop)
        });
        drop(up.await);
    }
    let refusal = refusal.unwrap_or_else(|| anyhow::anyhow!("it was never asked"));
    Err(refusal.context("the server neither answers nor dies"))
}
