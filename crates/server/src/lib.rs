//! Runs the loop and serves the API.
//!
//! ```text
//!  HTTP ──> routes ──> service (orders, deploys: decide purely, commit, wake) ──┐
//!                                                                               v
//!  wakes: commands, alerts, drivers, timers, NOTIFY ─────────────> controller: one pass at a time an app
//!                                                                  claim → observe → advance → commit → ensure
//! ```
//!
//! How any driver or query works is not known here.

pub mod app_file;
mod auth;
pub mod config;
mod controller;
mod error;
mod freezes;
mod live;
mod metrics;
pub mod people;
pub mod project_settings;
mod routes;
mod run;
mod service;
mod views;

pub use config::Config;
pub use error::{ServeError, StartError};
pub use people::People;
pub use routes::openapi;
pub use run::{prepare_admin_token, run, stop_instances};
