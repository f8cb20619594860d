//! One request to an API server within limits: a deadline, a cap on the bytes read, no request
//! before the server wants one again. What comes back is a value, or a typed failure.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use futures::{Stream, TryStreamExt};
use http::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT_ENCODING, RETRY_AFTER},
};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde_json::Value;
use tokio_util::{
    codec::{FramedRead, LinesCodec},
    io::StreamReader,
};

use super::locked;
use crate::DriverError;

/// How long an answer may take. A pass waits for it.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Largest answer that is read. An object has at most 1.5 MiB; pages of lists are small enough.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Longest event of a watch that is read.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Most characters of a server's message that are passed on.
const MESSAGE_CHARS: usize = 600;

/// An API server.
#[derive(Debug)]
pub(super) struct ApiServer {
    client: ClientHandle,
    /// It said: too many requests, not before then.
    not_before: Mutex<Option<Instant>>,
    requests: Mutex<BTreeMap<&'static str, u64>>,
    /// It was found that watches cannot begin with everything here.
    pub(super) only_lists: AtomicBool,
}

struct ClientHandle(Client);

impl std::fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// What became of a request that brought no answer of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is no such object, or no such kind of object.
    NotFound,
    /// There is already an object of that name.
    Exists,
    /// The object is not as the write took it to be.
    Conflict,
    /// The object was written under a newer lease.
    Fenced,
    /// The version asked for is too old to go on from.
    Expired,
    /// A right is missing.
    Forbidden,
    /// The credentials are not accepted.
    Unauthorized,
    /// The server refuses what was asked.
    Invalid,
    /// The server has too much to do.
    TooMany,
    /// It is not known whether it was done: no answer, or the server's own failure.
    Unknown,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct RequestError {
    /// What was asked, e.g. `patch deployments.apps shop/checkout`.
    pub operation: String,
    /// What became of it.
    pub failure: Failure,
    /// What the server said, with the way out where there is one.
    pub message: String,
}

impl From<RequestError> for DriverError {
    fn from(error: RequestError) -> Self {
        let transient = match error.failure {
            Failure::Conflict
            | Failure::Fenced
            | Failure::Expired
            | Failure::TooMany
            | Failure::Unknown => true,
            Failure::NotFound
            | Failure::Exists
            | Failure::Forbidden
            | Failure::Unauthorized
            | Failure::Invalid => false,
        };
        Self {
            operation: error.operation,
            detail: error.message,
            transient,
            pending: false,
        }
    }
}

