//! Simulated rollouts, judged by these statistics and by others' rules; the benchmark runs them in
//! full, the tests a smaller seeded part.
//!
//! ```text
//!   traffic ──> windows of one rollout ──> each rule ──> outcome ──> tallies ──> tables, targets
//! ```

#![allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "a part of the benchmark and of the tests, of which each is a crate of its own"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "code of tests: it may panic, and nothing replays it on another platform"
)]

pub mod grid;
pub mod peers;
pub mod promises;
pub mod race;
pub mod report;
pub mod rules;
pub mod slow;
pub mod stress;
pub mod targets;
pub mod traffic;

/// Between two looks, in seconds.
pub const TICK_SECONDS: u32 = 15;
/// Looks in an hour, where every rollout ends.
pub const TICKS: u32 = 240;
