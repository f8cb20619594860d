//! Reading the route, the two Services and what is behind them.

use std::collections::BTreeSet;

use rollout::Weight;

use super::{
    super::{
        acceptance::Acceptance,
        pair::{Listed, Seen, Split},
        scene::{Revisions, Service},
        selection,
    },
    Taken, Two, View,
};
use crate::{DriverError, Routes};

/// All that was read.
pub(super) struct World {
    pub(super) revisions: Revisions,
    pub(super) own: Service,
    pub(super) candidate: Option<Service>,
    pub(super) view: Box<dyn View>,
    pub(super) acceptance: Acceptance,
}

impl Two<'_> {
    pub(super) async fn look(&self) -> Result<World, DriverError> {
        let place = &self.place;
        let revisions = place.revisions().await?;
        let own = place.own(self.service, &revisions).await?;
        let candidate = place.service(&self.candidate, &revisions).await?;
        if let Some(other) = &candidate
            && !selection::is_beside(&own.object, &other.object)
        {
            return Err(DriverError::permanent(
                format!("use {}", place.name("Service", &self.candidate)),
                "it is there and not Sluice's: name another with `candidateService`",
            ));
        }
        let view = self.router.view(place).await?;
        let notes = place.cluster.notes();
        let acceptance = match view.acceptance() {
            Taken::Said(acceptance) => {
                if acceptance == Acceptance::Accepted {
                    notes.note_taken(&view.name());
                }
                acceptance
            }
            Taken::After(time, state) => {
                let steady = notes.steady_for(&view.name(), &state) >= time;
                // Never anything else, as far as this process knows, and nothing of ours in it.
                let untouched =
                    view.listed() == Listed::Nowhere && notes.last_certain(&view.name()).is_none();
                match steady || untouched {
                    true => Acceptance::Accepted,
                    false => Acceptance::Waiting,
                }
            }
        };
        Ok(World {
            revisions,
            own,
            candidate,
            view,
            acceptance,
        })
    }

    pub(super) fn seen(&self, world: &World, routes: &Routes) -> Seen {
        let mut asked: BTreeSet<Weight> = routes.weights.values().copied().collect();
        asked.extend([Weight::ZERO, Weight::ALL]);
        let asked: Vec<Weight> = asked.into_iter().collect();
        let settled_after = self.settled_after(world);
        let backend = |it: &Service| self.place.backend(it, &world.revisions, settled_after);
        Seen {
            own: backend(&world.own),
            candidate: world.candidate.as_ref().map(backend),
            split: Split {
                listed: world.view.listed(),
                candidate: world.view.one_of(&asked),
                accepted: world.acceptance == Acceptance::Accepted,
            },
            rules: world.view.rules(),
            spoilt: world.view.is_spoilt(),
            known: world.revisions.marks.keys().copied().collect(),
            alive: world.revisions.alive.clone(),
        }
    }
}
