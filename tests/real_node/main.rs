//! Real pods behind a real Gateway: what the parts that Sluice drives on Kubernetes really do.
//! Run by `scripts/in-namespace`.

#![allow(
    clippy::indexing_slicing,
    reason = "what is missing in a JSON value reads as null"
)]

#[macro_use]
#[path = "../acceptance/table.rs"]
mod table;

mod acceptance;
mod failures;
mod front;
mod gateway;
mod routes;
mod traffic;
