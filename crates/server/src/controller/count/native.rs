//! Native histograms as counters of requests up to fixed bounds.
//!
//! What a native histogram counts by bucket is brought to cumulative counts at the bounds of a coarse
//! schema, which merging keeps exact. The bounds are fixed: one that appeared with the first slow
//! request would look like a counter that began at zero, and everything before it would count again.
//! A library that runs out of buckets and makes its schema coarser changes none of them.

use std::{f64::consts::SQRT_2, ops::RangeInclusive};

use drivers::metrics::{NativeHistogram, RawSeries};

/// Powers of two between which there are bounds: in seconds from a millisecond to two minutes, in
/// milliseconds from a microsecond to two minutes.
const DOUBLINGS: RangeInclusive<i32> = -10..=17;

/// How much two numbers may differ that stand for the same bound.
const SAME: f64 = 1e-9;

/// The bound of all requests.
const ALL: &str = "+Inf";

/// A bound, as a label `le` would have it, and the requests up to it by time.
pub(super) type Counter = (String, Vec<(i64, f64)>);

/// The counters of a series of native histograms; none of another one, nor where its buckets have
/// bounds of their own: those that are empty are not told.
pub(super) fn counters(series: &RawSeries) -> Vec<Counter> {
    let all = || series.histograms.iter();
    let mut counters: Vec<Counter> = bounds()
        .map(|bound| {
            let samples = all().filter_map(|(at, it)| Some((*at, up_to(it, bound)?)));
            (bound.to_string(), samples.collect())
        })
        .filter(|(_, samples): &Counter| !samples.is_empty())
        .collect();
    if !counters.is_empty() {
        let samples = all().map(|(at, it)| (*at, it.count));
        counters.push((ALL.to_owned(), samples.collect()));
    }
    counters
}

/// Those of schema 1: two a doubling.
fn bounds() -> impl Iterator<Item = f64> {
    let doublings = DOUBLINGS.map(|it| 2.0_f64.powi(it));
    doublings.flat_map(|it| [it, it * SQRT_2])
}

/// The requests up to a bound; `None` where a bucket lies on both sides of it.
fn up_to(histogram: &NativeHistogram, bound: f64) -> Option<f64> {
    let mut count = 0.0;
    for bucket in &histogram.buckets {
        if bucket.upper <= bound * (1.0 + SAME) {
            count += bucket.count;
        } else if bucket.lower < bound * (1.0 - SAME) {
            return None;
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use drivers::metrics::{Bounds, NativeBucket};

    use super::*;

    /// Buckets of a schema, by index.
    fn histogram(schema: i32, buckets: &[(i32, f64)]) -> NativeHistogram {
        let bound = |index: i32| (f64::from(index) / f64::from(schema).exp2()).exp2();
        let buckets = buckets.iter().map(|&(index, count)| NativeBucket {
            bounds: Bounds::OpenLeft,
            lower: bound(index - 1),
            upper: bound(index),
            count,
        });
        let buckets: Vec<NativeBucket> = buckets.collect();
        NativeHistogram {
            count: buckets.iter().map(|it| it.count).sum(),
            sum: 0.0,
            buckets,
        }
    }

    fn series(histograms: Vec<NativeHistogram>) -> RawSeries {
        let at = (0_i64..).step_by(1000);
        RawSeries {
            labels: BTreeMap::new(),
            samples: Vec::new(),
            histograms: at.zip(histograms).collect(),
        }
    }

    fn at(counters: &[Counter], bound: &str) -> Vec<f64> {
        let found = counters.iter().find(|it| it.0 == bound);
        let samples = found.map(|it| it.1.clone()).unwrap_or_default();
        samples.into_iter().map(|it| it.1).collect()
    }

    #[test]
    fn fine_buckets_are_merged_without_loss() {
        // Schema 3 has eight bounds a doubling: 8 is 2 s, 12 is 2.83 s, 16 is 4 s.
        let found = counters(&series(vec![
            histogram(3, &[(8, 5.0), (9, 3.0), (16, 2.0)]),
            histogram(3, &[(8, 6.0), (9, 3.0), (16, 4.0), (80, 1.0)]),
        ]));
        assert_eq!(at(&found, "2"), [5.0, 6.0]);
        assert_eq!(at(&found, "2.8284271247461903"), [8.0, 9.0]);
        assert_eq!(at(&found, "4"), [10.0, 13.0]);
        // Known from the beginning, although its first request came later.
        assert_eq!(at(&found, "1024"), [10.0, 14.0]);
        assert_eq!(at(&found, "+Inf"), [10.0, 14.0]);
    }

    #[test]
    fn a_coarser_schema_goes_on_at_the_bounds_it_has() {
        let found = counters(&series(vec![
            histogram(3, &[(8, 5.0), (12, 3.0)]),
            histogram(0, &[(1, 6.0), (2, 4.0)]),
        ]));
        assert_eq!(at(&found, "2"), [5.0, 6.0]);
        assert_eq!(at(&found, "4"), [8.0, 10.0]);
        // In the middle of a bucket now.
        assert_eq!(at(&found, "2.8284271247461903"), [8.0]);
    }

    #[test]
    fn what_is_no_native_histogram_has_no_counters() {
        assert_eq!(counters(&series(Vec::new())), []);
        let empty = counters(&series(vec![histogram(3, &[])]));
        assert_eq!(at(&empty, "+Inf"), [0.0]);
    }
}
