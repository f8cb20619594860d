//! Taking everything of ours out of a route and off the user's Service.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{acceptance::Acceptance, selection},
    Two, Write,
};
use crate::{
    DriverError,
    kubernetes::{Change, kind::SERVICE},
};

/// How long a release waits for the data plane to take the route, and how often it looks. What
/// serves goes on serving either way.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Two<'_> {
    /// Takes everything back; see [`crate::TrafficRouter::release`].
    pub(super) async fn release(&self, dry: bool) -> Result<Vec<String>, DriverError> {
        let world = self.look().await?;
        let place = &self.place;
        let mut done = Vec::new();
        // Whoever answers a request now shall answer the next one: nothing leaves the route before
        // the user's Service selects it.
        if let Some(change) = selection::release(&world.own.object) {
            let own = place.name("Service", self.service);
            done.push(format!("give {own} its own selector back"));
            if !dry {
                let change = Change::Merge(change);
                self.write_back(Write::Patch(
                    &SERVICE,
                    Arc::clone(&world.own.object),
                    change,
                ))
                .await?;
            }
        }
        let writes = world.view.release();
        if !writes.is_empty() {
            done.push(format!(
                "take what is Sluice's out of {}",
                world.view.name()
            ));
        }
        if !dry {
            for write in writes {
                self.write_back(write).await?;
            }
            self.until_taken().await?;
        }
        if let Some(other) = world.candidate {
            done.push(format!("delete {}", place.name("Service", &self.candidate)));
            if !dry {
                self.delete(
                    &SERVICE,
                    &other.object,
                    other.object.epoch().unwrap_or_default(),
                )
                .await?;
            }
        }
        Ok(done)
    }

    /// Gives the data plane a moment to take the route as it is now.
    async fn until_taken(&self) -> Result<(), DriverError> {
        let until = Instant::now() + TAKEN_WITHIN;
        while self.look().await?.acceptance == Acceptance::Waiting && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn write_back(&self, write: Write) -> Result<(), DriverError> {
        let cluster = &self.place.cluster;
        match write {
            Write::Patch(kind, object, change) => {
                let epoch = object.epoch().unwrap_or_default();
                cluster.patch(kind, &object, epoch, change).await?;
            }
            Write::Delete(kind, object) => {
                let epoch = object.epoch().unwrap_or_default();
                self.delete(kind, &object, epoch).await?;
            }
            Write::Create(..) => {}
        }
        Ok(())
    }
}
