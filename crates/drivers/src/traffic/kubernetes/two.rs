//! Keeps a route with two Services: reads it and them, makes the next move until there is none left
//! to make now, and reads back what the data plane does.
//!
//! ```text
//!   look ──▶ World ──▶ pair::next ──▶ moves ──▶ look again
//!                └───▶ observe
//! ```

mod look;
mod moves;
mod release;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use async_trait::async_trait;
use rollout::{Revision, Weight, observation::ObservedRoutes};

use self::look::World;
pub(in crate::traffic) use self::view::{Taken, View, Write};
use super::{
    acceptance::Acceptance,
    observed::{Weighted, observed},
    pair::{self, Listed, Next},
    scene::{Place, settled_after},
    settings::{Services, Where},
};
use crate::{
    AppKey, Cx, DriverError, Routes,
    traffic::{Capabilities, TrafficRouter},
};

/// Most moves of one call; what is left comes with the next. Going from rest to two listed
/// Services takes three.
const MOVES_MAX: usize = 8;

/// What a part of a route rule is called: whoever waits for rules to be gone waits for it, too.
const PART: &str = "(in part)";

/// A kind of route that shares traffic between two Services: all that a router of it has to say.
#[async_trait]
pub(in crate::traffic) trait TwoServices: Debug + Send + Sync {
    /// Where it is.
    fn at(&self) -> &Where;

    /// The Services.
    fn services(&self) -> &Services;

    /// The route's kind and name.
    fn route(&self) -> (&'static str, &str);

    /// Whether header and mirror routes can be written to it.
    fn has_rules(&self) -> bool {
        false
    }

    /// Reads the route.
    async fn view(&self, place: &Place<'_>) -> Result<Box<dyn View>, DriverError>;
}

#[async_trait]
impl<T: TwoServices> TrafficRouter for T {
    fn place(&self) -> String {
        let (kind, name) = self.route();
        self.at().place(kind, name)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            weights: true,
            isolates: false,
            follows_instances: false,
            rules: self.has_rules(),
        }
    }

    fn given(&self, routes: &Routes) -> BTreeMap<Revision, Weight> {
        routes.weights.clone()
    }

    async fn observe(&self, cx: &Cx, app: &AppKey) -> Result<ObservedRoutes, DriverError> {
        Two::of(self, cx, app).await?.observe().await
    }

    async fn ensure(&self, cx: &Cx, app: &AppKey, routes: &Routes) -> Result<(), DriverError> {
        Two::of(self, cx, app).await?.ensure(routes).await
    }

    async fn release(&self, cx: &Cx, app: &AppKey, dry: bool) -> Result<Vec<String>, DriverError> {
        Two::of(self, cx, app).await?.release(dry).await
    }
}

/// A route with two Services, for one call.
struct Two<'a> {
    place: Place<'a>,
    router: &'a dyn TwoServices,
    service: &'a str,
    candidate: String,
}

impl<'a> Two<'a> {
    async fn of(
        router: &'a dyn TwoServices,
        cx: &'a Cx,
        app: &'a AppKey,
    ) -> Result<Self, DriverError> {
        Ok(Self {
            place: Place::of(cx, app, router.at()).await?,
            router,
            service: &router.services().service,
            candidate: router.services().candidate(),
        })
    }

    /// The shares that the data plane gives now.
    async fn observe(&self) -> Result<ObservedRoutes, DriverError> {
        let world = self.look().await?;
        let written = world.view.one_of(&[]);
        let share = self.taken(&world, written)?;
        let rules = self.rules_taken(&world);
        let mut backends = vec![Weighted {
            share: share.rest(),
            endpoints: &world.own.endpoints,
            // Clients inside the cluster may use it past the route.
            open: true,
        }];
        if let Some(candidate) = &world.candidate {
            let listed = world.view.listed() != Listed::Nowhere;
            backends.push(Weighted {
                share,
                endpoints: &candidate.endpoints,
                open: listed && written != Some(Weight::ZERO) || !rules.is_empty(),
            });
        }
        Ok(ObservedRoutes {
            rules,
            ..observed(&backends, world.view.tolerance(), world.view.others())
        })
    }