impl ApiServer {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client: ClientHandle(client),
            not_before: Mutex::default(),
            requests: Mutex::default(),
            only_lists: AtomicBool::new(false),
        }
    }

    /// Requests sent so far, by verb as audit logs call them.
    pub(super) fn requests(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.requests).clone()
    }

    /// Sends a request and reads its whole answer. `operation` says what it is for.
    pub(super) async fn ask(
        &self,
        verb: &'static str,
        operation: &str,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, RequestError> {
        let answer = async {
            let response = self.send(verb, operation, request, body).await?;
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
            let read = body.collect().await.map_err(|error| {
                failed(
                    operation,
                    Failure::Unknown,
                    format!("the answer was cut off: {error}"),
                )
            })?;
            Ok(read.to_bytes().to_vec())
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await;
        answer.unwrap_or_else(|_| Err(late(operation)))
    }

    /// As [`ApiServer::ask`], read as JSON.
    pub(super) async fn ask_json(
        &self,
        verb: &'static str,
        operation: &str,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Value, RequestError> {
        let answer = self.ask(verb, operation, request, body).await?;
        serde_json::from_slice(&answer).map_err(|error| {
            failed(
                operation,
                Failure::Unknown,
                format!("the answer is not JSON: {error}"),
            )
        })
    }

    /// Opens a stream of lines; each must be waited for within a deadline of the caller's own.
    pub(super) async fn open(
        &self,
        operation: &str,
        request: http::request::Builder,
    ) -> Result<impl Stream<Item = Result<String, RequestError>> + use<>, RequestError> {
        // The library takes only the first event of a compressed watch apart.
        let request = request.header(ACCEPT_ENCODING, "identity");
        let opening = self.send("watch", operation, request, Vec::new());
        let opened = tokio::time::timeout(ANSWER_WITHIN, opening).await;
        let response = opened.unwrap_or_else(|_| Err(late(operation)))?;
        let chunks = response.into_body().into_data_stream();
        let reader = StreamReader::new(chunks.map_err(std::io::Error::other));
        let lines = LinesCodec::new_with_max_length(EVENT_BYTES_MAX);
        let operation = operation.to_owned();
        Ok(FramedRead::new(reader, lines).map_err(move |error| {
            let message = format!("the watch was cut off: {error}");
            failed(&operation, Failure::Unknown, message)
        }))
    }

    async fn send(
        &self,
        verb: &'static str,
        operation: &str,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<http::Response<Body>, RequestError> {
        if let Some(pause) = self.pause() {
            let message = format!(
                "the API server asked for fewer requests, it is asked again in {} ms",
                pause.as_millis()
            );
            return Err(failed(operation, Failure::TooMany, message));
        }
        let request: Request<Body> = request
            .body(Body::from(body))
            .map_err(|error| failed(operation, Failure::Invalid, error.to_string()))?;
        *locked(&self.requests).entry(verb).or_default() += 1;
        let response = self.client.0.send(request).await;
        let response = response.map_err(|error| {
            failed(
                operation,
                Failure::Unknown,
                format!("cannot reach the API server: {}", chain(&error)),
            )
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let until = Instant::now() + retry_after(response.headers());
            *locked(&self.not_before) = Some(until);
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map(|it| it.to_bytes().to_vec());
        Err(refused(operation, status, &body.unwrap_or_default()))
    }

    /// How long the server still wants no requests.
    fn pause(&self) -> Option<Duration> {
        let mut not_before = locked(&self.not_before);
        let left = (*not_before)?.checked_duration_since(Instant::now());
        if left.is_none() {
            *not_before = None;
        }
        left
    }
}

pub(super) fn failed(
    operation: &str,
    failure: Failure,
    message: impl Into<String>,
) -> RequestError {
    RequestError {
        operation: operation.to_owned(),
        failure,
        message: message.into(),
    }
}

fn late(operation: &str) -> RequestError {
    let message = format!(
        "no answer from the API server within {} s",
        ANSWER_WITHIN.as_secs()
    );
    failed(operation, Failure::Unknown, message)
}

/// An error with its causes: the outermost one only says "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !words.contains(&next) {
            words = format!("{words}: {next}");
        }
        cause = error.source();
    }
    words
}

/// In seconds; a date is what nobody sends.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
    let seconds = seconds.and_then(|it| it.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).min(RETRY_AFTER_MAX)
}

/// What a refusal says: a `Status` object, or text.
fn refused(operation: &str, status: StatusCode, body: &[u8]) -> RequestError {
    let read: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = |key: &str| read.get(key).and_then(Value::as_str);
    let message = match read.is_object() {
        true => said("message").unwrap_or_default().to_owned(),
        false => String::from_utf8_lossy(body).into_owned(),
    };
    let message: String = message.trim().chars().take(MESSAGE_CHARS).collect();
    let failure = failure_of(status, said("reason").unwrap_or_default());
    let message = match failure {
        // Admission policies refuse with the same status, for reasons of their own.
        Failure::Forbidden if message.contains(" cannot ") => {
            format!("{message}: give Sluice that right, in a Role of that namespace")
        }
        Failure::Forbidden => message,
        Failure::Unauthorized => {
            format!(
                "the API server does not accept the credentials ({message}): renew them in the kubeconfig"
            )
        }
        Failure::NotFound
        | Failure::Exists
        | Failure::Conflict
        | Failure::Fenced
        | Failure::Expired
        | Failure::Invalid
        | Failure::TooMany
        | Failure::Unknown
            if message.is_empty() =>
        {
            format!("the API server answers {status}")
        }
        Failure::NotFound
        | Failure::Exists
        | Failure::Conflict
        | Failure::Fenced
        | Failure::Expired
        | Failure::Invalid
        | Failure::TooMany
        | Failure::Unknown => message,
    };
    failed(operation, failure, message)
}

pub(super) fn failure_of(status: StatusCode, reason: &str) -> Failure {
    match (status, reason) {
        (StatusCode::NOT_FOUND, _) => Failure::NotFound,
        (StatusCode::CONFLICT, "AlreadyExists") => Failure::Exists,
        (StatusCode::CONFLICT, _) => Failure::Conflict,
        (StatusCode::GONE, _) => Failure::Expired,
        (StatusCode::FORBIDDEN, _) => Failure::Forbidden,
        (StatusCode::UNAUTHORIZED, _) => Failure::Unauthorized,
        (StatusCode::TOO_MANY_REQUESTS, _) => Failure::TooMany,
        (status, _) if status.is_client_error() => Failure::Invalid,
        _ => Failure::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_and_keep_the_servers_words() {
        let check = |status: u16, body: &str, failure, words: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let error = refused("patch it", status, body.as_bytes());
            assert_eq!(error.failure, failure, "{body}");
            assert!(error.to_string().contains(words), "{error}");
        };
        let forbidden = r#"{"kind":"Status","reason":"Forbidden","message":"deployments.apps \"web\" is forbidden: User \"sluice\" cannot patch resource"}"#;
        check(403, forbidden, Failure::Forbidden, "cannot patch resource");
        check(
            409,
            r#"{"reason":"AlreadyExists"}"#,
            Failure::Exists,
            "409 Conflict",
        );
        check(
            409,
            r#"{"reason":"Conflict","message":"the object has been modified"}"#,
            Failure::Conflict,
            "patch it: the object has been modified",
        );
        check(
            429,
            "Too many requests",
            Failure::TooMany,
            "Too many requests",
        );
        check(503, "", Failure::Unknown, "503");
        check(422, r#"{"message":"no"}"#, Failure::Invalid, "no");
    }

    #[test]
    fn a_server_may_ask_for_pauses_but_not_for_long_ones() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(asked("2"), Duration::from_secs(2));
        assert_eq!(asked("86400"), RETRY_AFTER_MAX);
        assert_eq!(asked("soon"), Duration::from_secs(1));
    }
}
