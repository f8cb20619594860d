//! The `replicaRatio` router: no router at all. Shares follow the numbers of ready pods behind one
//! Service.
//!
//! What can be had without a router, and what is made of it:
//! - Nothing and everything are exact: while a revision is to have no traffic, the Service's selector
//!   keeps its pods out. So a candidate is tried out before it gets anything, and an abort takes the
//!   traffic from it with one write, long before its pods have ended.
//! - In between, each ready pod gets as much as any other. A plan scales the candidate to its share of
//!   the replicas, rounded up, and a canary keeps stable at full scale: with 4 replicas `setWeight: 50`
//!   makes 2 pods beside 4, which is a third, and `setWeight: 5` makes 1 beside 4, which is a fifth. What
//!   a plan really gives is shown before it runs ([`TrafficRouter::given`]).
//! - So a share counts as met when as many candidate pods are ready as that share asks for: the
//!   tolerance reaches from the share that one pod less would be for to what the pods would be of the
//!   other revision's number.
//! - Shares are of new connections, and only as fair as who connects: one client that keeps its
//!   connection sends everything to one pod. Gates that compare counts of requests are not bothered by
//!   it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rollout::{
    Revision, Weight,
    document::Reader,
    observation::{InstanceState, ObservedRoutes},
};
use serde::{Deserialize, Serialize};

use super::{
    Capabilities, Routes, TrafficRouter,
    kubernetes::{one::One, scene::Place, settings::Where},
    shares::shares_of,
};
use crate::{AppKey, Cx, DriverError};

/// The settings of the `replicaRatio` router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRatio {
    /// The cluster and the namespace.
    #[serde(flatten)]
    pub place: Where,
    /// The Service.
    pub service: String,
}

impl ReplicaRatio {
    /// Reads `{ context, namespace, service }`, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&[&["service"], Where::KEYS.as_slice()].concat())?;
        let place = Where::read(&object);
        let service = object.required("service", Reader::name);
        Some(Self {
            place: place?,
            service: service?,
        })
    }

    async fn one<'a>(&'a self, cx: &'a Cx, app: &'a AppKey) -> Result<One<'a>, DriverError> {
        Ok(One {
            place: Place::of(cx, app, &self.place).await?,
            service: &self.service,
            shared: true,
        })
    }
}

/// How far the share that pods make may be from the one that they were scaled for. Whoever of the two
/// is the candidate: with `c` pods beside `s` it has `c / (c + s)`, and was asked for more than
/// `(c - 1) / s` and at most `c / s`.
fn tolerance(ready: &BTreeMap<Revision, u32>) -> Weight {
    let counts: Vec<u64> = ready.values().map(|it| u64::from(*it)).collect();
    let [one, other] = counts[..] else {
        return Weight::ZERO;
    };
    let off = |candidate: u64, stable: u64| {
        let has = Weight::of(candidate, candidate.saturating_add(stable));
        let most = Weight::of(candidate, stable).distance(has);
        let least = Weight::of(candidate.saturating_sub(1), stable).distance(has);
        most.max(least)
    };
    off(one, other).max(off(other, one))
}

#[async_trait]
impl TrafficRouter for ReplicaRatio {
    fn place(&self) -> String {
        self.place.place("Service", &self.service)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            weights: true,
            isolates: false,
            follows_instances: true,
            rules: false,
        }
    }

    fn given(&self, routes: &Routes) -> BTreeMap<Revision, Weight> {
        let carried = routes.weights.iter().filter(|(_, it)| **it > Weight::ZERO);
        let ready = |revision| {
            let instances = routes.instances.get(revision).into_iter().flatten();
            instances
                .filter(|it| it.state == InstanceState::Ready)
                .count() as u64
        };
        let parts = carried.map(|(revision, _)| (*revision, ready(revision)));
        shares_of(&parts.filter(|(_, ready)| *ready > 0).collect())
    }

    async fn observe(&self, cx: &Cx, app: &AppKey) -> Result<ObservedRoutes, DriverError> {
        self.one(cx, app)
            .await?
            .observe(|it| tolerance(&it.endpoints.ready()))
            .await
    }

    async fn ensure(&self, cx: &Cx, app: &AppKey, routes: &Routes) -> Result<(), DriverError> {
        self.one(cx, app).await?.ensure(routes).await
    }

    async fn release(&self, cx: &Cx, app: &AppKey, dry: bool) -> Result<Vec<String>, DriverError> {
        self.one(cx, app).await?.release(&[], dry).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(one: u32, other: u32) -> BTreeMap<Revision, u32> {
        BTreeMap::from([(Revision(1), one), (Revision(2), other)])
    }

    /// Every canary step of every size is met by the pods that the plan scales to, and no pod less.
    #[test]
    fn a_share_is_met_by_the_pods_that_were_scaled_for_it() {
        for stable in 1..=12_u32 {
            for percent in 1..100 {
                let asked = Weight::from_hundredths(percent * 100);
                let scaled = asked.instances(stable);
                let counts = ready(stable, scaled);
                let has = Weight::of(u64::from(scaled), u64::from(scaled + stable));
                let off = has.distance(asked);
                assert!(off <= tolerance(&counts), "{asked} of {stable}: {has}");
            }
        }
    }

    /// A rolling update asks for the candidate's part of the replicas, with one more or less in all.
    #[test]
    fn a_rolling_update_is_met_by_its_batches() {
        for replicas in 2..=12_u32 {
            for candidate in 1..replicas {
                for stable in (replicas - candidate).max(2) - 1..=replicas - candidate + 1 {
                    let asked = Weight::of(u64::from(candidate), u64::from(replicas));
                    let has = Weight::of(u64::from(candidate), u64::from(candidate + stable));
                    let tolerance = tolerance(&ready(stable, candidate));
                    assert!(
                        has.distance(asked) <= tolerance,
                        "{candidate} beside {stable}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_and_everything_have_no_tolerance() {
        assert_eq!(tolerance(&BTreeMap::from([(Revision(1), 3)])), Weight::ZERO);
        assert_eq!(tolerance(&BTreeMap::new()), Weight::ZERO);
        assert_eq!(tolerance(&ready(4, 1)), Weight::from_hundredths(2000));
    }
}
