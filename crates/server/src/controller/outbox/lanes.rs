//! Which receivers have a delivery under way, and which are left alone for a moment. Kept in memory:
//! another replica finds out for itself.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Deliveries at a time to receivers that failed last: most of the slots stay for those that work.
const DOUBTED_MAX: usize = 16;
/// How long a receiver is left alone after its first failure; doubled with each, up to the longest.
const REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// By how much a rest outlasts the pause of the notice that failed, so that it is first again.
const FIRST_AGAIN: Duration = Duration::from_millis(100);
/// Receivers remembered for having failed, before those that may be tried again are forgotten.
const REMEMBERED_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Lane {
    under_way: bool,
    /// Failures in a row.
    failures: u32,
    rests_until: Option<Instant>,
}

impl Lane {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|it| it > now)
    }
}

/// The lanes that are not simply free. A lane is one receiver.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<String, Lane>);

impl Lanes {
    /// A delivery began.
    pub(super) fn begin(&mut self, lane: &str) {
        self.0.entry(lane.to_owned()).or_default().under_way = true;
    }

    /// A delivery ended, and the receiver works.
    pub(super) fn works(&mut self, lane: &str) {
        self.0.remove(lane);
    }

    /// A delivery ended, and the receiver does not work; true when it did before, as far as is known.
    pub(super) fn fails(&mut self, lane: &str, now: Instant) -> bool {
        let known = self.0.entry(lane.to_owned()).or_default();
        let doubled = REST.saturating_mul(1 << known.failures.min(12));
        known.under_way = false;
        known.failures = known.failures.saturating_add(1);
        known.rests_until = Some(now + doubled.min(LONGEST_REST) + FIRST_AGAIN);
        let first = known.failures == 1;
        if self.0.len() > REMEMBERED_MAX {
            self.0.retain(|_, it| it.under_way || it.rests(now));
        }
        first
    }

    /// The lanes to take nothing from now: those under way, those that rest, and of those that failed
    /// last all that are too many.
    pub(super) fn passed_over(&self, now: Instant) -> Vec<String> {
        let (busy, doubted): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|(_, it)| it.under_way || it.rests(now));
        let doubted_now = busy
            .iter()
            .filter(|(_, it)| it.under_way && it.failures > 0);
        let room = DOUBTED_MAX.saturating_sub(doubted_now.count());
        let mut doubted = doubted;
        // Who waits longest is tried first.
        doubted.sort_by_key(|(_, it)| it.rests_until);
        let too_many = doubted.into_iter().skip(room);
        let passed_over = busy.into_iter().chain(too_many);
        passed_over.map(|(lane, _)| lane.clone()).collect()
    }

    /// How long until the next rest is over.
    pub(super) fn next_end(&self, now: Instant) -> Option<Duration> {
        let ends = self.0.values().filter_map(|it| it.rests_until);
        let next = ends.filter(|it| *it > now).min()?;
        Some(next.duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_passed_over_while_it_is_under_way_and_while_it_rests() {
        let (mut lanes, begin) = (Lanes::default(), Instant::now());
        lanes.begin("a");
        assert_eq!(lanes.passed_over(begin), ["a"]);
        lanes.fails("a", begin);
        assert_eq!(lanes.passed_over(begin), ["a"]);
        let rest = lanes.next_end(begin).unwrap();
        assert_eq!(rest, REST + FIRST_AGAIN);
        assert!(lanes.passed_over(begin + rest).is_empty());
        for _ in 0..20 {
            lanes.fails("a", begin);
        }
        assert_eq!(lanes.next_end(begin).unwrap(), LONGEST_REST + FIRST_AGAIN);
        lanes.works("a");
        assert!(lanes.passed_over(begin).is_empty());
    }

    #[test]
    fn of_those_that_failed_last_only_a_few_are_tried_at_a_time() {
        let (mut lanes, begin) = (Lanes::default(), Instant::now());
        for lane in 0..100 {
            lanes.fails(&lane.to_string(), begin);
        }
        let later = begin + LONGEST_REST;
        assert_eq!(lanes.passed_over(later).len(), 100 - DOUBTED_MAX);
        lanes.begin("7");
        // It is under way, and takes one of the places.
        assert_eq!(lanes.passed_over(later).len(), 100 - DOUBTED_MAX + 1);
    }
}
