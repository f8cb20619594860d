//! From raw counter samples to whole counts between two moments (§2.6).
//!
//! `rate()` and `increase()` extrapolate to fractions, lose the first sample of a new series, and a sum
//! of counters hides resets. Here each series is followed by itself, from a watermark of its own:
//!
//! ```text
//!   series seen before       new − old; after a reset (new < old) what it has counted since
//!   series of a known target that appears    its first value: it began inside the window
//!   series of an unknown target              a base only, unless its target began inside the window
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{counts::COUNT_MAX, fingerprint::Fingerprint};

/// The layout of [`CounterState`].
pub const COUNTER_VERSION: u16 = 1;
/// Most series that one state follows: a service of hundreds of pods with some statuses each.
pub const SERIES_MAX: usize = 20_000;
/// How long a target that is silent is remembered, in milliseconds: longer than any scrape gap, so
/// that one that comes back is not taken for a new one.
const FORGET_AFTER_MS: i64 = 3_600_000;

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was scraped, in milliseconds since 1970.
    pub at_ms: i64,
    /// The counter.
    pub value: f64,
}

/// The samples of one series in the range that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names the series; see [`name`].
    pub name: u64,
    /// Names what is scraped: all series of one pod or server have the same.
    pub target: u64,
    /// When its process began, in milliseconds since 1970, where that is known.
    pub began_ms: Option<i64>,
    /// Its samples, in any order.
    pub samples: Vec<Sample>,
}

/// Names a series or a target by its labels, in any order.
pub fn name<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut labels: Vec<(&str, &str)> = labels.into_iter().collect();
    labels.sort_unstable();
    let all = labels
        .iter()
        .fold(Fingerprint::default(), |it, (key, value)| {
            // 0xff is no byte of UTF-8, so it parts what no label can contain.
            let it = it.bytes(key.as_bytes()).bytes(&[0xff]);
            it.bytes(value.as_bytes()).bytes(&[0xff])
        });
    all.finish()
}

/// Where each series and target was seen last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterState {
    version: u16,
    /// Up to where everything is counted.
    watermark_ms: Option<i64>,
    series: BTreeMap<u64, Seen>,
    /// When each target was first and last seen.
    targets: BTreeMap<u64, (i64, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    target: u64,
    at_ms: i64,
    #[serde(with = "crate::exact")]
    value: f64,
}

impl Default for CounterState {
    fn default() -> Self {
        Self {
            version: COUNTER_VERSION,
            watermark_ms: None,
            series: BTreeMap::new(),
            targets: BTreeMap::new(),
        }
    }
}

/// What was counted between two moments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// The sum over all series.
    pub count: u64,
    /// Series that had samples.
    pub series: u32,
    /// Resets that were seen.
    pub resets: u32,
    /// Series that began inside the window and were counted from 0.
    pub born: u32,
    /// Series met for the first time, of which only later samples count.
    pub bases: u32,
}

/// Why samples cannot be counted. Nothing was counted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CounterError {
    /// A sample that no counter can have: negative, NaN, infinite or beyond [`COUNT_MAX`].
    #[error("a counter is {value}")]
    NoCount {
        /// The sample.
        value: f64,
    },
    /// A fraction: a rate or a sampled counter, of which nothing can be proven.
    #[error("a counter is {value}: not a whole number, so not a count of requests")]
    Fraction {
        /// The sample.
        value: f64,
    },
    /// Two samples of one series at one moment.
    #[error("a series is {a} and {b} at the same moment {at_ms} ms")]
    TwoAtOnce {
        /// The moment.
        at_ms: i64,
        /// One sample.
        a: f64,
        /// The other.
        b: f64,
    },
    /// The same series twice in one answer.
    #[error("the same series came twice")]
    Duplicate,
    /// More than [`SERIES_MAX`] series.
    #[error("{series} series, at most {SERIES_MAX}")]
    TooMany {
        /// How many.
        series: usize,
    },
    /// The window ends at or before the watermark.
    #[error("the window ends at {until_ms} ms, everything up to {watermark_ms} ms is counted")]
    Counted {
        /// The window's end.
        until_ms: i64,
        /// The watermark.
        watermark_ms: i64,
    },
    /// The state was written by a version that this one cannot read.
    #[error("the state has version {version}, this is version {COUNTER_VERSION}")]
    OtherVersion {
        /// The state's.
        version: u16,
    },
}

