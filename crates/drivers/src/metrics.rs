//! Metric sources: what answers a gate's question, and the client of webhook gates.

pub mod prometheus;
pub mod range;
pub mod selector;
mod single_flight;
pub mod template;
pub mod webhook;

use std::fmt::Display;

use async_trait::async_trait;
pub use range::{Bounds, NativeBucket, NativeHistogram, RangeAnswer, RangeQuery, RawSeries};
use rollout::gate::{NoDataCause, Reading};
pub use selector::{MatchOp, Selector};
pub use single_flight::SingleFlight;

use crate::{Cx, exchange::excerpt};

/// Answers a query with one number or with samples, or says why there are none. It never fails: a
/// failure is a [`Reading::NoData`] with its cause, and no cause is ever a pass.
#[async_trait]
pub trait MetricSource: std::fmt::Debug + Send + Sync {
    /// Asks `query`, in which every `{{…}}` has been replaced.
    async fn measure(&self, cx: &Cx, query: &str) -> Reading;

    /// The samples of every series that `query` selects, as they were scraped. No series is an
    /// answer too.
    ///
    /// # Errors
    /// [`Reading::NoData`] with its cause, never another reading.
    async fn range(&self, cx: &Cx, query: &RangeQuery) -> Result<RangeAnswer, Reading>;
}

crate::drivers! {
    /// The metric sources that an app file can name.
    MetricsConfig as MetricSource {
        /// Prometheus, or anything that speaks its HTTP API.
        Prometheus(prometheus::Prometheus) = "prometheus",
    }
}

/// A reading that says why there is no number, its detail cut to one short line.
fn no_data(cause: NoDataCause, detail: impl Display) -> Reading {
    Reading::NoData {
        cause,
        detail: excerpt(&detail.to_string()),
    }
}
