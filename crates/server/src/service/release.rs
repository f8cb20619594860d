//! Giving an app back: what Sluice left at its workload and router is taken away, and the app is
//! forgotten. Nothing stops running.

use std::time::Duration;

use drivers::{AppKey, Bindings, Cx, DriverError};
use tokio::time::{Instant, sleep};

use super::{Service, deploy::key_of};
use crate::{app_file::AppFile, error::ServeError};

/// How long it goes on after what may pass by itself, such as a server that asks for a pause: nobody
/// else would.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(15);

/// Time between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long nothing of ours must have come back: a pass that was under way, here or in another
/// replica, may still have written what it had decided before.
const CLEAN_FOR: Duration = Duration::from_secs(1);

impl Service {
    /// Gives an app back; with `dry`, only says what that would do. Returns a sentence a change.
    pub(crate) async fn release(
        &self,
        project: &str,
        name: &str,
        dry: bool,
    ) -> Result<Vec<String>, ServeError> {
        let found = self.store.get_app(project, name).await?;
        let app = found.ok_or_else(|| ServeError::NotFound {
            what: format!("app {project}/{name}"),
        })?;
        if let Some(current) = self.store.current(app.id).await? {
            return Err(ServeError::Conflict {
                detail: format!(
                    "rollout {} of {} is {}: abort it or let it end, then release the app",
                    current.id, current.candidate, current.phase
                ),
            });
        }
        let file = AppFile::read(&app.document).map_err(ServeError::Document)?;
        let (key, cx) = (key_of(&app), &self.cx);
        // Looked at before anything is done: what cannot be read cannot be given back.
        let until = Instant::now() + GIVEN_BACK_WITHIN;
        let done = attempted(cx, &key, &file.bindings, true, until).await;
        let done = done.map_err(|it| refused(&it))?;
        if dry {
            return Ok(done);
        }
        // First the app, or the loop would put back what is taken away.
        self.store
            .delete_app(project, name, Some(app.version))
            .await?;
        // As for a rollback: a pass that is under way ends here.
        self.wake(project, name, true);
        let given_back = match done.is_empty() {
            true => Ok(()),
            false => give_back(cx, &key, &file.bindings).await,
        };
        // No pass looks at it any more that would see to that.
        cx.forget(&key);
        given_back.map_err(|it| halfway(&it))?;
        Ok(done)
    }
}

/// Gives back whatever is there of ours, until nothing is for a while.
async fn give_back(cx: &Cx, key: &AppKey, bindings: &Bindings) -> Result<(), DriverError> {
    let until = Instant::now() + GIVEN_BACK_WITHIN;
    let mut clean_since = Instant::now();
    loop {
        let found = attempted(cx, key, bindings, false, until).await?;
        let now = Instant::now();
        if !found.is_empty() {
            clean_since = now;
        }
        if now >= until || now.duration_since(clean_since) >= CLEAN_FOR {
            return Ok(());
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// What the router and the workload hold is given back, in that order, or with `dry` only told. What
/// is given back already is not there any more, so it can be done again after what passes by itself.
async fn attempted(
    cx: &Cx,
    key: &AppKey,
    bindings: &Bindings,
    dry: bool,
    until: Instant,
) -> Result<Vec<String>, DriverError> {
    let (router, workload) = (bindings.traffic.driver(), bindings.workload.driver());
    loop {
        let attempt = async {
            let mut done = router.release(cx, key, dry).await?;
            done.extend(workload.release(cx, key, dry).await?);
            Ok(done)
        };
        match attempt.await {
            Err(DriverError {
                transient: true, ..
            }) if Instant::now() < until => sleep(AGAIN_AFTER).await,
            ended => return ended,
        }
    }
}

fn refused(error: &DriverError) -> ServeError {
    ServeError::Conflict {
        detail: format!("nothing was given back: {error}"),
    }
}

fn halfway(error: &DriverError) -> ServeError {
    ServeError::Conflict {
        detail: format!(
            "the app is removed here, but not everything was given back: {error}; apply the app file again and release it once more"
        ),
    }
}
