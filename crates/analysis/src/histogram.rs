//! How many requests were slower than a bound, from bucket counters (§2.2).
//!
//! Never from `histogram_quantile`: a quantile is an interpolation without a number of requests, and
//! nothing can be proven with it. Counts beyond a bucket's bound are exact.

use serde::{Deserialize, Serialize};

use crate::counts::{COUNT_MAX, InputError};

/// The schema that marks a native histogram with explicit bounds.
pub const CUSTOM_SCHEMA: i8 = -53;
/// The finest schema that is compared: bounds 9 % apart. A histogram that runs out of buckets makes
/// its schema coarser, and this leaves room for that without the bounds changing.
const SCHEMA_FINEST: i8 = 3;
/// The schemas that exponential histograms have.
const SCHEMAS: std::ops::RangeInclusive<i8> = -4..=8;
/// The indices of schema 8 whose bounds a number can hold.
const INDICES: std::ops::RangeInclusive<i32> = -280_000..=280_000;
/// Most buckets of one histogram. Native ones have 160 by default.
const BUCKETS_MAX: usize = 2_000;

/// One arm's requests of one window by how long they took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Histogram {
    /// Cumulative buckets, `le` ascending, the last one `+Inf` (infinite).
    Classic {
        /// The buckets.
        buckets: Vec<Bucket>,
    },
    /// Exponential buckets.
    Native {
        /// The resolution: bounds are powers of `2^(2^−schema)`; or [`CUSTOM_SCHEMA`].
        schema: i8,
        /// What is up to this is counted as zero.
        zero_threshold: f64,
        /// How many were.
        zero: u64,
        /// Buckets by index `i`: over `base^(i−1)` up to `base^i`; not cumulative, any order.
        positive: Vec<(i32, u64)>,
        /// Bounds for the custom schema, ascending; index `i` is up to the i-th of them, counted from
        /// 0, and beyond the last for the index after it. Empty for other schemas.
        custom: Vec<f64>,
    },
}

/// A bucket of a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Its upper bound, in the metric's unit (seconds by convention).
    #[serde(with = "crate::exact")]
    pub le: f64,
    /// Requests up to it.
    pub count: u64,
}

/// Bounds ascending, each with the requests slower than it: the candidate's, stable's.
type Slower = Vec<(f64, (u64, u64))>;

/// Both arms' requests beyond the bounds that they have in common.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tails {
    requests: (u64, u64),
    slower: Slower,
    exponential: Option<Exponential>,
}

impl Tails {
    /// Compares two arms' histograms of one window. An arm without buckets had no requests.
    ///
    /// # Errors
    /// [`InputError::Histogram`] when one cannot be a histogram, [`InputError::NoCommonBound`] when
    /// they share no bound, as when one revision changed its buckets altogether.
    pub fn new(candidate: &Histogram, stable: &Histogram) -> Result<Self, InputError> {
        let schema = coarsest(candidate, stable);
        let candidate = candidate.tail("candidate", schema)?;
        let stable = stable.tail("stable", schema)?;
        let slower = match (candidate.is_silent(), stable.is_silent()) {
            (true, true) => Vec::new(),
            // An arm without requests is slower than nothing, whatever its bounds would be.
            (true, false) => stable.known().map(|it| (it.0, (0, it.1))).collect(),
            (false, true) => candidate.known().map(|it| (it.0, (it.1, 0))).collect(),
            (false, false) => candidate.meet(&stable)?,
        };
        let exponential = match (candidate.exponential, stable.exponential) {
            (Some(a), Some(b)) => Some(a.meet(b)),
            // Only one has requests: the other is empty, or the meeting above has failed.
            (Some(it), None) | (None, Some(it)) => Some(it),
            (None, None) => None,
        };
        Ok(Self {
            requests: (candidate.requests, stable.requests),
            slower,
            exponential,
        })
    }

    /// All requests: the candidate's, stable's.
    pub fn requests(&self) -> (u64, u64) {
        self.requests
    }

    /// Each common bound between which requests were counted, ascending, with the requests slower
    /// than it: the candidate's, stable's.
    pub fn slower(&self) -> &[(f64, (u64, u64))] {
        &self.slower
    }

