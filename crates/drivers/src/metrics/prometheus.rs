//! Prometheus, or anything that speaks its HTTP API, as a metric source.
//!
//! A query is asked as an instant query (`POST {url}/api/v1/query`), once, and how old its samples
//! are along with it (module `freshness`). Whatever is not one finite, fresh number has a fixed cause,
//! and no cause is ever a pass:
//!
//! | what comes back | reading |
//! |---|---|
//! | vector of one series, or scalar, finite | the value |
//! | `NaN` (0/0: no traffic) | no data: not a number |
//! | `+Inf`, `-Inf`, a number too large for 64 bits | no data: infinite |
//! | empty vector | no data: empty |
//! | several series (how many, and two of their label sets) | no data: several series |
//! | `warnings`, whatever else is there; `infos` are only advice and are not looked at | no data: warnings |
//! | no selector of the query has a current sample, or the newest sample of one is older than `staleAfter`, by the server's clock | no data: stale |
//! | evaluated longer than `staleAfter` before the answer's own `Date` header, where it has one | no data: stale |
//! | matrix, string, histogram, another type | no data: wrong type |
//! | 4xx (with the server's words and position), `status: error`, any redirect | no data: refused |
//! | 5xx, connection refused, name not found, TLS refused, answer cut off | no data: unavailable |
//! | no whole answer within `timeout`, or 503 with the server's own `timeout` | no data: timeout |
//! | a body of more than 1 MiB, announced or not | no data: too large |
//! | not JSON, not this API's JSON, a value that is no number, a compressed body | no data: malformed |
//! | token or CA file that cannot be read | no data: unavailable |
//!
//! If the question about age cannot be answered, its cause stands for the whole: an answer whose
//! age is unknown is not used.
//!
//! Samples of a while are asked for by the same query API; module `samples` says what differs.

pub(super) mod freshness;
mod matrix;
mod reply;
mod samples;
pub(crate) mod tokens;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::header::DATE;
use rollout::{
    document::Reader,
    gate::{NoDataCause, Reading},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    MetricSource, no_data,
    range::{RangeAnswer, RangeQuery},
};
use crate::{
    Cx,
    exchange::{self, Answer, Limits},
    small_file,
};
use reply::Sample;

/// Most bytes of an answer: one number needs a few hundred.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a token file; tokens of identity providers reach a few KiB.
const TOKEN_BYTES_MAX: u64 = 16 << 10;
/// Most bytes of a CA file: a whole system's bundle is about 250 KiB.
const CA_BYTES_MAX: u64 = 1 << 20;
/// The longest timeout one can ask for; a gate that waits longer holds up its pass.
const TIMEOUT_MAX: SignedDuration = SignedDuration::from_mins(2);
/// Tokens shorter than this are not looked for in answers: chance would find them.
const TOKEN_BYTES_TELLING: usize = 8;

/// Where a Prometheus is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prometheus {
    /// Its address, without `/api/v1/query`.
    pub url: String,
    /// Time for one measurement, all of it.
    pub timeout: SignedDuration,
    /// A file with the bearer token to send; read at each measurement, so it may be rotated.
    pub bearer_token_file: Option<String>,
    /// Samples older than this are no data. Must be longer than the scrape interval.
    pub stale_after: SignedDuration,
    /// A PEM file with the only authorities to trust for this address, instead of the system's.
    pub ca_file: Option<String>,
}

