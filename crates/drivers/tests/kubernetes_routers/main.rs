//! The traffic routers of Kubernetes on a real control plane: EndpointSlices are made by the real
//! controller from pods that KWOK plays. The controller of the Gateway is a stub that accepts, lags or
//! refuses as it is told. No requests flow: what a client would get is told from every state that the
//! objects were in.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that is surprised has failed"
)]

mod gateway_api;
mod others;
#[allow(dead_code, reason = "shared with the tests of the workload")]
#[path = "../kubernetes/rig.rs"]
mod rig;
mod services;
mod shop;
mod states;
