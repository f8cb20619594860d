//! The Kubernetes drivers against a real control plane; its pods are played by KWOK.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that is surprised has failed"
)]

mod configs;
mod engine;
mod events;
mod rig;
mod shop;
mod stateful_set;
mod troubles;
mod workload;
