//! What runs before Sluice comes, and what somebody asks for past it.

use drivers::workload::Offer;
use store::{App, Idempotency};
use uuid::Uuid;

use super::{
    Service,
    deploy::{Asked, DeployRequest, made_of},
};
use crate::{app_file::AppFile, error::ServeError};

/// The route that an offer's idempotency key belongs to.
const OFFERS: &str = "offers";

impl Service {
    /// What an app's workload runs though no revision was ever made; `None` for workloads that only
    /// run what Sluice starts.
    pub(super) async fn found_running(
        &self,
        app: &drivers::AppKey,
        file: &AppFile,
    ) -> Result<Option<Offer>, ServeError> {
        let workload = file.bindings.workload.driver();
        let offered = workload.offered(&self.cx, app, &[]).await;
        offered.map_err(|error| ServeError::Field {
            pointer: "/workload".to_owned(),
            detail: error.to_string(),
        })
    }

    /// Makes what was found running an app's first stable revision, where there is none.
    pub(super) async fn adopt(
        &self,
        app: App,
        file: &AppFile,
        found: Option<Offer>,
    ) -> Result<App, ServeError> {
        let (None, Some(offer)) = (app.stable, found) else {
            return Ok(app);
        };
        let revision = made_of(&app, file, offer.artifact);
        let stable = self.store.adopt(app.id, &revision, &offer.by).await?;
        self.wake(&app.project, &app.name, false);
        Ok(App { stable, ..app })
    }

    /// Begins the rollout that somebody asked for at the workload. The same offer in the same
    /// situation is taken up once: what was rolled back is not begun again by itself. True when it
    /// was begun now.
    pub(crate) async fn take_up(
        &self,
        app: &App,
        offer: Offer,
        current: Option<Uuid>,
    ) -> Result<bool, ServeError> {
        let digest = offer.artifact.digest.clone().unwrap_or_default();
        let situation = current.map_or_else(|| format!("{:?}", app.stable), |it| it.to_string());
        let key = format!("{situation} {digest}");
        let key = Idempotency::new(&key, &app.id.to_string(), OFFERS, digest.as_bytes());
        if let Some(before) = self.store.answered(&key).await? {
            return match before.phase.is_terminal() {
                false => Ok(false),
                true => Err(ServeError::Conflict {
                    detail: format!(
                        "{} asks again for what ended as {} in rollout {}; retry that one or change the template",
                        offer.by, before.phase, before.id
                    ),
                }),
            };
        }
        let request = DeployRequest {
            project: app.project.clone(),
            app: app.name.clone(),
            break_glass: None,
            comment: Some("asked for at the workload".to_owned()),
            by: offer.by,
            source: None,
            asked: Asked::Offered(Box::new(offer.artifact)),
            idempotency: Some(key),
        };
        self.deploy(request).await.map(|_| true)
    }
}
