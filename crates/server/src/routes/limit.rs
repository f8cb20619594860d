//! How often may be asked: buckets that are refilled evenly, for each token or session and for each
//! address that comes without a good one.
//!
//! Requests that may take traffic back have buckets of their own, so that a script that lists apps
//! in a loop never stands in an abort's way; they are bounded too, against storms of alerts.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use uuid::Uuid;

use crate::{error::ServeError, people::site};

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// What a good token or session asks for.
    Usual,
    /// The same, where traffic may be taken back.
    Urgent,
    /// Tokens and cookies of a source that must be looked up, good or not.
    Look,
    /// The same, for requests that may take traffic back.
    UrgentLook,
    /// Sign-ins of a source.
    SignIn,
    /// What machines of a source send without a token: ID tokens, signed hooks.
    Machine,
    /// Rows of the audit log that tell of refusals.
    Refusal,
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Credential(Uuid),
    Source(IpAddr),
}

impl Lane {
    /// Requests a second that are allowed for long, and at once.
    fn rates(self) -> (f64, f64) {
        match self {
            // Far beyond a person or a CI pipeline, within what two cores answer.
            Self::Usual | Self::Urgent => (200.0, 1000.0),
            // A good token is looked up every 2 s; a whole office may be one source.
            Self::Look | Self::UrgentLook => (50.0, 500.0),
            // People type; behind one address there may be many of them on a Monday morning.
            Self::SignIn => (1.0, 30.0),
            Self::Machine => (10.0, 200.0),
            // Enough to see what somebody tries; the rest of it is more of the same.
            Self::Refusal => (0.5, 60.0),
        }
    }
}

/// Most buckets kept. Full ones are dropped beyond it, which changes nothing for their owners; if
/// that is not enough, those of all sources are.
const BUCKETS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// All buckets.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: Mutex<HashMap<(Who, Lane), Bucket>>,
}

impl Limits {
    /// Takes one request from a token's or session's bucket.
    pub(super) fn take(&self, credential: Uuid, urgent: bool) -> Result<(), ServeError> {
        let lane = if urgent { Lane::Urgent } else { Lane::Usual };
        self.take_at(Who::Credential(credential), lane, Instant::now())
    }

    /// Takes one from another of a token's or session's buckets.
    pub(super) fn take_of(&self, credential: Uuid, lane: Lane) -> Result<(), ServeError> {
        self.take_at(Who::Credential(credential), lane, Instant::now())
    }

    /// Takes one request from a source's bucket.
    pub(super) fn take_from(&self, source: IpAddr, lane: Lane) -> Result<(), ServeError> {
        self.take_at(Who::Source(site(source)), lane, Instant::now())
    }

    fn take_at(&self, who: Who, lane: Lane, now: Instant) -> Result<(), ServeError> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|(_, lane), bucket| bucket.filled(*lane, now) < lane.rates().1);
        }
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|(who, _), _| matches!(who, Who::Credential(_)));
        }
        let full = Bucket {
            left: lane.rates().1,
            at: now,
        };
        let bucket = buckets.entry((who, lane)).or_insert(full);
        let left = bucket.filled(lane, now);
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
    fn filled(&self, lane: Lane, now: Instant) -> f64 {
        let (per_second, burst) = lane.rates();
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * per_second).min(burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn allowed(limits: &Limits, who: Who, lane: Lane, now: Instant) -> usize {
        let asked = (0..5000).filter(|_| limits.take_at(who, lane, now).is_ok());
        asked.count()
    }

    #[test]
    fn a_storm_is_stopped_and_stands_in_nobodys_way() {
        let limits = Limits::default();
        let now = Instant::now();
        let [noisy, calm] = [Uuid::now_v7(), Uuid::now_v7()].map(Who::Credential);
        assert_eq!(allowed(&limits, noisy, Lane::Usual, now), 1000);
        assert!(limits.take_at(noisy, Lane::Urgent, now).is_ok());
        assert!(limits.take_at(calm, Lane::Usual, now).is_ok());
        let later = now + Duration::from_secs(1);
        assert_eq!(allowed(&limits, noisy, Lane::Usual, later), 200);
    }

    #[test]
    fn who_tries_out_passwords_is_slowed_by_address() {
        let limits = Limits::default();
        let now = Instant::now();
        let source = |text: &str| Who::Source(site(text.parse().unwrap()));
        let one = source("2001:db8:1:2::3");
        assert_eq!(allowed(&limits, one, Lane::SignIn, now), 30);
        // The same site, by another of its addresses.
        assert_eq!(
            allowed(&limits, source("2001:db8:1:2::4"), Lane::SignIn, now),
            0
        );
        assert_eq!(
            allowed(&limits, source("2001:db8:1:3::4"), Lane::SignIn, now),
            30
        );
        assert_eq!(allowed(&limits, one, Lane::UrgentLook, now), 500);
        let later = now + Duration::from_secs(60);
        assert_eq!(allowed(&limits, one, Lane::SignIn, later), 30);
    }

    #[test]
    fn many_sources_take_no_more_than_their_room() {
        let limits = Limits::default();
        let now = Instant::now();
        let token = Who::Credential(Uuid::now_v7());
        assert_eq!(allowed(&limits, token, Lane::Usual, now), 1000);
        for number in 0..30_000_u32 {
            let source = Who::Source(IpAddr::V4(number.into()));
            assert!(limits.take_at(source, Lane::SignIn, now).is_ok());
        }
        assert!(limits.buckets.lock().unwrap().len() <= BUCKETS_MAX);
        assert_eq!(allowed(&limits, token, Lane::Usual, now), 0);
    }
}