impl CounterState {
    /// Up to where everything is counted.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// Counts everything after the watermark up to `until_ms`, which should be at least one scrape and
    /// the source's lag ago; later samples wait for the next time.
    ///
    /// # Errors
    /// What is wrong with the samples; the state is then as it was before.
    pub fn advance(&mut self, all: &[Series], until_ms: i64) -> Result<Delta, CounterError> {
        if self.version != COUNTER_VERSION {
            return Err(CounterError::OtherVersion {
                version: self.version,
            });
        }
        match self.watermark_ms {
            Some(watermark_ms) if until_ms <= watermark_ms => {
                return Err(CounterError::Counted {
                    until_ms,
                    watermark_ms,
                });
            }
            Some(_) | None => {}
        }
        let mut next = self.clone();
        let ordered = ordered(all, until_ms)?;
        next.note_targets(&ordered);
        let mut delta = Delta::default();
        for (series, samples) in &ordered {
            next.follow(series, samples, self.watermark_ms, &mut delta)?;
        }
        next.watermark_ms = Some(until_ms);
        let old_ms = until_ms.saturating_sub(FORGET_AFTER_MS);
        next.targets.retain(|_, it| it.1 > old_ms);
        // A series is remembered as long as its target: forgotten while its target lives, it would be
        // taken for a new one when it comes back, and counted from 0.
        let targets = &next.targets;
        next.series.retain(|_, it| targets.contains_key(&it.target));
        let series = next.series.len();
        if series > SERIES_MAX {
            return Err(CounterError::TooMany { series });
        }
        *self = next;
        Ok(delta)
    }

    fn note_targets(&mut self, all: &[(&Series, Vec<Sample>)]) {
        for (series, samples) in all {
            if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
                let seen = (first.at_ms, last.at_ms);
                let target = self.targets.entry(series.target).or_insert(seen);
                target.0 = target.0.min(seen.0);
                target.1 = target.1.max(seen.1);
            }
        }
    }

    fn follow(
        &mut self,
        series: &Series,
        samples: &[Sample],
        watermark_ms: Option<i64>,
        delta: &mut Delta,
    ) -> Result<(), CounterError> {
        let Some(first) = samples.first() else {
            return Ok(());
        };
        delta.series += 1;
        let mut last = match self.series.get(&series.name) {
            Some(it) => *it,
            None if self.is_born(series, first.at_ms, watermark_ms) => {
                delta.born += 1;
                Seen {
                    target: series.target,
                    at_ms: first.at_ms.saturating_sub(1),
                    value: 0.0,
                }
            }
            None => {
                delta.bases += 1;
                Seen {
                    target: series.target,
                    at_ms: first.at_ms,
                    value: first.value,
                }
            }
        };
        let counted_ms = last.at_ms;
        for sample in samples.iter().filter(|it| it.at_ms > counted_ms) {
            let grown = match sample.value < last.value {
                true => {
                    delta.resets += 1;
                    sample.value
                }
                false => sample.value - last.value,
            };
            delta.count = delta.count.saturating_add(grown as u64);
            last.at_ms = sample.at_ms;
            last.value = sample.value;
        }
        if delta.count > COUNT_MAX {
            let value = delta.count as f64;
            return Err(CounterError::NoCount { value });
        }
        self.series.insert(series.name, last);
        Ok(())
    }

    /// Whether a series that was never seen began after everything that is counted: its process did,
    /// or its target was seen before and the series was not there.
    fn is_born(&self, series: &Series, first_ms: i64, watermark_ms: Option<i64>) -> bool {
        let since = |moment_ms: i64| watermark_ms.is_some_and(|it| moment_ms > it);
        let process = series.began_ms.is_some_and(since);
        let target = self.targets.get(&series.target);
        process || target.is_some_and(|(seen_ms, _)| *seen_ms < first_ms)
    }
}

/// Each series' samples up to `until_ms` in order of time.
fn ordered(all: &[Series], until_ms: i64) -> Result<Vec<(&Series, Vec<Sample>)>, CounterError> {
    if all.len() > SERIES_MAX {
        return Err(CounterError::TooMany { series: all.len() });
    }
    let mut names: Vec<u64> = all.iter().map(|it| it.name).collect();
    names.sort_unstable();
    let twice = names.iter().zip(names.iter().skip(1)).any(|(a, b)| a == b);
    if twice {
        return Err(CounterError::Duplicate);
    }
    all.iter()
        .map(|it| Ok((it, in_order(it, until_ms)?)))
        .collect()
}

