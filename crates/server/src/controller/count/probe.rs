//! Looks at the counters behind a gate before a rollout: what is there, and how much of it.

use std::collections::BTreeMap;

use analysis::outlook::Traffic;
use jiff::Timestamp;
use rollout::{
    Role,
    gate::{
        Question, Reading,
        counting::{Counting, Found},
    },
};

use super::{ERRORS, Gathered, Inquiry, REQUESTS, counted_of};

/// The time over which traffic is measured, in milliseconds. Samples of a minute are asked for.
const OVER_MS: i64 = 40_000;

/// What is there.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The series of each revision, or why there is nothing to count.
    pub(crate) found: Result<String, Reading>,
    /// Stable's traffic now, where it could be measured.
    pub(crate) traffic: Option<Traffic>,
}

impl Inquiry<'_> {
    /// Looks at what there is.
    pub(crate) async fn probe(&self, now: Timestamp) -> Probe {
        match self.gather(now).await {
            Ok(gathered) => Probe {
                found: Ok(words(&gathered.found)),
                traffic: traffic(self.question, &gathered),
            },
            Err(reading) => Probe {
                found: Err(reading),
                traffic: None,
            },
        }
    }
}

/// How many series of what each revision has.
fn words(found: &[Found]) -> String {
    let of = |role: Role| {
        let mut series: BTreeMap<&str, usize> = BTreeMap::new();
        for it in found.iter().filter(|it| it.role == role) {
            let what = match it.what.as_str() {
                known @ (REQUESTS | ERRORS) => known,
                _ => "buckets",
            };
            *series.entry(what).or_default() += 1;
        }
        let series: Vec<String> = series
            .into_iter()
            .map(|(what, count)| format!("{count} of {what}"))
            .collect();
        match series.is_empty() {
            true => format!("{role} has no series yet"),
            false => format!("{role} has series: {}", series.join(", ")),
        }
    };
    format!("{}; {}", of(Role::Stable), of(Role::Candidate))
}

fn traffic(question: &Question, gathered: &Gathered) -> Option<Traffic> {
    question.compare()?;
    let (found, whats) = (&gathered.found, counted_of(question));
    let begun = Counting::default().advance(found, whats, gathered.until_ms - OVER_MS);
    let counted = begun.ok()?.next.advance(found, whats, gathered.until_ms);
    let stable = counted.ok()?.stable;
    let count = |what| stable.get(what).copied().unwrap_or(0) as f64;
    let requests = count(REQUESTS);
    (requests > 0.0).then(|| Traffic {
        requests_per_second: requests * 1000.0 / OVER_MS as f64,
        share: 0.0,
        stable_rate: count(ERRORS) / requests,
    })
}
