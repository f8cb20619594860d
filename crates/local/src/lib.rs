//! Runs real parts on this machine for `sluice up`, `sluice demo` and the tests.
//!
//! ```text
//!   programs   where an installed program is, or which package holds it
//!   ports      free loopback ports
//!   part       one guarded child process: its log, stop, kill, restart; gone when dropped
//!      ├─ postgres      a managed server in a directory
//!      ├─ haproxy       from deploy/haproxy, with its own counters and request log read back
//!      ├─ prometheus    from deploy/prometheus
//!      ├─ alertmanager  from deploy/alertmanager
//!      ├─ kubernetes    a control plane with nodes and pods that only seem to be
//!      ├─ smtp          a mail server that keeps what it is sent, for tests
//!      └─ node          a real node with real pods, and a real Gateway
//!   certificate  for servers that tests run
//!   shop       the sample service, with errors on demand
//!   load       a bounded load generator that keeps a record of every request
//!   wait       poll a condition until a deadline
//! ```
//!
//! It knows nothing of rollouts, the API or the store: what it measures can
//! therefore be held against what Sluice says of itself. Everything listens on
//! 127.0.0.1 (Kubernetes where it is told to, a node in a network namespace) and
//! writes only below the directory it is given.

pub mod alertmanager;
pub mod certificate;
pub mod haproxy;
mod http;
pub mod kubernetes;
pub mod load;
pub mod node;
pub mod part;
pub mod ports;
pub mod postgres;
pub mod programs;
pub mod prometheus;
mod render;
pub mod shop;
pub mod smtp;
pub mod wait;
