//! Giving an app back: what Sluice left at its workload and router is taken away, and the app is
//! forgotten. Nothing stops running.

use drivers::DriverError;

use super::{Service, deploy::key_of};
use crate::{app_file::AppFile, error::ServeError};

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
        let (router, workload) = (
            file.bindings.traffic.driver(),
            file.bindings.workload.driver(),
        );
        // Looked at before anything is done: what cannot be read cannot be given back.
        let mut done = router
            .release(cx, &key, true)
            .await
            .map_err(|it| refused(&it))?;
        done.extend(
            workload
                .release(cx, &key, true)
                .await
                .map_err(|it| refused(&it))?,
        );
        if dry {
            return Ok(done);
        }
        // First the app, or the loop would put back what is taken away.
        self.store
            .delete_app(project, name, Some(app.version))
            .await?;
        self.wake(project, name, false);
        let given_back = async {
            let mut done = router.release(cx, &key, false).await?;
            done.extend(workload.release(cx, &key, false).await?);
            Ok(done)
        };
        let given_back = given_back.await;
        // No pass looks at it any more that would see to that.
        cx.forget(&key);
        given_back.map_err(|it| halfway(&it))
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
