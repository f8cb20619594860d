//! One HTTP exchange within limits: a deadline over everything, a cap on the bytes read.
//!
//! Every peer is untrusted input. What is said about a failure never holds the URL, since paths
//! and queries of hooks carry secrets, and never more of an answer than `excerpt` lets through.

use std::{error::Error, time::Duration};

use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap},
};
use rollout::gate::NoDataCause;

/// Most characters of foreign text that are kept in a message: enough for a sentence.
const EXCERPT_CHARS: usize = 200;

/// What an exchange may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time for all of it: connect, send, wait, read.
    pub deadline: Duration,
    /// Bytes of the answer's body.
    pub bytes_max: usize,
}

/// A whole answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, never compressed.
    pub body: Vec<u8>,
}

/// There is no whole answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It did not come in time.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// It is larger than was allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Nobody can be reached there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It broke off.
    #[error("the answer was cut off: {0}")]
    CutOff(String),
    /// It is compressed.
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
}

impl Broken {
    /// The same as a cause of a missing reading.
    pub(crate) fn cause(&self) -> NoDataCause {
        match self {
            Self::Timeout(_) => NoDataCause::Timeout,
            Self::TooLarge(_) => NoDataCause::TooLarge,
            Self::Unreachable(_) | Self::CutOff(_) => NoDataCause::Unavailable,
            Self::Compressed => NoDataCause::Malformed,
        }
    }
}

/// Sends `request` and reads the whole answer within `limits`.
pub async fn exchange(request: RequestBuilder, limits: Limits) -> Result<Answer, Broken> {
    let all = async {
        // A body that is never decompressed cannot be a bomb.
        let request = request.header(ACCEPT_ENCODING, "identity");
        let response = request.send().await.map_err(unsent)?;
        read(response, limits.bytes_max).await
    };
    within(limits.deadline, all).await
}

/// Sends `request` and waits for the answer's status only; its body is dropped unread.
pub(crate) async fn status(
    request: RequestBuilder,
    deadline: Duration,
) -> Result<StatusCode, Broken> {
    let send = async {
        let response = request.send().await.map_err(unsent)?;
        Ok(response.status())
    };
    within(deadline, send).await
}

async fn within<T>(
    deadline: Duration,
    all: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    tokio::time::timeout(deadline, all)
        .await
        .unwrap_or(Err(Broken::Timeout(deadline)))
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Answer, Broken> {
    let headers = response.headers().clone();
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|it| it != "identity")
    {
        return Err(Broken::Compressed);
    }
    let announced = response
        .content_length()
        .and_then(|it| usize::try_from(it).ok());
    if announced.is_some_and(|it| it > bytes_max) {
        return Err(Broken::TooLarge(bytes_max));
    }
    let mut body = Vec::new();
    loop {
        let chunk = response
            .chunk()
            .await
            .map_err(|error| Broken::CutOff(reason(error)))?;
        let Some(chunk) = chunk else { break };
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(Broken::TooLarge(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers,
        body,
    })
}

/// Why sending gave no answer.
fn unsent(error: reqwest::Error) -> Broken {
    if error.is_connect() || error.is_builder() {
        Broken::Unreachable(reason(error))
    } else {
        Broken::CutOff(reason(error))
    }
}

/// The innermost cause: `Connection refused (os error 111)` says more than the layers above it.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    excerpt(&innermost.to_string())
}

/// Foreign text made fit for a message: one line, at most 200 characters.
pub(crate) fn excerpt(text: &str) -> String {
    shortened(text, EXCERPT_CHARS)
}

/// `text` on one line, at most `chars_max` characters.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let kept = text
        .trim()
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    let mut kept: Vec<char> = kept.take(chars_max.saturating_add(1)).collect();
    if kept.len() > chars_max {
        kept.truncate(chars_max.saturating_sub(1));
        kept.push('…');
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(" a\nb\u{7}c "), "a b c");
        assert_eq!(excerpt(&"ä".repeat(200)).chars().count(), 200);
        let long = excerpt(&"ä".repeat(5000));
        assert!(long.ends_with('…') && long.chars().count() == 200, "{long}");
    }
}