    /// The requests slower than `bound`: the candidate's, stable's; `None` when the histograms do not
    /// know, because it is not a bound of both.
    pub fn at(&self, bound: f64) -> Option<(u64, u64)> {
        match self.exponential {
            Some(it) if !it.has(bound) => None,
            Some(_) => Some(nearest(&self.slower, bound).unwrap_or_default()),
            None => exact(&self.slower, bound),
        }
    }
}

/// What a list says at exactly `bound`.
fn exact<T: Copy>(slower: &[(f64, T)], bound: f64) -> Option<T> {
    let found = slower.binary_search_by(|it| it.0.total_cmp(&bound));
    found.ok().and_then(|it| slower.get(it)).map(|it| it.1)
}

/// What a list without gaps says at `bound`: the entry there or the next below it; before the first,
/// where there is only the zero bucket, the first.
fn nearest<T: Copy>(slower: &[(f64, T)], bound: f64) -> Option<T> {
    let below = slower.partition_point(|it| it.0 <= bound);
    slower.get(below.saturating_sub(1)).map(|it| it.1)
}

/// One arm's requests beyond its own bounds.
struct Tail {
    requests: u64,
    /// Bounds ascending, with the requests slower than each.
    slower: Vec<(f64, u64)>,
    exponential: Option<Exponential>,
}

/// What an exponential histogram knows beside its bounds: every bound of its schema from the zero
/// bucket's on, because between two of its buckets nothing was.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exponential {
    schema: i8,
    zero_threshold: f64,
}

impl Exponential {
    /// Two that were brought to the same schema.
    fn meet(self, other: Self) -> Self {
        Self {
            schema: self.schema.min(other.schema),
            zero_threshold: self.zero_threshold.max(other.zero_threshold),
        }
    }

    fn has(self, bound: f64) -> bool {
        let step = libm::exp2(-f64::from(self.schema));
        let index = (libm::log2(bound) / step).round();
        bound >= self.zero_threshold && libm::exp2(index * step) == bound
    }
}

impl Tail {
    fn is_silent(&self) -> bool {
        self.requests == 0
    }

    fn at(&self, bound: f64) -> Option<u64> {
        match self.exponential {
            Some(it) if !it.has(bound) => None,
            Some(_) => Some(nearest(&self.slower, bound).unwrap_or_default()),
            None => exact(&self.slower, bound),
        }
    }

    fn known(&self) -> impl Iterator<Item = (f64, u64)> {
        let known = self.slower.iter().map(|it| (it.0, self.at(it.0)));
        known.filter_map(|(bound, slower)| slower.map(|it| (bound, it)))
    }

    fn meet(&self, other: &Self) -> Result<Slower, InputError> {
        let exponential = match (&self.exponential, &other.exponential) {
            (Some(_), Some(_)) => true,
            (None, None) => false,
            // Explicit bounds are no powers of two; where one happens to be, it stands alone.
            (Some(_), None) | (None, Some(_)) => return Err(InputError::NoCommonBound),
        };
        let mut bounds: Vec<f64> = self.slower.iter().map(|it| it.0).collect();
        if exponential {
            bounds.extend(other.slower.iter().map(|it| it.0));
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
        }
        let both = |bound| Some((bound, (self.at(bound)?, other.at(bound)?)));
        let common: Slower = bounds.into_iter().filter_map(both).collect();
        match common.is_empty() && !exponential {
            true => Err(InputError::NoCommonBound),
            false => Ok(common),
        }
    }
}

impl Histogram {
    /// Without any request.
    pub const EMPTY: Self = Self::Classic {
        buckets: Vec::new(),
    };

    /// All its requests.
    pub fn requests(&self) -> u64 {
        match self {
            Self::Classic { buckets } => buckets.last().map_or(0, |it| it.count),
            Self::Native { zero, positive, .. } => positive
                .iter()
                .fold(*zero, |sum, (_, count)| sum.saturating_add(*count)),
        }
    }

    fn schema(&self) -> Option<i8> {
        match self {
            Self::Classic { .. } => None,
            Self::Native { schema, .. } => (*schema != CUSTOM_SCHEMA).then_some(*schema),
        }
    }

