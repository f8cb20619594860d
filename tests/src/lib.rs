//! The world that the tests of `it/` act in: the built `sluice` binary as a child process, Postgres,
//! HAProxy, Prometheus, the sample shop and a bounded load.
//!
//! ```text
//!   load ──> HAProxy ──> instances of the shop (pairs: who runs them)
//!              │  ^
//!      metrics │  └── sluice server ──> Postgres (one for a few worlds)
//!              v          ^
//!         Prometheus      └── api::Client, the command line
//! ```
//!
//! Every scenario ends with [`invariants::check`]: Sluice's history is held against the record of the
//! router ([`fronts`]) and of the load. Whatever a world started is gone when it is dropped.

pub mod app_client;
pub mod apps;
pub mod binary;
pub mod cluster;
pub mod database;
pub mod deaths;
pub mod fronts;
pub mod instances;
pub mod invariants;
pub mod metrics;
pub mod oidc;
pub mod pairs;
pub mod real_cluster;
pub mod rights;
pub mod server;
pub mod timeline;
pub mod tour;
pub mod world;

pub use app_client::AppClient;
pub use cluster::Cluster;
pub use fronts::Front;
pub use pairs::{Pair, Version};
pub use world::{Setup, World};
