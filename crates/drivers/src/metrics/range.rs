//! A question for samples as they were scraped, and its answer.
//!
//! Rates would not do: `rate()` and `increase()` extrapolate to fractions, lose the first sample of a
//! new series, and a sum of counters hides resets. Counts are made from samples, by `analysis`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

/// A selector's samples over the last while.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RangeQuery {
    /// One instant vector selector, such as `requests_total{code="500"}`: without range, `offset`
    /// and `@`.
    pub selector: String,
    /// How far back samples are wanted; whole milliseconds count, and there must be one.
    pub lookback: Duration,
    /// The end of the while, in whole milliseconds; `None`: now.
    pub at: Option<Timestamp>,
}

/// What was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeAnswer {
    /// The end of the while, by the source's clock. All that the source had until then is here, and
    /// nothing newer; a source takes in what it scrapes a little later than it scraped it.
    pub evaluated: Timestamp,
    /// The series that have samples, in no certain order. Shared with whoever asked the same.
    pub series: Arc<[RawSeries]>,
}

/// The samples of one series. It has numbers or histograms, seldom both.
#[derive(Debug, Clone, PartialEq)]
pub struct RawSeries {
    /// All its labels, `__name__` included.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds since 1970, and the value then; NaN and infinities too. Oldest first.
    pub samples: Vec<(i64, f64)>,
    /// Milliseconds since 1970, and the native histogram then. Oldest first.
    pub histograms: Vec<(i64, NativeHistogram)>,
}

/// A native histogram. Counts are fractions where the series is one of gauges or was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeHistogram {
    /// All observations.
    pub count: f64,
    /// Their sum, in the metric's unit.
    pub sum: f64,
    /// The buckets that are not empty; not cumulative.
    pub buckets: Vec<NativeBucket>,
}

/// One bucket of a native histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NativeBucket {
    /// Which of its bounds belong to it.
    pub bounds: Bounds,
    /// Its lower bound, in the metric's unit.
    pub lower: f64,
    /// Its upper bound, in the metric's unit.
    pub upper: f64,
    /// The observations in it.
    pub count: f64,
}

/// Which bounds belong to a bucket. The numbers are the query API's boundary rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// 0: the upper bound only; buckets of positive observations.
    OpenLeft,
    /// 1: the lower bound only; buckets of negative observations.
    OpenRight,
    /// 2: neither.
    Open,
    /// 3: both; the bucket around zero.
    Closed,
}