    /// The candidate's share that the data plane has taken: the one that stands there, or until that
    /// is taken the one before.
    fn taken(&self, world: &World, written: Option<Weight>) -> Result<Weight, DriverError> {
        let (notes, name) = (self.place.cluster.notes(), world.view.name());
        let unknown = |why: &str| DriverError::transient(format!("read {name}"), why);
        match &world.acceptance {
            Acceptance::Accepted => {
                let share = written.ok_or_else(|| {
                    unknown("its rules share the traffic differently: there is no one share")
                })?;
                notes.note_certain(&name, share.hundredths().to_string());
                Ok(share)
            }
            Acceptance::Waiting => {
                let before = notes.last_certain(&name).and_then(|it| it.parse().ok());
                let before = before.map(Weight::from_hundredths);
                // After a start nobody knows what it was before.
                before.ok_or_else(|| {
                    DriverError::pending(format!("read {name}"), "its newest state is taken")
                })
            }
            Acceptance::Refused(why) => Err(refused(&name, why)),
        }
    }

    /// The header and mirror routes that the data plane has; as long as it has not taken what stands
    /// there, those that it had.
    fn rules_taken(&self, world: &World) -> BTreeSet<String> {
        let notes = self.place.cluster.notes();
        let key = format!("routes of {}", world.view.name());
        let mut now: BTreeSet<String> = world.view.rules().into_keys().collect();
        now.extend(world.view.is_spoilt().then(|| PART.to_owned()));
        match world.acceptance {
            Acceptance::Accepted => {
                let names: Vec<&str> = now.iter().map(String::as_str).collect();
                notes.note_certain(&key, names.join(","));
                now
            }
            Acceptance::Waiting | Acceptance::Refused(_) => {
                let before = notes.last_certain(&key).unwrap_or_default();
                let before = before.split(',').filter(|it| !it.is_empty());
                before.map(str::to_owned).collect()
            }
        }
    }

    /// Moves towards `routes`, as far as it goes now.
    async fn ensure(&self, routes: &Routes) -> Result<(), DriverError> {
        for _ in 0..MOVES_MAX {
            let world = self.look().await?;
            let seen = self.seen(&world, routes);
            if self.follow(&world, &seen, routes.epoch).await? {
                continue;
            }
            let next = pair::next(&seen, routes);
            tracing::debug!(app = %self.place.app, ?next, "route");
            match &next {
                Next::Done => return accepted(&world),
                Next::Refuse(why) => {
                    let name = self.place.name("Service", self.service);
                    return Err(DriverError::permanent(format!("use {name}"), why));
                }
                Next::Wait { until, fence } => {
                    self.wake_in_time(&world, &seen);
                    return match fence {
                        true => Err(self.place.fence_waits(self.service, until)),
                        false => accepted(&world),
                    };
                }
                Next::Select(..)
                | Next::Create(_)
                | Next::Share(_)
                | Next::Rules(_)
                | Next::Unlist
                | Next::Delete => self.make(&next, &world, routes.epoch).await?,
            }
        }
        Ok(())
    }

    /// How long endpoints must have been the same for this route's gateways to know them.
    fn settled_after(&self, world: &World) -> Duration {
        let notes = self.place.cluster.notes();
        settled_after(notes.taken_within(&world.view.name()))
    }

    /// What changes by time alone wakes nobody: that is seen to here.
    fn wake_in_time(&self, world: &World, seen: &pair::Seen) {
        let backends = [Some(&seen.own), seen.candidate.as_ref()];
        if backends.iter().flatten().any(|it| !it.settled) {
            self.place.wake_after(self.settled_after(world));
        }
        if let (Taken::After(time, _), Acceptance::Waiting) =
            (world.view.acceptance(), &world.acceptance)
        {
            self.place.wake_after(time);
        }
    }
}

fn accepted(world: &World) -> Result<(), DriverError> {
    match &world.acceptance {
        Acceptance::Refused(why) => Err(refused(&world.view.name(), why)),
        Acceptance::Accepted | Acceptance::Waiting => Ok(()),
    }
}

/// Whoever refuses it may accept it once somebody has put right what is wrong.
fn refused(name: &str, why: &str) -> DriverError {
    DriverError::permanent(format!("have {name} accepted"), why)
}