fn in_order(series: &Series, until_ms: i64) -> Result<Vec<Sample>, CounterError> {
    let within = series.samples.iter().filter(|it| it.at_ms <= until_ms);
    let mut samples: Vec<Sample> = within.copied().collect();
    for Sample { value, .. } in &samples {
        if !(0.0..=COUNT_MAX as f64).contains(value) {
            return Err(CounterError::NoCount { value: *value });
        }
        if value.fract() != 0.0 {
            return Err(CounterError::Fraction { value: *value });
        }
    }
    samples.sort_by_key(|it| it.at_ms);
    for pair in samples.windows(2) {
        match pair {
            [a, b] if a.at_ms == b.at_ms && a.value != b.value => {
                return Err(CounterError::TwoAtOnce {
                    at_ms: a.at_ms,
                    a: a.value,
                    b: b.value,
                });
            }
            _ => {}
        }
    }
    samples.dedup_by_key(|it| it.at_ms);
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: u64, target: u64, samples: &[(i64, f64)]) -> Series {
        let samples = samples.iter().map(|(at, value)| Sample {
            at_ms: at * 1000,
            value: *value,
        });
        Series {
            name,
            target,
            began_ms: None,
            samples: samples.collect(),
        }
    }

    fn count(state: &mut CounterState, all: &[Series], until: i64) -> u64 {
        state.advance(all, until * 1000).unwrap().count
    }

    #[test]
    fn a_first_look_is_a_base_and_later_ones_count() {
        let mut state = CounterState::default();
        let first = state.advance(&[series(1, 1, &[(10, 100.0)])], 15_000);
        assert_eq!(first.unwrap().bases, 1);
        let ranges = series(1, 1, &[(10, 100.0), (25, 130.0), (40, 131.0)]);
        assert_eq!(count(&mut state, std::slice::from_ref(&ranges), 30), 30);
        assert_eq!(count(&mut state, &[ranges], 45), 1);
    }

    #[test]
    fn a_restart_counts_from_zero() {
        let mut state = CounterState::default();
        count(&mut state, &[series(1, 1, &[(10, 100.0)])], 15);
        let delta = state.advance(
            &[series(1, 1, &[(25, 120.0), (40, 7.0), (55, 9.0)])],
            60_000,
        );
        let delta = delta.unwrap();
        assert_eq!((delta.count, delta.resets), (20 + 7 + 2, 1));
    }

    #[test]
    fn a_status_that_appears_on_a_known_target_counts_from_its_first_value() {
        let mut state = CounterState::default();
        let fine = series(1, 7, &[(10, 100.0), (25, 110.0)]);
        count(&mut state, std::slice::from_ref(&fine), 30);
        // The first error makes the series; it was not there at the scrape before.
        let errors = series(2, 7, &[(40, 3.0)]);
        let delta = state.advance(&[fine, errors], 45_000).unwrap();
        assert_eq!((delta.count, delta.born), (3, 1));
    }

    #[test]
    fn a_status_that_appears_within_the_first_look_counts_too() {
        let mut state = CounterState::default();
        let fine = series(1, 7, &[(10, 100.0), (25, 110.0)]);
        let errors = series(2, 7, &[(25, 3.0)]);
        assert_eq!(count(&mut state, &[fine, errors], 30), 13);
    }

    #[test]
    fn a_new_pod_counts_from_zero_when_it_is_known_to_be_new() {
        let mut state = CounterState::default();
        count(&mut state, &[series(1, 1, &[(10, 100.0)])], 15);
        let old = series(5, 5, &[(25, 900.0), (40, 905.0)]);
        let new = Series {
            began_ms: Some(20_000),
            ..series(6, 6, &[(25, 50.0), (40, 60.0)])
        };
        let delta = state.advance(&[old, new], 45_000).unwrap();
        assert_eq!((delta.count, delta.bases, delta.born), (5 + 60, 1, 1));
    }

    #[test]
    fn counting_twice_is_refused_and_changes_nothing() {
        let mut state = CounterState::default();
        let all = [series(1, 1, &[(10, 1.0), (25, 5.0)])];
        count(&mut state, &all, 30);
        let before = state.clone();
        let again = state.advance(&all, 30_000);
        assert!(matches!(again, Err(CounterError::Counted { .. })));
        assert_eq!(state, before);
    }

    #[test]
    fn what_is_no_count_is_named_and_changes_nothing() {
        let state = CounterState::default();
        let bad = [
            (f64::NAN, "a counter is NaN"),
            (-1.0, "a counter is -1"),
            (f64::INFINITY, "a counter is inf"),
            (
                1.5,
                "a counter is 1.5: not a whole number, so not a count of requests",
            ),
        ];
        for (value, words) in bad {
            let mut it = state.clone();
            let error = it
                .advance(&[series(1, 1, &[(10, value)])], 15_000)
                .unwrap_err();
            assert_eq!((error.to_string().as_str(), &it), (words, &state));
        }
        let mut it = state.clone();
        let twice = it.advance(&[series(1, 1, &[]), series(1, 2, &[])], 15_000);
        assert_eq!(twice, Err(CounterError::Duplicate));
        let conflict = it.advance(&[series(1, 1, &[(10, 1.0), (10, 2.0)])], 15_000);
        assert!(matches!(conflict, Err(CounterError::TwoAtOnce { .. })));
        let same = it.advance(&[series(1, 1, &[(10, 1.0), (10, 1.0)])], 15_000);
        assert!(same.is_ok());
    }

    #[test]
    fn names_do_not_depend_on_the_order_of_labels() {
        let a = name([("job", "shop"), ("code", "500")]);
        assert_eq!(a, name([("code", "500"), ("job", "shop")]));
        assert_ne!(a, name([("job", "shop5"), ("code", "00")]));
    }

    #[test]
    fn how_a_range_is_cut_into_windows_does_not_change_the_sum() {
        let samples: Vec<(i64, f64)> = (0..60)
            .map(|it| (it * 15, ((it * 37) % 400) as f64))
            .collect();
        let all = [series(1, 1, &samples)];
        let (mut once, mut often) = (CounterState::default(), CounterState::default());
        count(&mut once, &all, 0);
        count(&mut often, &all, 0);
        let whole = count(&mut once, &all, 900);
        let parts: u64 = (1..=90).map(|it| count(&mut often, &all, it * 10)).sum();
        assert_eq!(whole, parts);
        assert_eq!(once.series, often.series);
    }
}
