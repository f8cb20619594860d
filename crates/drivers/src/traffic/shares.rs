//! From parts of any size to shares that sum to all.

use std::collections::BTreeMap;

use rollout::{Revision, Weight};

/// Parts as shares that sum to all: rounded down to a hundredth of a percent, never to nothing, and
/// the largest takes the rest.
pub(super) fn shares_of(parts: &BTreeMap<Revision, u64>) -> BTreeMap<Revision, Weight> {
    let whole: u64 = parts.values().sum();
    let Some((largest, _)) = parts.iter().max_by_key(|(_, part)| **part) else {
        return BTreeMap::new();
    };
    let least = Weight::from_hundredths(1);
    let others = parts.iter().filter(|(revision, _)| *revision != largest);
    let mut shares: BTreeMap<Revision, Weight> = others
        .map(|(revision, part)| (*revision, Weight::of(*part, whole).max(least)))
        .collect();
    let taken = shares.values().map(|it| it.hundredths()).sum();
    shares.insert(*largest, Weight::from_hundredths(taken).rest());
    shares
}
