//! From the samples that a metric source shows to whole counts of candidate and stable (§2.6 of the
//! specification of canary analysis).
//!
//! Each series is followed by itself from where it stood at the measurement before, so nothing is
//! counted twice or lost between two measurements, a crash in between included: what was counted and
//! where the counters stand are committed together.

use std::collections::{BTreeMap, BTreeSet};

use analysis::counter::{CounterError, CounterState, Sample, Series, name};
use serde::{Deserialize, Serialize};

use crate::revision::Role;

/// Labels by which Prometheus names what it scrapes.
const TARGET: [&str; 4] = ["job", "instance", "namespace", "pod"];

/// Where the counters behind one gate stand.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counting {
    /// Up to where everything is counted, in milliseconds since 1970.
    watermark_ms: Option<i64>,
    candidate: BTreeMap<String, CounterState>,
    stable: BTreeMap<String, CounterState>,
    /// Instances that were seen, by the label's value: the counters of one that is gone still count.
    instances: BTreeMap<String, Role>,
}

/// A series and what it counts: `requests`, `errors`, or a histogram's bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Whose requests.
    pub role: Role,
    /// What of them.
    pub what: String,
    /// The samples.
    pub series: Series,
}

/// What was counted since the measurement before.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Where the counters stand now; to be committed with what follows from the counts.
    pub next: Counting,
    /// From when, in milliseconds since 1970; `None`: counting has only begun.
    pub from_ms: Option<i64>,
    /// Until when.
    pub until_ms: i64,
    /// The candidate's counts.
    pub candidate: BTreeMap<String, u64>,
    /// Stable's counts.
    pub stable: BTreeMap<String, u64>,
    /// Whether there was any sample after `from_ms`.
    pub is_fresh: bool,
}

impl Found {
    /// A series with these labels; samples are milliseconds since 1970 and values.
    pub fn new(
        role: Role,
        what: &str,
        labels: &BTreeMap<String, String>,
        samples: &[(i64, f64)],
    ) -> Self {
        let all = || {
            labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
        };
        let target: Vec<(&str, &str)> = all().filter(|(key, _)| TARGET.contains(key)).collect();
        let samples = samples
            .iter()
            .map(|&(at_ms, value)| Sample { at_ms, value });
        Self {
            role,
            what: what.to_owned(),
            series: Series {
                name: name(all()),
                target: match target.is_empty() {
                    true => name(all()),
                    false => name(target),
                },
                began_ms: None,
                samples: samples.collect(),
            },
        }
    }
}

impl Counting {
    /// Up to where everything is counted, in milliseconds since 1970.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// Whose an instance is, by the value of the label that names it.
    pub fn role_of(&self, instance: &str) -> Option<Role> {
        self.instances.get(instance).copied()
    }

    /// All instances that were seen, and whose they are.
    pub fn instances(&self) -> impl Iterator<Item = (&str, Role)> {
        self.instances
            .iter()
            .map(|(name, role)| (name.as_str(), *role))
    }

    /// Notes whose an instance is.
    pub fn note_instance(&mut self, instance: &str, role: Role) {
        self.instances.insert(instance.to_owned(), role);
    }

    /// Counts everything after the watermark up to `until_ms`. `whats` is what is counted even where
    /// there is no series of it yet.
    ///
    /// # Errors
    /// What is wrong with the samples.
    pub fn advance(
        &self,
        found: &[Found],
        whats: &[&str],
        until_ms: i64,
    ) -> Result<Counted, CounterError> {
        let present = presence(found);
        let mut next = self.clone();
        let candidate = follow(
            &mut next.candidate,
            (found, Role::Candidate),
            whats,
            (&present, until_ms),
        )?;
        let stable = follow(
            &mut next.stable,
            (found, Role::Stable),
            whats,
            (&present, until_ms),
        )?;
        next.watermark_ms = Some(until_ms);
        let since_ms = self.watermark_ms.unwrap_or(i64::MIN);
        let samples = found.iter().flat_map(|it| &it.series.samples);
        Ok(Counted {
            next,
            from_ms: self.watermark_ms,
            until_ms,
            candidate,
            stable,
            is_fresh: samples
                .map(|it| it.at_ms)
                .any(|it| since_ms < it && it <= until_ms),
        })
    }
}

/// Each target's first and last sample, as a series that counts nothing: a target that answers but has
/// no series of some kind yet has counted none of it, so the first value of such a series counts whole.
fn presence(found: &[Found]) -> Vec<Series> {
    let mut targets: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
    for it in found {
        for sample in &it.series.samples {
            let seen = targets
                .entry(it.series.target)
                .or_insert((sample.at_ms, sample.at_ms));
            seen.0 = seen.0.min(sample.at_ms);
            seen.1 = seen.1.max(sample.at_ms);
        }
    }
    let zero = |at_ms| Sample { at_ms, value: 0.0 };
    let series = targets.into_iter().map(|(target, (first, last))| Series {
        name: name([("present", target.to_string().as_str())]),
        target,
        began_ms: None,
        samples: match first == last {
            true => vec![zero(first)],
            false => vec![zero(first), zero(last)],
        },
    });
    series.collect()
}

/// Advances the counters of one role; the counts by what is counted.
fn follow(
    counters: &mut BTreeMap<String, CounterState>,
    (found, role): (&[Found], Role),
    whats: &[&str],
    (present, until_ms): (&[Series], i64),
) -> Result<BTreeMap<String, u64>, CounterError> {
    let its = || found.iter().filter(|it| it.role == role);
    let named = its().map(|it| it.what.clone());
    let known: BTreeSet<String> = counters
        .keys()
        .cloned()
        .chain(whats.iter().map(ToString::to_string))
        .chain(named)
        .collect();
    known
        .into_iter()
        .map(|what| {
            let series: Vec<Series> = its()
                .filter(|it| it.what == what)
                .map(|it| it.series.clone())
                .chain(present.iter().cloned())
                .collect();
            let delta = counters
                .entry(what.clone())
                .or_default()
                .advance(&series, until_ms)?;
            Ok((what, delta.count))
        })
        .collect()
}

/// The usual time between two samples of a series, in milliseconds; `None` without two samples.
pub fn scrape_gap_ms(found: &[Found]) -> Option<i64> {
    let mut gaps: Vec<i64> = found
        .iter()
        .flat_map(|it| {
            let samples = it.series.samples.iter();
            let later = samples.clone().skip(1);
            samples.zip(later).map(|(a, b)| b.at_ms - a.at_ms)
        })
        .filter(|it| *it > 0)
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}
