//! Waits for a condition by polling it, with a deadline.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Time between two looks: far below anything a person notices, and cheap.
const POLL: Duration = Duration::from_millis(5);

/// The condition did not come true in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("wait for {what}: not within {within:?}; last seen: {last}")]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub within: Duration,
    /// What the condition last reported.
    pub last: String,
}

/// Polls `condition` every few milliseconds until it returns `Ok`, whose value
/// is returned. Its `Err` says what is seen instead, and ends up in the error.
/// A condition that hangs is cut off at the deadline too.
///
/// # Errors
/// [`TimedOut`] after `within`.
pub async fn until<T, E, F, Fut>(
    within: Duration,
    what: &str,
    mut condition: F,
) -> Result<T, TimedOut>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Display,
{
    let deadline = Instant::now() + within;
    let mut last = String::from("nothing");
    loop {
        match tokio::time::timeout_at(deadline.into(), condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen.to_string(),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(TimedOut {
                what: what.to_owned(),
                within,
                last,
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// [`until`] for a condition that needs no waiting of its own.
///
/// # Errors
/// [`TimedOut`] after `within`.
pub async fn until_now<T, E: Display>(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T, TimedOut> {
    until(within, what, || std::future::ready(condition())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_is_returned_as_soon_as_there_is_one() {
        let mut looks = 0;
        let value = until_now(Duration::from_secs(5), "three looks", || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_error_says_what_was_waited_for_and_what_was_seen() {
        let never = until_now(Duration::from_millis(20), "rain", || {
            Err::<(), _>("sunshine")
        });
        assert_eq!(
            never.await.unwrap_err().to_string(),
            "wait for rain: not within 20ms; last seen: sunshine"
        );
    }

    #[tokio::test]
    async fn a_condition_that_hangs_is_cut_off() {
        let hangs = until(
            Duration::from_millis(20),
            "an answer",
            std::future::pending::<Result<(), String>>,
        );
        assert_eq!(hangs.await.unwrap_err().last, "nothing");
    }
}