impl Prometheus {
    /// Reads the settings of an app file, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let known = ["url", "timeout", "bearerTokenFile", "staleAfter", "caFile"];
        let object = reader.object(&known)?;
        let url = object.required("url", |it| match it.url() {
            Some(url) if url.contains(['?', '#']) => {
                it.problem("give the address without '?' and '#'; /api/v1/query is added to it")
            }
            url => url,
        });
        let timeout = object.or("timeout", SignedDuration::from_secs(5), |it| {
            match it.duration() {
                Some(timeout) if timeout > TIMEOUT_MAX => it.problem("a timeout is at most 2m"),
                timeout => timeout,
            }
        });
        let bearer_token_file = object.optional("bearerTokenFile", Reader::text);
        let stale_after = object.or("staleAfter", SignedDuration::from_mins(2), Reader::duration);
        let ca_file = object.optional("caFile", Reader::text);
        Some(Self {
            url: url?,
            timeout: timeout?,
            bearer_token_file: bearer_token_file?,
            stale_after: stale_after?,
            ca_file: ca_file?,
        })
    }

    fn timeout(&self) -> Duration {
        self.timeout.unsigned_abs()
    }

    async fn fresh(&self, cx: &Cx, query: &str) -> Result<f64, Reading> {
        let (client, token) = (self.client(&cx.http).await?, self.token().await?);
        let ask = |query: String| self.ask(&client, token.as_ref(), query);
        let Some(age_question) = freshness::question(query) else {
            return ask(query.to_owned()).await.map(|it| it.value);
        };
        let (answer, age) = tokio::join!(ask(query.to_owned()), ask(age_question));
        let value = answer?.value;
        match age {
            Ok(age) if age.value <= self.stale_after.as_secs_f64() => Ok(value),
            Ok(age) => {
                let (age, most) = (age.value.round(), self.stale_after);
                let detail =
                    format!("the newest sample is {age} s old, at most {most:#} is usable");
                Err(no_data(NoDataCause::Stale, detail))
            }
            Err(Reading::NoData {
                cause: NoDataCause::Empty,
                ..
            }) => {
                let detail = "no series of the query has a current sample: its targets are gone";
                Err(no_data(NoDataCause::Stale, detail))
            }
            Err(Reading::NoData { cause, detail }) => Err(no_data(
                cause,
                format!("asking how old the samples are: {detail}"),
            )),
            Err(other) => Err(other),
        }
    }

    /// The shared client, or one that trusts `caFile` only. The latter is made anew each time:
    /// the file may be rotated, and loading it costs less than a round trip.
    async fn client(&self, http: &reqwest::Client) -> Result<reqwest::Client, Reading> {
        let Some(path) = &self.ca_file else {
            return Ok(http.clone());
        };
        let unusable = |why: String| no_data(NoDataCause::Unavailable, format!("caFile: {why}"));
        let pem = small_file::read(path, CA_BYTES_MAX)
            .await
            .map_err(unusable)?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if authorities.is_empty() {
            return Err(unusable(format!(
                "{path} holds no certificates in PEM form"
            )));
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(authorities)
            .build();
        client.map_err(|_| unusable(format!("{path} holds certificates that cannot be used")))
    }

    async fn token(&self) -> Result<Option<SecretString>, Reading> {
        let Some(path) = &self.bearer_token_file else {
            return Ok(None);
        };
        let unusable =
            |why: String| no_data(NoDataCause::Unavailable, format!("bearerTokenFile: {why}"));
        let text = small_file::read_text(path, TOKEN_BYTES_MAX)
            .await
            .map_err(unusable)?;
        let token = text.trim();
        // A token is one word. This also keeps files that are no token from being sent away.
        if token.is_empty() || token.contains(|it: char| !it.is_ascii_graphic()) {
            return Err(unusable(format!(
                "{path} does not hold one token on one line"
            )));
        }
        Ok(Some(SecretString::from(token.to_owned())))
    }

    async fn ask(
        &self,
        client: &reqwest::Client,
        token: Option<&SecretString>,
        query: String,
    ) -> Result<Sample, Reading> {
        let form = vec![("query", query)];
        let answer = self.post(client, token, form, ANSWER_BYTES_MAX).await?;
        let sample = reply::read(answer.status, &answer.body)?;
        self.evaluated_now(&sample, date(&answer))?;
        Ok(sample)
    }

    /// Sends `form` to the query API: the whole answer, whatever it says.
    async fn post(
        &self,
        client: &reqwest::Client,
        token: Option<&SecretString>,
        mut form: Vec<(&'static str, String)>,
        bytes_max: usize,
    ) -> Result<Answer, Reading> {
        let url = format!("{}/api/v1/query", self.url.trim_end_matches('/'));
        // The server is told the deadline too, so that it stops working when nobody waits.
        form.push(("timeout", format!("{:.3}", self.timeout().as_secs_f64())));
        let mut request = client.post(url).form(&form);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        let limits = Limits {
            deadline: self.timeout(),
            bytes_max,
        };
        let answer = exchange::exchange(request, limits).await;
        let answer = answer.map_err(|broken| no_data(broken.cause(), broken))?;
        if token.is_some_and(|it| repeats(&answer.body, it)) {
            let detail = "the answer repeats our token, so nothing of it is shown";
            return Err(no_data(NoDataCause::Malformed, detail));
        }
        Ok(answer)
    }

    /// All of a measurement within `timeout`.
    async fn in_time<T>(
        &self,
        measurement: impl Future<Output = Result<T, Reading>>,
    ) -> Result<T, Reading> {
        let late = || {
            let detail = format!("no whole answer within {:#}", self.timeout);
            no_data(NoDataCause::Timeout, detail)
        };
        let measured = tokio::time::timeout(self.timeout(), measurement).await;
        measured.unwrap_or_else(|_| Err(late()))
    }

    /// Guards against caches and servers that evaluate in the past. Both times are the server's,
    /// so that this host's clock decides nothing.
    fn evaluated_now(&self, sample: &Sample, answered: Option<Timestamp>) -> Result<(), Reading> {
        let behind = answered.map(|it| it.as_duration().as_secs_f64() - sample.at);
        match behind {
            Some(behind) if behind > self.stale_after.as_secs_f64() => {
                let behind = behind.round();
                let detail = format!("the answer was evaluated {behind} s before it was given");
                Err(no_data(NoDataCause::Stale, detail))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// When the server says that it answered, in whole seconds.
fn date(answer: &Answer) -> Option<Timestamp> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

/// Whether `body` holds the token, so that no message of ours can.
fn repeats(body: &[u8], token: &SecretString) -> bool {
    let token = token.expose_secret().as_bytes();
    let is_it = |it: &[u8]| it.first() == token.first() && it == token;
    token.len() >= TOKEN_BYTES_TELLING && body.windows(token.len()).any(is_it)
}

#[async_trait]
impl MetricSource for Prometheus {
    async fn measure(&self, cx: &Cx, query: &str) -> Reading {
        let value = self.in_time(self.fresh(cx, query)).await;
        value.map_or_else(|reading| reading, |value| Reading::Value { value })
    }

    async fn range(&self, cx: &Cx, query: &RangeQuery) -> Result<RangeAnswer, Reading> {
        let question = (self.clone(), query.clone());
        let (source, query, http) = (self.clone(), query.clone(), cx.http.clone());
        let ask = async move { source.in_time(source.samples(&http, &query)).await };
        cx.single_flight.ask(question, ask).await
    }
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_have_safe_defaults_and_keep_their_shape() {
        let settings = document::read(&json!({ "url": "http://p:9090/x/" }), Prometheus::read);
        let settings = settings.unwrap();
        assert_eq!(settings.timeout, SignedDuration::from_secs(5));
        assert_eq!(settings.stale_after, SignedDuration::from_mins(2));
        let stored = serde_json::to_value(&settings).unwrap();
        assert_eq!(stored["staleAfter"], json!("PT2M"));
        assert_eq!(
            serde_json::from_value::<Prometheus>(stored).unwrap(),
            settings
        );
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let document = json!({
            "url": "http://p?x", "timeout": "1h", "staleAfter": "soon",
            "bearerTokenFile": 5, "caFile": "", "token": "abc"
        });
        let problems = document::read(&document, Prometheus::read).unwrap_err();
        let mut pointers: Vec<&str> = problems.iter().map(|it| it.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(
            pointers,
            [
                "/bearerTokenFile",
                "/caFile",
                "/staleAfter",
                "/timeout",
                "/token",
                "/url"
            ]
        );
    }
}
