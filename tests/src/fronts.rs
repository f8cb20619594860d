//! Where the users of a world come in, and what can be known there of who served them. A pair of
//! workload and router brings the front of its router.

mod gateway;
mod haproxy;

use std::fmt::Debug;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use local::prometheus::Targets;

pub use gateway::GatewayFront;
pub use haproxy::HaProxyFront;

use crate::World;

/// A router, seen from outside.
#[async_trait]
pub trait Front: Debug + Send + Sync {
    /// Where users go.
    fn url(&self, world: &World) -> String;

    /// The host that users ask for, where the router tells apps apart by it.
    fn host(&self, world: &World) -> Option<String>;

    /// What Prometheus scrapes for it, beside the HAProxy that every world has.
    fn targets(&self) -> Vec<Targets>;

    /// The query for the candidate's share of errors, by the router's own counters.
    fn errors_query(&self, world: &World) -> String;

    /// By what name the front knows who serves. Revisions of the same artifact may share it.
    fn known_as(&self, revision: &str, artifact: &str) -> String;

    /// Every request of the users, with the name of who served it. The load has been stopped.
    async fn record(&self, world: &World) -> anyhow::Result<Record>;

    /// Who gets requests now, by name, once an instance.
    async fn serving(&self, world: &World) -> anyhow::Result<Vec<String>>;
}

/// What a front remembers of its requests.
#[derive(Debug)]
pub struct Record {
    /// The requests that were answered.
    pub requests: Vec<Request>,
    /// How long after a weight was seen in force a request may still be served by the one before.
    pub lag: SignedDuration,
    /// How the router picks.
    pub choice: Choice,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When it began.
    pub began: Timestamp,
    /// Who served it, by the name the front has for it; `None` if nobody did.
    pub by: Option<String>,
    /// The router answered with an error by itself, perhaps after an instance had failed it.
    pub own_error: bool,
}

/// How a router picks who serves a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// In turns: exact but for integer weights and what each thread owes.
    Turns,
    /// By chance.
    Chance,
}

impl Choice {
    /// How many requests above its share one may get of `total`.
    pub fn slack(self, total: f64, share: f64) -> f64 {
        match self {
            _ if share <= 0.0 => 0.0,
            Self::Turns => total * 0.02 + 4.0,
            // Five standard deviations: once in three million spans.
            Self::Chance => 5.0 * (total * share * (1.0 - share)).sqrt() + 4.0,
        }
    }
}
