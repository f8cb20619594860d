//! Making one move: each is one write, or one to each object of a route.

use std::time::Instant;

use super::{
    super::{
        pair::{Next, Seen, Selects, Slot},
        selection::{Mark, Selection},
    },
    Two, Write,
    look::World,
};
use crate::{
    DriverError,
    kubernetes::{Failure, Kind, Object, kind::SERVICE},
};

impl Two<'_> {
    /// Brings the candidate's Service up to date with the user's, where its pods stay the same.
    pub(super) async fn follow(
        &self,
        world: &World,
        seen: &Seen,
        epoch: i64,
    ) -> Result<bool, DriverError> {
        let (Some(other), Some(backend)) = (&world.candidate, &seen.candidate) else {
            return Ok(false);
        };
        match backend.selects {
            Selects::One(revision) => {
                let mark = world.revisions.mark(revision)?;
                self.place
                    .follow(&world.own.object, &other.object, &mark, epoch)
                    .await
            }
            Selects::Everything | Selects::Nobody => Ok(false),
        }
    }

    pub(super) async fn make(
        &self,
        next: &Next,
        world: &World,
        epoch: i64,
    ) -> Result<(), DriverError> {
        let (place, own) = (&self.place, &world.own.object);
        match next {
            Next::Select(Slot::Own, selects) => {
                let selection = match selects {
                    Selects::Everything => Selection::Everything,
                    Selects::Nobody => Selection::Only(Mark::nobody()),
                    Selects::One(revision) => Selection::Only(world.revisions.mark(*revision)?),
                };
                place.select(own, &selection, epoch).await
            }
            Next::Select(Slot::Candidate, selects) => {
                let mark = match selects {
                    Selects::One(revision) => world.revisions.mark(*revision)?,
                    Selects::Everything | Selects::Nobody => Mark::nobody(),
                };
                let other = world.candidate.iter().map(|it| &it.object);
                for other in other {
                    place.follow(own, other, &mark, epoch).await?;
                }
                Ok(())
            }
            Next::Create(revision) => {
                let mark = world.revisions.mark(*revision)?;
                place
                    .create_beside(own, &self.candidate, &mark, epoch)
                    .await
            }
            Next::Share(share) => {
                let writes = world.view.share(*share);
                let writes = writes.map_err(|why| {
                    DriverError::permanent(format!("share {}", world.view.name()), why)
                })?;
                self.write(world, writes, epoch).await
            }
            Next::Rules(rules) => self.write(world, world.view.set_rules(rules), epoch).await,
            Next::Unlist => self.write(world, world.view.unlist(), epoch).await,
            Next::Delete => match &world.candidate {
                Some(other) => self.delete(&SERVICE, &other.object, epoch).await,
                None => Ok(()),
            },
            Next::Wait { .. } | Next::Refuse(_) | Next::Done => Ok(()),
        }
    }

    async fn write(
        &self,
        world: &World,
        writes: Vec<Write>,
        epoch: i64,
    ) -> Result<(), DriverError> {
        let (place, name) = (&self.place, world.view.name());
        let began = Instant::now();
        let undone = place.cluster.notes().is_undone(&name, &world.view.state());
        for write in writes {
            match write {
                Write::Patch(kind, object, change) => {
                    let claim = kind.claims.first().copied().unwrap_or("spec");
                    if undone {
                        place.again(kind, &object, claim)?;
                    }
                    place.cluster.patch(kind, &object, epoch, change).await?;
                }
                Write::Create(kind, manifest) => {
                    let created = place.cluster.create(kind, place.namespace, epoch, manifest);
                    created.await?;
                }
                Write::Delete(kind, object) => self.delete(kind, &object, epoch).await?,
            }
        }
        let after = self.router.view(place).await?;
        let notes = place.cluster.notes();
        notes.note_written(&name, &after.state());
        notes.note_offered(&name, began);
        Ok(())
    }

    /// Deletes an object, and waits until it is known to be gone.
    pub(super) async fn delete(
        &self,
        kind: &'static Kind,
        object: &Object,
        epoch: i64,
    ) -> Result<(), DriverError> {
        let place = &self.place;
        match place.cluster.delete(kind, object, epoch).await {
            Err(error) if error.failure == Failure::NotFound => {}
            deleted => deleted?,
        }
        place.cluster.moved_on(place.app, kind, object).await;
        Ok(())
    }
}
