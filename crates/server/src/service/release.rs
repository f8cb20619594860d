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
        let done = give_back(cx, &key, &file.bindings, true).await;
        let done = done.map_err(|it| refused(&it))?;
        if dry {
            return Ok(done);
        }
        // First the app, or the loop would put back what is taken away.
        self.store
            .delete_app(project, name, Some(app.version))
            .await?;
        self.wake(project, name, false);
        let given_back = give_back(cx, &key, &file.bindings, false).await;
        // No pass looks at it any more that would see to that.
        cx.forget(&key);
        given_back.map_err(|it| halfway(&it))?;
        Ok(done)
    }
}

/// Gives back what the router and the workload hold, in that order. What is given back already is
/// not there any more, so it can be done again.
async fn give_back(
    cx: &Cx,
    key: &AppKey,
    bindings: &Bindings,
    dry: bool,
) -> Result<Vec<String>, DriverError> {
    let (router, workload) = (bindings.traffic.driver(), bindings.workload.driver());
    let until = Instant::now() + GIVEN_BACK_WITHIN;
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
