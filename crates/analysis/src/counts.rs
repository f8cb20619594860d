//! What happened in one window of time: requests and bad events, an arm each.

use serde::{Deserialize, Serialize};

use crate::special::real;

/// The largest count that a number of 64 bits holds exactly, 2^53. A window far below it is a year of
/// the busiest service there is; above it the input is wrong.
pub const COUNT_MAX: u64 = 1 << 53;
/// A whole, in the unit of [`Window::share`].
pub const SHARE_ALL: u32 = 10_000;

/// Requests of one arm, and how many of them were bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Arm {
    /// All requests.
    pub requests: u64,
    /// The bad ones among them: errors, or slower than a bound.
    pub bad: u64,
}

impl Arm {
    /// `bad` of `requests`.
    pub const fn new(requests: u64, bad: u64) -> Self {
        Self { requests, bad }
    }

    /// The share of bad requests; 0 without requests.
    pub fn rate(self) -> f64 {
        match self.requests {
            0 => 0.0,
            requests => real(self.bad) / real(requests),
        }
    }

    /// The share of bad requests, pulled towards ½ by one request that was half bad, so that arms
    /// with few requests compare mildly (§2.1, attribution gates).
    pub fn smoothed_rate(self) -> f64 {
        (real(self.bad) + 0.5) / (real(self.requests) + 1.0)
    }

    /// Both arms' counts together. Stops at the largest number instead of wrapping around.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bad: self.bad.saturating_add(other.bad),
        }
    }

    fn check(self, of: &'static str) -> Result<(), InputError> {
        if self.bad > self.requests {
            return Err(InputError::MoreBadThanRequests {
                arm: of,
                bad: self.bad,
                requests: self.requests,
            });
        }
        if self.requests > COUNT_MAX {
            return Err(InputError::TooLarge {
                arm: of,
                requests: self.requests,
            });
        }
        Ok(())
    }
}

/// The counts of both arms between two moments, at one planned share of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Where it begins, in milliseconds since 1970, exclusive.
    pub from_ms: i64,
    /// Where it ends, in milliseconds since 1970, inclusive: the watermark once it is folded in.
    pub until_ms: i64,
    /// The candidate's planned share of traffic, in hundredths of a percent. It only names the
    /// stratum; evidence uses the ratio of requests that was really observed.
    pub share: u32,
    /// The candidate's counts.
    pub candidate: Arm,
    /// Stable's counts in the same time.
    pub stable: Arm,
}

impl Window {
    /// How long it is, in seconds.
    pub fn seconds(&self) -> f64 {
        self.until_ms.saturating_sub(self.from_ms) as f64 / 1000.0
    }

    /// Whether its numbers can be counts of anything.
    ///
    /// # Errors
    /// What is wrong with them; see [`InputError`].
    pub fn check(&self) -> Result<(), InputError> {
        if self.until_ms <= self.from_ms {
            return Err(InputError::Backwards {
                from_ms: self.from_ms,
                until_ms: self.until_ms,
            });
        }
        if self.share > SHARE_ALL {
            return Err(InputError::Share { share: self.share });
        }
        self.candidate.check("candidate")?;
        self.stable.check("stable")
    }
}

/// What a window does to a state that has seen everything up to a watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// It was folded in before: a retry, or a replay after a crash.
    Seen,
    /// It comes after all that was seen.
    Next,
}

/// Places a window against the watermark.
///
/// # Errors
/// [`InputError::Overlap`] when a part of it was seen: its counts cannot be parted, and counting them
/// twice would void the promised error rate (§4.1, pitfall 5).
pub(crate) fn order(
    watermark_ms: Option<i64>,
    from_ms: i64,
    until_ms: i64,
) -> Result<Order, InputError> {
    match watermark_ms {
        Some(seen) if until_ms <= seen => Ok(Order::Seen),
        Some(seen) if from_ms < seen => Err(InputError::Overlap {
            from_ms,
            watermark_ms: seen,
        }),
        Some(_) | None => Ok(Order::Next),
    }
}

/// Why numbers, or a stored state, cannot be used. Nothing was folded in, and nothing was decided.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// More bad requests than requests.
    #[error("{arm} has {bad} bad of {requests} requests")]
    MoreBadThanRequests {
        /// Which arm.
        arm: &'static str,
        /// Its bad requests.
        bad: u64,
        /// Its requests.
        requests: u64,
    },
    /// A count above [`COUNT_MAX`].
    #[error("{arm} has {requests} requests in one window, more than can be counted exactly")]
    TooLarge {
        /// Which arm.
        arm: &'static str,
        /// Its requests.
        requests: u64,
    },
    /// A window that ends before it begins, or has no length.
    #[error("the window ends at {until_ms} ms and begins at {from_ms} ms")]
    Backwards {
        /// Its beginning.
        from_ms: i64,
        /// Its end.
        until_ms: i64,
    },
    /// A share above the whole.
    #[error("a share of {share} hundredths of a percent is more than all")]
    Share {
        /// The share.
        share: u32,
    },
    /// A part of the window was folded in before.
    #[error("the window begins at {from_ms} ms, before the watermark {watermark_ms} ms")]
    Overlap {
        /// Its beginning.
        from_ms: i64,
        /// Up to where the state has seen everything.
        watermark_ms: i64,
    },
    /// A number that is NaN or infinite.
    #[error("{what} is {value}, not a finite number")]
    NotFinite {
        /// What it is a number of.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// The state was begun under another policy: its evidence would mean something else.
    #[error("the state was begun under another policy")]
    OtherPolicy,
    /// The state was written by a version that this one cannot read.
    #[error("the state has version {version}, this is version {ours}")]
    OtherVersion {
        /// The state's.
        version: u16,
        /// Ours.
        ours: u16,
    },
    /// The stored state contradicts itself.
    #[error("the stored state is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The two arms' histograms share no bound, or none that the state was begun with.
    #[error("the histograms of the two arms have no bucket bound in common")]
    NoCommonBound,
    /// A histogram that cannot be one.
    #[error("{arm}'s histogram is broken: {what}")]
    Histogram {
        /// Which arm.
        arm: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}
