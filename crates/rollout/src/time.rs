//! Arithmetic on the moments that are passed in. This crate reads no clock.

use jiff::{SignedDuration, Timestamp};

/// The moment `duration` after `at`; the end of time when that does not fit.
pub fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// A duration as people write it: `2m`, `1h 30m`.
pub fn words(duration: SignedDuration) -> String {
    format!("{duration:#}")
}
