//! What somebody asks for at the workload itself, past Sluice, becomes a rollout.

use store::PassInput;

use super::{Pass, Scene};
use crate::controller::troubles::{Condition, Part};

impl Pass {
    /// Asks the workload for such an offer and takes it up. True when a rollout was begun.
    pub(super) async fn take_up(&self, input: &PassInput, scene: &Scene) -> bool {
        let service = &self.shared.service;
        let workload = scene.bindings.workload.driver();
        let offered = workload.offered(&service.cx, &self.app, &scene.specs).await;
        let offer = match offered {
            Ok(Some(offer)) => offer,
            Ok(None) => return false,
            // Reading it fails for the pass as well, which says so.
            Err(error) => {
                tracing::debug!(app = %self.app, %error, "cannot ask for offers");
                return false;
            }
        };
        let current = input.current.as_ref().map(|it| it.id);
        match service
            .take_up(&input.app, offer, current)
            .await
            .map_err(|error| error.to_string())
        {
            Ok(begun) => begun,
            Err(error) => {
                self.note(Part::Offer, Condition::Fails(&error));
                false
            }
        }
    }
}