    fn tail(&self, arm: &'static str, schema: i8) -> Result<Tail, InputError> {
        let broken = |what| InputError::Histogram { arm, what };
        let tail = match self {
            Self::Classic { buckets } => classic(buckets),
            Self::Native {
                schema: CUSTOM_SCHEMA,
                positive,
                custom,
                ..
            } => explicit(positive, custom),
            Self::Native {
                schema: own,
                zero_threshold,
                zero,
                positive,
                ..
            } => exponential((*own, schema), (*zero_threshold, *zero), positive),
        };
        let tail = tail.map_err(broken)?;
        if tail.requests > COUNT_MAX {
            return Err(broken("more requests than can be counted exactly"));
        }
        Ok(tail)
    }

    /// The `q`-quantile as PromQL's `histogram_quantile` interpolates it, for display only; of a
    /// classic histogram. `None` without requests or buckets.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let Self::Classic { buckets } = self else {
            return None;
        };
        let all = buckets.last().filter(|it| it.count > 0)?.count as f64;
        let rank = q * all;
        let place = buckets.iter().position(|it| it.count as f64 >= rank)?;
        let bucket = buckets.get(place)?;
        let before = place.checked_sub(1).and_then(|it| buckets.get(it));
        if bucket.le.is_infinite() {
            return before.map(|it| it.le);
        }
        let (start, below) = match before {
            Some(it) => (it.le, it.count as f64),
            None if bucket.le <= 0.0 => return Some(bucket.le),
            None => (0.0, 0.0),
        };
        let within = bucket.count as f64 - below;
        Some(start + (bucket.le - start) * (rank - below) / within)
    }
}

fn coarsest(a: &Histogram, b: &Histogram) -> i8 {
    [a.schema(), b.schema()]
        .into_iter()
        .flatten()
        // A schema that does not exist is refused where its own histogram is read.
        .filter(|it| SCHEMAS.contains(it))
        .fold(SCHEMA_FINEST, i8::min)
}

fn classic(buckets: &[Bucket]) -> Result<Tail, &'static str> {
    if buckets.len() > BUCKETS_MAX {
        return Err("too many buckets");
    }
    let Some(last) = buckets.last() else {
        return Ok(Tail {
            requests: 0,
            slower: Vec::new(),
            exponential: None,
        });
    };
    if last.le != f64::INFINITY {
        return Err("its last bucket is not +Inf");
    }
    for pair in buckets.windows(2) {
        if let [a, b] = pair {
            if a.le.is_nan() || a.le >= b.le {
                return Err("its bounds do not ascend");
            }
            if a.count > b.count {
                return Err("a larger bucket counts less: scraped while it was written?");
            }
        }
    }
    let finite = buckets.iter().filter(|it| it.le.is_finite());
    Ok(Tail {
        requests: last.count,
        slower: finite.map(|it| (it.le, last.count - it.count)).collect(),
        exponential: None,
    })
}

fn explicit(positive: &[(i32, u64)], custom: &[f64]) -> Result<Tail, &'static str> {
    if custom.len() >= BUCKETS_MAX {
        return Err("too many buckets");
    }
    let mut counts = vec![0_u64; custom.len() + 1];
    for (index, count) in positive {
        let place = usize::try_from(*index)
            .ok()
            .and_then(|it| counts.get_mut(it));
        let place = place.ok_or("a bucket has no bound")?;
        *place = place.saturating_add(*count);
    }
    let bounds = custom.iter().copied().chain([f64::INFINITY]);
    let mut sum = 0_u64;
    let cumulative = bounds.zip(counts).map(|(le, count)| {
        sum = sum.saturating_add(count);
        Bucket { le, count: sum }
    });
    classic(&cumulative.collect::<Vec<_>>())
}

