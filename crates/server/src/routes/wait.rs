//! Waiting for a rollout: one request instead of many. Wakes when something was committed.

use std::time::Duration;

use api::WaitAnswer;
use axum::{Json, extract::State};
use jiff::SignedDuration;
use serde::Deserialize;
use store::Rollout;
use tokio::{sync::broadcast::error::RecvError, time::Instant};
use utoipa::IntoParams;

use super::{
    Web,
    extract::{Asked, Caller, Params},
};
use crate::{error::ServeError, views};

/// The longest wait: proxies cut idle connections off after a minute or later.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(60);
/// The wait when none is asked for.
const WAIT: SignedDuration = SignedDuration::from_secs(30);
/// Notifications can be lost with their connection, so we look now and then all the same.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Many commits in a row cost one look.
const SETTLE: Duration = Duration::from_millis(20);

/// How long, and for what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitParams {
    /// How long at most, e.g. `30s`; up to `60s`.
    timeout: Option<String>,
    /// Return as soon as the rollout's version is above this.
    version: Option<i64>,
}

/// Waits until the rollout has ended or needs a person; with `version`, until it has ended or has a
/// newer version. (A rollout that needs a person and is not newer is not told again and again.)
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/wait", tag = "rollouts",
    params(("id" = uuid::Uuid, Path), WaitParams), responses((status = 200, body = WaitAnswer)))]
pub(super) async fn wait(
    State(web): State<Web>,
    Caller(caller): Caller,
    Asked(rollout): Asked,
    Params(params): Params<WaitParams>,
) -> Result<Json<WaitAnswer>, ServeError> {
    let until = Instant::now() + timeout(params.timeout.as_deref())?;
    let _place = web.long_request()?;
    // Subscribed before the first look, so that nothing falls between.
    let mut changed = web.service.changed.subscribe();
    let id = rollout.id;
    let mut rollout = Rollout::clone(&rollout);
    loop {
        let found = web.rollout(id, false).await?;
        rollout = found.unwrap_or(rollout);
        let reached = reached(&rollout, params.version);
        if reached || Instant::now() >= until || web.service.stop.is_cancelled() {
            let rollout = web.show(&rollout, false, &caller).await?;
            return Ok(Json(WaitAnswer { rollout, reached }));
        }
        let look = until.min(Instant::now() + LOOK_EVERY);
        tokio::select! {
            () = web.service.stop.cancelled() => {}
            () = tokio::time::sleep_until(look) => {}
            rung = changed.recv() => match rung {
                Ok(()) | Err(RecvError::Lagged(_)) => {
                    tokio::time::sleep(SETTLE).await;
                    changed = changed.resubscribe();
                }
                Err(RecvError::Closed) => tokio::time::sleep_until(look).await,
            }
        }
    }
}

fn timeout(text: Option<&str>) -> Result<Duration, ServeError> {
    let wrong = || {
        let most = WAIT_MAX.as_secs();
        ServeError::field("/timeout", format!("must be from 0s to {most}s, e.g. 30s"))
    };
    let wait = match text {
        Some(text) => text.parse::<SignedDuration>().map_err(|_| wrong())?,
        None => WAIT,
    };
    match wait <= WAIT_MAX {
        true => Duration::try_from(wait).map_err(|_| wrong()),
        false => Err(wrong()),
    }
}

fn reached(rollout: &Rollout, version: Option<i64>) -> bool {
    match version {
        _ if rollout.phase.is_terminal() => true,
        Some(version) => rollout.version > version,
        None => views::needs_person(rollout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded() {
        assert_eq!(timeout(None).unwrap(), Duration::from_secs(30));
        assert_eq!(timeout(Some("0s")).unwrap(), Duration::ZERO);
        assert_eq!(timeout(Some("1m")).unwrap(), Duration::from_secs(60));
        for wrong in ["61s", "-1s", "soon", "", "30"] {
            assert!(timeout(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
