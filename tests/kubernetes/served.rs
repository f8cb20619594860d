//! The running server on a real control plane: what its rollouts make of a Deployment, a Service and
//! a route at every instant, as watches tell it, and what it asked for, as the audit log does.

mod autoscaler;
mod crashes;
mod faults;
mod fights;
mod healthy;
mod interrupted;
mod moments;
mod shop;
mod takeover;

use std::time::Duration;

/// How long anything may take that takes a moment on a machine of its own.
pub(crate) const SOON: Duration = Duration::from_secs(60);