fn exponential(
    (own, schema): (i8, i8),
    (zero_threshold, zero): (f64, u64),
    positive: &[(i32, u64)],
) -> Result<Tail, &'static str> {
    if !SCHEMAS.contains(&own) {
        return Err("its schema is unknown");
    }
    if positive.len() > BUCKETS_MAX {
        return Err("too many buckets");
    }
    if !(0.0..f64::INFINITY).contains(&zero_threshold) {
        return Err("its zero bucket has no bound");
    }
    // Merging is exact: each coarser bucket is a whole number of finer ones.
    let coarser = u32::try_from(own - schema).unwrap_or(0);
    let mut merged = std::collections::BTreeMap::<i32, u64>::new();
    for (index, count) in positive {
        if !INDICES.contains(index) {
            return Err("an index is beyond all numbers");
        }
        // Rounded up: bucket i ends at base^i, and so does the coarser one.
        let index = (index + (1_i32 << coarser) - 1) >> coarser;
        let place = merged.entry(index).or_default();
        *place = place.saturating_add(*count);
    }
    let total = merged
        .values()
        .fold(zero, |sum, it| sum.saturating_add(*it));
    let step = libm::exp2(-f64::from(schema));
    let mut beyond = total.saturating_sub(zero);
    let mut slower = Vec::with_capacity(merged.len() + 1);
    if let Some((first, _)) = merged.first_key_value() {
        slower.push((
            libm::exp2(f64::from(first.saturating_sub(1)) * step),
            beyond,
        ));
    }
    for (index, count) in merged {
        beyond = beyond.saturating_sub(count);
        slower.push((libm::exp2(f64::from(index) * step), beyond));
    }
    // Adjacent buckets share a bound; the later entry is the same count.
    slower.dedup_by(|a, b| a.0 == b.0);
    slower.retain(|it| it.0.is_finite());
    Ok(Tail {
        requests: total,
        slower,
        exponential: Some(Exponential {
            schema,
            zero_threshold,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classic(buckets: &[(f64, u64)]) -> Histogram {
        let buckets = buckets.iter().map(|(le, count)| Bucket {
            le: *le,
            count: *count,
        });
        Histogram::Classic {
            buckets: buckets.collect(),
        }
    }

    fn native(schema: i8, positive: &[(i32, u64)]) -> Histogram {
        Histogram::Native {
            schema,
            zero_threshold: 1e-9,
            zero: 0,
            positive: positive.to_vec(),
            custom: Vec::new(),
        }
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn a_quantile_as_prometheus_gives_it() {
        let histogram = classic(&[(0.0, 6), (0.5, 11), (1.0, 14), (INF, 19)]);
        assert!((histogram.quantile(0.5).unwrap() - 0.35).abs() < 1e-12);
        assert_eq!(histogram.quantile(0.99), Some(1.0));
        assert_eq!(histogram.quantile(0.1), Some(0.0));
        assert_eq!(Histogram::EMPTY.quantile(0.5), None);
    }

    #[test]
    fn arms_with_other_buckets_are_compared_at_the_bounds_they_share() {
        let old = classic(&[(0.1, 50), (0.25, 80), (1.0, 99), (INF, 100)]);
        let new = classic(&[(0.1, 5), (0.5, 8), (1.0, 9), (INF, 10)]);
        let tails = Tails::new(&new, &old).unwrap();
        assert_eq!(tails.requests(), (10, 100));
        assert_eq!(tails.slower(), [(0.1, (5, 50)), (1.0, (1, 1))]);
        assert_eq!(tails.at(0.1), Some((5, 50)));
        assert_eq!(tails.at(0.25), None);
    }

    #[test]
    fn every_bound_of_the_schema_is_known_though_nothing_was_near_it() {
        let tails = Tails::new(&native(0, &[(1, 4), (5, 2)]), &native(0, &[(1, 9)])).unwrap();
        assert_eq!(tails.at(8.0), Some((2, 0)));
        assert_eq!(tails.at(0.25), Some((6, 9)));
        assert_eq!(tails.at(1024.0), Some((0, 0)));
        assert_eq!(tails.at(3.0), None);
        assert_eq!(tails.at(libm::exp2(0.5)), None);
    }

    #[test]
    fn arms_without_a_common_bound_are_an_error_and_an_empty_arm_is_not() {
        let seconds = classic(&[(0.1, 50), (INF, 100)]);
        let millis = classic(&[(100.0, 50), (INF, 100)]);
        assert_eq!(
            Tails::new(&millis, &seconds),
            Err(InputError::NoCommonBound)
        );
        let native = native(3, &[(1, 5)]);
        assert_eq!(
            Tails::new(&native, &seconds),
            Err(InputError::NoCommonBound)
        );
        let silent = Tails::new(&Histogram::EMPTY, &seconds).unwrap();
        assert_eq!(silent.slower(), [(0.1, (0, 50))]);
        assert_eq!(
            Tails::new(&Histogram::EMPTY, &Histogram::EMPTY),
            Ok(Tails::default())
        );
    }

    #[test]
    fn what_cannot_be_a_histogram_is_named() {
        let fine = classic(&[(0.1, 1), (INF, 2)]);
        let broken = [
            classic(&[(0.1, 1), (1.0, 2)]),
            classic(&[(0.1, 3), (INF, 2)]),
            classic(&[(0.2, 1), (0.1, 1), (INF, 2)]),
            classic(&[(0.1, 1), (0.1, 1), (INF, 2)]),
            classic(&[(f64::NAN, 1), (INF, 2)]),
            classic(&[(INF, u64::MAX)]),
            native(99, &[(1, 1)]),
            native(-4, &[(1, u64::MAX)]),
            Histogram::Native {
                schema: 0,
                zero_threshold: f64::NAN,
                zero: 1,
                positive: vec![],
                custom: vec![],
            },
            Histogram::Native {
                schema: CUSTOM_SCHEMA,
                zero_threshold: 0.0,
                zero: 0,
                positive: vec![(3, 1)],
                custom: vec![0.1],
            },
        ];
        for it in broken {
            let result = Tails::new(&it, &fine);
            let named = matches!(
                result,
                Err(InputError::Histogram {
                    arm: "candidate",
                    ..
                })
            );
            assert!(named, "{it:?} gives {result:?}");
        }
    }

    #[test]
    fn native_histograms_meet_at_the_coarser_schema() {
        // Schema 1: index 2 is over √2 to 2, index 3 to 2√2, index 4 to 4. Schema 0: 1 is 1 to 2.
        let fine = native(1, &[(2, 10), (3, 5), (4, 3)]);
        let coarse = native(0, &[(1, 100), (2, 20), (3, 4)]);
        let tails = Tails::new(&fine, &coarse).unwrap();
        assert_eq!(tails.requests(), (18, 124));
        assert_eq!(
            tails.slower(),
            [
                (1.0, (18, 124)),
                (2.0, (8, 24)),
                (4.0, (0, 4)),
                (8.0, (0, 0))
            ]
        );
    }

    #[test]
    fn merging_buckets_keeps_every_count() {
        let fine: Vec<(i32, u64)> = (-40..60).map(|it| (it, (it + 41) as u64)).collect();
        let total: u64 = fine.iter().map(|it| it.1).sum();
        for schema in [5, 3, 2, 0, -2] {
            let tails = Tails::new(&native(5, &fine), &native(schema, &[(0, 1)])).unwrap();
            assert_eq!(tails.requests().0, total);
            for (bound, (slower, _)) in tails.slower().iter().copied() {
                let direct = fine
                    .iter()
                    .filter(|it| libm::exp2(f64::from(it.0) / 32.0) > bound * (1.0 + 1e-12));
                assert_eq!(
                    slower,
                    direct.map(|it| it.1).sum::<u64>(),
                    "{schema} {bound}"
                );
            }
        }
    }

    #[test]
    fn bounds_below_the_larger_zero_bucket_say_nothing() {
        let zero = |zero_threshold, zero| Histogram::Native {
            schema: 0,
            zero_threshold,
            zero,
            positive: vec![(0, 4), (1, 2)],
            custom: Vec::new(),
        };
        let tails = Tails::new(&zero(1.0, 7), &zero(1e-9, 0)).unwrap();
        assert_eq!(tails.slower().first().map(|it| it.0), Some(1.0));
        assert_eq!(tails.requests(), (13, 6));
    }

    #[test]
    fn requests_that_all_took_no_time_are_slower_than_nothing() {
        let zero = |count| Histogram::Native {
            schema: 3,
            zero_threshold: 0.001,
            zero: count,
            positive: Vec::new(),
            custom: Vec::new(),
        };
        let tails = Tails::new(&zero(5), &zero(9)).unwrap();
        assert_eq!((tails.requests(), tails.slower().len()), ((5, 9), 0));
    }

    #[test]
    fn explicit_bounds_in_a_native_histogram_are_classic_ones() {
        let custom = Histogram::Native {
            schema: CUSTOM_SCHEMA,
            zero_threshold: 0.0,
            zero: 0,
            positive: vec![(0, 50), (1, 30), (2, 20)],
            custom: vec![0.1, 0.25],
        };
        let stable = classic(&[(0.1, 50), (0.25, 80), (INF, 100)]);
        let tails = Tails::new(&custom, &stable).unwrap();
        assert_eq!(tails.slower(), [(0.1, (50, 50)), (0.25, (20, 20))]);
    }
}
