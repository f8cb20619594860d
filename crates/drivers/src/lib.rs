//! Makes the world match a target, and reads it back.
//!
//! Four kinds of driver, one table each: a closed enum whose variants *are* the drivers (the
//! settings a user wrote, ready to act), called through one trait object.
//!
//! | kind | trait | must |
//! |---|---|---|
//! | workload | [`Workload`] | bring instances of revisions to given numbers; say what is ready and why not |
//! | traffic router | [`TrafficRouter`] | give revisions their shares of traffic; read back what the data plane does |
//! | metric source | [`MetricSource`] | answer one question with one number, or with samples, or say why there are none |
//! | notifier | [`Notifier`] | deliver one notice, at least once |
//!
//! What every driver must do:
//! - be absolute and idempotent ("candidate has 20 %", never "+10"): `ensure` may run any number
//!   of times and after a crash at any instruction;
//! - report what it *sees*, not what it wrote; what cannot be read is an error, never zero;
//! - bound every call: a deadline, a cap on bytes read;
//! - touch only what is its own;
//! - wake the loop when the world changes, through [`Cx::wake`]; polling is only the safety net.
//!
//! Drivers know no phases, steps or rollouts, and no database.

pub mod bindings;
pub mod error;
pub mod exchange;
pub mod kubernetes;
pub mod metrics;
pub mod notify;
pub mod small_file;
pub mod substitution;
pub mod traffic;
pub mod wake;
pub mod workload;

use std::{fmt, path::PathBuf, sync::Arc};

pub use bindings::Bindings;
pub use error::DriverError;
pub use metrics::{MetricSource, MetricsConfig};
pub use notify::{Notice, Notifier, NotifierConfig};
pub use traffic::{Routes, RulesTo, TrafficConfig, TrafficRouter};
pub use wake::Wake;
pub use workload::{Workload, WorkloadConfig};

/// Which app a call is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppKey {
    /// The project.
    pub project: String,
    /// The app's name inside the project.
    pub app: String,
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.app)
    }
}

/// What drivers share: clients, the supervisor of processes, the way to wake the loop.
#[derive(Debug, Clone)]
pub struct Cx {
    /// For every outgoing HTTP call; follows no redirects.
    pub http: reqwest::Client,
    /// Processes of the `process` workload on this host.
    pub processes: Arc<workload::process::Supervisor>,
    /// Keeps the probes of `static` workloads.
    pub probes: Arc<workload::probe::Probes>,
    /// Connections to HAProxy's runtime API, and what was last seen of each.
    pub haproxy: Arc<traffic::haproxy::Sockets>,
    /// Questions to metric sources that others may join.
    pub single_flight: Arc<metrics::SingleFlight>,
    /// Clusters, and what is known of their objects.
    pub kubernetes: Arc<kubernetes::Clusters>,
    /// Wakes the loop for an app.
    pub wake: Wake,
    /// Where drivers keep files of their own.
    pub data_dir: PathBuf,
}

impl Cx {
    /// Notes that `app` has no rollout and is as it should be. What costs something to watch is not
    /// watched until the next pass looks at the app: a thousand apps at rest cost next to nothing.
    pub fn at_rest(&self, app: &AppKey) {
        self.probes.at_rest(app);
        self.haproxy.at_rest(app);
        self.kubernetes.at_rest(app);
    }

    /// Drops what is watched and remembered for `app`: another replica drives it, or nobody does any
    /// more. A look at it begins anew.
    pub fn forget(&self, app: &AppKey) {
        self.probes.at_rest(app);
        self.haproxy.at_rest(app);
        self.kubernetes.forget(app);
    }
}

/// Makes the enum of one kind of driver, its list of words, and the step from settings to behaviour.
macro_rules! drivers {
    ($(#[$meta:meta])* $enum:ident as $trait:ident { $($(#[$doc:meta])* $variant:ident($driver:ty) = $word:literal,)+ }) => {
        $(#[$meta])*
        // One value an app: what a large variant wastes is not worth a box.
        #[allow(clippy::large_enum_variant)]
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $enum { $($(#[$doc])* #[serde(rename = $word)] $variant($driver),)+ }

        impl $enum {
            /// The words users write for these drivers.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The driver.
            pub fn driver(&self) -> &dyn $trait {
                match self { $(Self::$variant(it) => it,)+ }
            }

            /// Reads `{ word: settings }`, noting every problem.
            pub fn read(reader: &rollout::document::Reader<'_>) -> Option<Self> {
                let (word, settings) = reader.one_of(Self::WORDS)?;
                match word { $($word => <$driver>::read(&settings).map(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use drivers;
