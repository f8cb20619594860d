//! Keeps one Service without weights: reads it, points it, reads back who is behind it.

use rollout::{Weight, observation::ObservedRoutes};

use super::{
    observed::{Weighted, observed},
    pair::{Next, Selects, Slot},
    scene::{Place, Revisions, Service, settled_after},
    selection::{self, Mark, Selection},
    single::{self, Seen},
};
use crate::{
    DriverError, Routes,
    kubernetes::{Change, Object, kind::SERVICE},
};

/// Most moves of one call: one, and the look that shows that there is none left to make now.
const MOVES_MAX: usize = 3;

/// The user's Service.
pub(in crate::traffic) struct One<'a> {
    pub(in crate::traffic) place: Place<'a>,
    pub(in crate::traffic) service: &'a str,
    /// Two revisions may be behind it at once.
    pub(in crate::traffic) shared: bool,
}

impl One<'_> {
    async fn look(&self) -> Result<(Revisions, Service), DriverError> {
        let revisions = self.place.revisions().await?;
        let own = self.place.own(self.service, &revisions).await?;
        Ok((revisions, own))
    }

    /// The shares that its endpoints make. `tolerance` gets what was observed.
    pub(in crate::traffic) async fn observe(
        &self,
        tolerance: impl FnOnce(&Service) -> Weight,
    ) -> Result<ObservedRoutes, DriverError> {
        let (_, own) = self.look().await?;
        let backend = Weighted {
            share: Weight::ALL,
            endpoints: &own.endpoints,
            open: true,
        };
        Ok(observed(&[backend], tolerance(&own), Vec::new()))
    }

    /// Moves towards `routes`, as far as it goes now.
    pub(in crate::traffic) async fn ensure(&self, routes: &Routes) -> Result<(), DriverError> {
        let place = &self.place;
        let name = place.name("Service", self.service);
        for _ in 0..MOVES_MAX {
            let (revisions, own) = self.look().await?;
            let seen = Seen {
                own: place.backend(&own, &revisions, settled_after(None)),
                known: revisions.marks.keys().copied().collect(),
                alive: revisions.alive.clone(),
            };
            let next = single::next(&seen, routes, self.shared);
            tracing::debug!(app = %place.app, ?next, "Service");
            match next {
                Next::Select(Slot::Own, selects) => {
                    let selection = selection_of(selects, &revisions)?;
                    place.select(&own.object, &selection, routes.epoch).await?;
                }
                Next::Refuse(why) => {
                    return Err(DriverError::permanent(format!("use {name}"), why));
                }
                Next::Wait { until, fence: true } => {
                    return Err(place.fence_waits(self.service, &until));
                }
                Next::Wait { fence: false, .. }
                | Next::Done
                | Next::Select(Slot::Candidate, _)
                | Next::Create(_)
                | Next::Share(_)
                | Next::Rules(_)
                | Next::Unlist
                | Next::Delete => return Ok(()),
            }
        }
        Ok(())
    }

    /// Points another Service of the user's at the revision that is to be looked at before it gets
    /// traffic; without one it selects what it always does.
    pub(in crate::traffic) async fn preview(
        &self,
        preview: &str,
        routes: &Routes,
    ) -> Result<(), DriverError> {
        let revisions = self.place.revisions().await?;
        let carried = |it| routes.weights.get(it).is_some_and(|it| *it > Weight::ZERO);
        let present = routes.present.iter().filter(|it| !carried(it));
        let shown = present.filter(|it| revisions.marks.contains_key(it)).max();
        let selects = shown.map_or(Selects::Everything, |it| Selects::One(*it));
        let selection = selection_of(selects, &revisions)?;
        let service = self.place.own(preview, &revisions).await?;
        self.place
            .select(&service.object, &selection, routes.epoch)
            .await
    }

    /// Takes what is ours off the user's Services; see [`crate::TrafficRouter::release`].
    pub(in crate::traffic) async fn release(
        &self,
        others: &[&str],
        dry: bool,
    ) -> Result<Vec<String>, DriverError> {
        let mut done = Vec::new();
        let revisions = self.place.revisions().await?;
        for name in std::iter::once(&self.service).chain(others) {
            let service = self.place.own(name, &revisions).await?;
            let Some(change) = selection::release(&service.object) else {
                continue;
            };
            done.push(format!(
                "give {} its own selector back",
                self.place.name("Service", name)
            ));
            if !dry {
                self.give_back(&service.object, Change::Merge(change))
                    .await?;
            }
        }
        Ok(done)
    }

    async fn give_back(&self, service: &Object, change: Change) -> Result<(), DriverError> {
        let epoch = service.epoch().unwrap_or_default();
        self.place
            .cluster
            .patch(&SERVICE, service, epoch, change)
            .await?;
        Ok(())
    }
}

fn selection_of(selects: Selects, revisions: &Revisions) -> Result<Selection, DriverError> {
    match selects {
        Selects::Everything => Ok(Selection::Everything),
        Selects::Nobody => Ok(Selection::Only(Mark::nobody())),
        Selects::One(revision) => revisions.mark(revision).map(Selection::Only),
    }
}
