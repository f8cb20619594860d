//! Decides: what must hold, whether to move on, whether a command is legal.
//!
//! Every strategy compiles to a [`Plan`], lists of [`Step`]s; one small machine runs any plan:
//!
//! ```text
//!                       ┌───────── pause/resume ─────────┐
//!                       v                                v
//!  Pending ──> Progressing ──promote full──> Promoting  Paused
//!     │            │    └──────────┬───────────┘          │
//!     │            └── abort, gate, alert, deadline ──────┤
//!     v            │               v                      v
//!  Cancelled       └─────────> Succeeded              Aborting ──> RolledBack
//!                                                         ^            │
//!                                                         └── retry ───┘ (back to Progressing)
//! ```
//!
//! - [`target()`]: what must hold now
//! - [`advance()`]: may it move on, and if not, why
//! - [`command()`]: is this order legal, and what does it change
//!
//! All three are pure and synchronous. This crate reads no clock, draws no random numbers, does no
//! I/O and knows nothing of async, SQL, HTTP or Kubernetes; its `clippy.toml` sees to that.

mod advance;
mod alert;
mod command;
pub mod document;
mod event;
mod freeze;
pub mod gate;
pub mod invariants;
pub mod observation;
mod plan;
mod reason;
mod revision;
mod route_rule;
mod state;
pub mod steps;
pub mod strategy;
mod target;
pub mod time;
mod weight;

pub use advance::{Advance, advance};
pub use alert::{AlertAction, AlertRule};
pub use command::{Command, Order, Outcome, Rejection, command};
pub use event::Event;
pub use freeze::{Freeze, Running, refused_by_freeze};
pub use observation::{Fact, Observation};
pub use plan::{Plan, Revisions};
pub use reason::{GateWait, Reason, WaitingOn};
pub use revision::{Revision, Role};
pub use route_rule::{HeaderMatch, RouteRule, ValueMatch};
pub use state::{Abort, Approval, BreakGlass, Cursor, Hold, Phase, State, Track};
pub use steps::Step;
pub use strategy::{Delivery, Strategy};
pub use target::{Target, routes, rules, target};
pub use weight::Weight;
