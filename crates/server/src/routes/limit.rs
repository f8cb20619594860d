//! How often a token may ask: a bucket a token, refilled evenly.
//!
//! Requests that may take traffic back have a bucket of their own, so that a script that lists apps
//! in a loop never stands in an abort's way; it is bounded too, against storms of alerts.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use uuid::Uuid;

use crate::error::ServeError;

/// Requests a second that a token may make for long: far beyond a person or a CI pipeline, within
/// what two cores answer.
const PER_SECOND: f64 = 200.0;
/// Requests that it may make at once.
const BURST: f64 = 1000.0;
/// Most buckets kept; full ones are dropped beyond it, which changes nothing for their owners.
const BUCKETS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets of all tokens.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: Mutex<HashMap<(Uuid, bool), Bucket>>,
}

impl Limits {
    /// Takes one request from a token's bucket.
    pub(super) fn take(&self, token: Uuid, urgent: bool) -> Result<(), ServeError> {
        self.take_at(token, urgent, Instant::now())
    }

    fn take_at(&self, token: Uuid, urgent: bool, now: Instant) -> Result<(), ServeError> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
        }
        let full = Bucket {
            left: BURST,
            at: now,
        };
        let bucket = buckets.entry((token, urgent)).or_insert(full);
        let left = bucket.filled(now);
        *bucket = Bucket {
            left: (left - 1.0).max(0.0),
            at: now,
        };
        match left >= 1.0 {
            true => Ok(()),
            false => Err(ServeError::RateLimited),
        }
    }
}

impl Bucket {
    fn filled(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * PER_SECOND).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_storm_is_stopped_and_stands_in_nobodys_way() {
        let limits = Limits::default();
        let (noisy, calm, now) = (Uuid::now_v7(), Uuid::now_v7(), Instant::now());
        let allowed = (0..5000)
            .filter(|_| limits.take_at(noisy, false, now).is_ok())
            .count();
        assert_eq!(allowed, 1000);
        assert!(limits.take_at(noisy, true, now).is_ok());
        assert!(limits.take_at(calm, false, now).is_ok());
        let later = now + Duration::from_secs(1);
        let allowed = (0..5000)
            .filter(|_| limits.take_at(noisy, false, later).is_ok())
            .count();
        assert_eq!(allowed, 200);
    }
}
