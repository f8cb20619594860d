//! Asks for samples of a while: `POST {url}/api/v1/query` with `query=SELECTOR[LOOKBACK]`.
//!
//! The moment of evaluation is always sent, so that it is known exactly: an answer to a range
//! selector does not say when it was evaluated. "Now" is by the server's clock: this host's clock is
//! used as it is while the answer's `Date` header agrees with it to [`SKEW_MAX`]; else the difference
//! is added and the question asked once more. An answer without that header is taken to agree. So the
//! moment may be up to [`SKEW_MAX`] ahead of the server's clock: who counts to the last second must
//! leave that and the time of a scrape.
//!
//! Causes are those of a single number, but for these:
//!
//! | what comes back | answer |
//! |---|---|
//! | matrix, empty too; values of any kind; native histograms | the samples |
//! | anything else than a matrix | no data: wrong type |
//! | a sample outside the while that was asked for | no data: malformed |
//! | a body of more than 16 MiB | no data: too large |
//! | a clock that moves while we look at it | no data: stale |

use jiff::{SignedDuration, Timestamp};
use rollout::gate::{NoDataCause, Reading};
use secrecy::SecretString;

use super::{Prometheus, date, matrix};
use crate::metrics::{
    no_data,
    range::{RangeAnswer, RangeQuery, RawSeries},
};

/// Most bytes of an answer: 25,000 series of some ten samples.
const SAMPLES_BYTES_MAX: usize = 16 << 20;
/// How far the server's clock may be off this host's. Less is within what a caller leaves for
/// samples that are still on their way.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(2);
/// A `Date` header has whole seconds.
const DATE_RESOLUTION: SignedDuration = SignedDuration::from_secs(1);
/// How often one question is asked: by this host's clock, and by the server's.
const TRIES: usize = 2;

impl Prometheus {
    /// The samples that `query` asks for.
    pub(super) async fn samples(
        &self,
        http: &reqwest::Client,
        query: &RangeQuery,
    ) -> Result<RangeAnswer, Reading> {
        let (client, token) = (self.client(http).await?, self.token().await?);
        let asker = Asker {
            source: self,
            client,
            token,
            query,
        };
        if let Some(at) = query.at {
            return asker.ask(at).await.map(|(answer, _)| answer);
        }
        let mut skew = SignedDuration::ZERO;
        for _ in 0..TRIES {
            let sent = now(skew)?;
            let (answer, date) = asker.ask(sent).await?;
            let received = now(skew)?;
            let more = date.map(|date| off(date, sent, received));
            match more {
                Some(more) if more.abs() > SKEW_MAX => skew = skew.saturating_add(more),
                Some(_) | None => return Ok(answer),
            }
        }
        let detail = format!("the server's clock is {skew:#} off this host's, and moves");
        Err(no_data(NoDataCause::Stale, detail))
    }
}

/// One question, as often as it has to be asked.
struct Asker<'a> {
    source: &'a Prometheus,
    client: reqwest::Client,
    token: Option<SecretString>,
    query: &'a RangeQuery,
}

impl Asker<'_> {
    /// The samples until `at`, and when the server says that it answered.
    async fn ask(&self, at: Timestamp) -> Result<(RangeAnswer, Option<Timestamp>), Reading> {
        let RangeQuery {
            selector, lookback, ..
        } = self.query;
        let lookback_ms = lookback.as_millis();
        let at_ms = at.as_millisecond();
        let form = vec![
            ("query", format!("{selector}[{lookback_ms}ms]")),
            ("time", format!("{:.3}", at_ms as f64 / 1000.0)),
        ];
        let (client, token) = (&self.client, self.token.as_ref());
        let answer = self.source.post(client, token, form, SAMPLES_BYTES_MAX);
        let answer = answer.await?;
        let date = date(&answer);
        // A large answer takes tens of milliseconds, in which a thread of the runtime would serve nobody.
        let read = move || matrix::read(answer.status, &answer.body);
        let series = tokio::task::spawn_blocking(read).await;
        let series = series.unwrap_or_else(|_| {
            let detail = "reading the answer was given up";
            Err(no_data(NoDataCause::Unavailable, detail))
        })?;
        within(
            &series,
            at_ms,
            i64::try_from(lookback_ms).unwrap_or(i64::MAX),
        )?;
        // Without what is finer than the question was.
        let evaluated = Timestamp::from_millisecond(at_ms).unwrap_or(at);
        let series = series.into();
        Ok((RangeAnswer { evaluated, series }, date))
    }
}

/// Refuses samples that were not asked for: a server that ignores `time` would be believed to have
/// told everything until a moment that it never looked at.
fn within(series: &[RawSeries], until_ms: i64, lookback_ms: i64) -> Result<(), Reading> {
    // Prometheus before 3.0 has a sample at the very beginning too.
    let asked = until_ms.saturating_sub(lookback_ms)..=until_ms;
    let times = series.iter().flat_map(|it| {
        let numbers = it.samples.iter().map(|it| it.0);
        numbers.chain(it.histograms.iter().map(|it| it.0))
    });
    match times.into_iter().find(|it| !asked.contains(it)) {
        Some(at) => {
            let off = SignedDuration::from_millis(at.saturating_sub(until_ms));
            let detail = format!("a sample {off:#} off the moment that was asked for");
            Err(no_data(NoDataCause::Malformed, detail))
        }
        None => Ok(()),
    }
}

/// This host's clock, `skew` added.
fn now(skew: SignedDuration) -> Result<Timestamp, Reading> {
    Timestamp::now().checked_add(skew).map_err(|_| {
        let detail = format!("the server's clock is {skew:#} off this host's");
        no_data(NoDataCause::Malformed, detail)
    })
}

/// How far a clock that showed `date` at some moment between `sent` and `received` is ahead at least
/// (behind, if negative).
fn off(date: Timestamp, sent: Timestamp, received: Timestamp) -> SignedDuration {
    let ahead = date.duration_since(received);
    let behind = date.duration_since(sent).saturating_add(DATE_RESOLUTION);
    if ahead.is_positive() {
        ahead
    } else {
        behind.min(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_only_as_far_as_seconds_can_tell() {
        let at = |it: i64| Timestamp::from_millisecond(1_700_000_000_000 + it).unwrap();
        let check = |date, sent, received, expected| {
            let off = off(at(date), at(sent), at(received));
            assert_eq!(off, SignedDuration::from_millis(expected));
        };
        check(0, 0, 10, 0);
        // The date was 0.9 s ago when it was written.
        check(0, 900, 950, 0);
        check(0, 1_500, 1_600, -500);
        check(5_000, 900, 950, 4_050);
        // A long answer may have been dated at any moment of it.
        check(5_000, 0, 9_000, 0);
    }

    #[test]
    fn only_samples_of_the_while_are_taken() {
        let series = |at| RawSeries {
            labels: [].into(),
            samples: vec![(at, 1.0)],
            histograms: Vec::new(),
        };
        for (at, fits) in [(1_000, true), (999, false), (3_000, true), (3_001, false)] {
            assert_eq!(within(&[series(at)], 3_000, 2_000).is_ok(), fits, "{at}");
        }
    }
}
