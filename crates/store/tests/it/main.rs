//! The store against a real Postgres: every public function, races, and bad days.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test that meets something else than it expects is to fail there"
)]

mod append_only;
mod apps;
mod audit;
mod calibrations;
mod claims;
mod commit;
mod create;
mod events;
mod faults;
mod freezes;
mod outbox;
mod people;
mod projects;
mod schema;
mod support;
mod tokens;
