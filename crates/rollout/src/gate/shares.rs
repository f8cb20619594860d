//! Which share of traffic the candidate had when, so that counts are compared at one share at a time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{time, weight::Weight};

/// Changes that are remembered: more than fit between two measurements.
const REMEMBERED: usize = 16;
/// A change is seen a little after it has taken effect.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(1);

/// The shares that were seen, each with the moment since when, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shares(Vec<(Timestamp, Weight)>);

impl Shares {
    /// Whether none was seen yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes the share that is seen at `now`.
    pub fn note(&mut self, share: Weight, now: Timestamp) {
        if self.0.last().is_none_or(|(_, last)| *last != share) {
            self.0.push((now, share));
            let surplus = self.0.len().saturating_sub(REMEMBERED);
            self.0.drain(..surplus);
        }
    }

    /// As they were known at a moment.
    #[must_use]
    pub fn known_at(&self, at: Timestamp) -> Self {
        let known = self.0.iter().filter(|(since, _)| *since <= at);
        Self(known.copied().collect())
    }

    /// The share all the time between two moments; `None` when it was not the same, or is not known.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> Option<Weight> {
        let before = self.0.iter().rposition(|(since, _)| *since <= from)?;
        let (_, share) = self.0.get(before)?;
        let mut later = self.0.iter().skip(before + 1);
        let changed = later.any(|(since, _)| time::after(*since, -SEEN_WITHIN) < until);
        (!changed).then_some(*share)
    }
}
