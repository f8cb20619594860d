//! Why a request, or the start, failed. The only place where errors become HTTP statuses.
//!
//! Every error body is an RFC 9457 problem ([`api::ProblemBody`]). What is the user's to put right
//! says how; what is ours says only the request's id, and is logged once with its whole chain.

mod start;

use std::{error::Error, time::Duration};

use api::{FieldProblem, PROBLEM_JSON, ProblemBody};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rollout::document::Problem;
use store::StoreError;

pub use start::StartError;

tokio::task_local! {
    /// The id of the request that is being answered by this task.
    pub(crate) static REQUEST_ID: String;
}

/// The id of the request that is being answered, when one is.
pub(crate) fn request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Why a request was refused, in the words of the answer's body; travels with the answer.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) String);

/// When to ask again after a 503: the database's own waits are about a second.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The app file has mistakes: all of them.
    #[error("the app file has {} problem(s)", .0.len())]
    Document(Vec<Problem>),
    /// One field of the request is wrong.
    #[error("{detail}")]
    Field {
        /// JSON pointer into the body, or the parameter's name after a `/`.
        pointer: String,
        /// What is wrong and how to put it right.
        detail: String,
    },
    /// The request cannot be read at all.
    #[error("{detail}")]
    Malformed {
        /// What is wrong and how to put it right.
        detail: String,
    },
    /// The order is not legal now.
    #[error("{0}")]
    Rejection(rollout::Rejection),
    /// There is no such thing, or the token may not know of it.
    #[error("there is no {what}, or this token may not see it")]
    NotFound {
        /// What was asked for, e.g. `app default/checkout`.
        what: String,
    },
    /// There is nothing at this path.
    #[error("there is no route {path}; GET /openapi.json lists them")]
    NoRoute {
        /// The path.
        path: String,
    },
    /// The path exists, the method does not.
    #[error("{path} does not answer {method}; GET /openapi.json lists what does")]
    MethodNotAllowed {
        /// The path.
        path: String,
        /// The method.
        method: String,
    },
    /// It cannot be done as things stand.
    #[error("{detail}")]
    Conflict {
        /// Why, and the way out.
        detail: String,
    },
    /// It is not at the version the request named.
    #[error("{detail}")]
    PreconditionFailed {
        /// What is the case.
        detail: String,
        /// The version it is at.
        current: i64,
    },
    /// The idempotency key was used with another request.
    #[error(
        "this Idempotency-Key was used for another request; use a new key for each new request"
    )]
    KeyReused,
    /// The first request with this idempotency key is still being worked on.
    #[error("the first request with this Idempotency-Key is still being worked on; ask again")]
    KeyInFlight,
    /// No token, or not a good one.
    #[error("{detail}")]
    Unauthenticated {
        /// What is wrong with it, as far as may be told.
        detail: String,
    },
    /// The token may not do this.
    #[error("{detail}")]
    Forbidden {
        /// What it would need.
        detail: String,
    },
    /// The body is larger than is read.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// How much is read.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("the body did not arrive within {} s", .within.as_secs())]
    TooSlow {
        /// How long is waited.
        within: Duration,
    },
    /// The body is not JSON by its own account.
    #[error("{detail}")]
    UnsupportedMedia {
        /// What is wanted.
        detail: String,
    },
    /// The token asks too often.
    #[error("too many requests; ask again after a second")]
    RateLimited,
    /// It cannot be done now; the same request may succeed later.
    #[error("{detail}")]
    Unavailable {
        /// What is missing.
        detail: String,
    },
    /// A probe's answer: this server is not to be sent requests now. Asked every few seconds, so it
    /// is not logged.
    #[error("{detail}")]
    NotReady {
        /// What is missing.
        detail: String,
    },
    /// A fault of ours.
    #[error("something went wrong on our side")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl ServeError {
    /// There is no such thing.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// It cannot be done as things stand.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::Conflict {
            detail: detail.into(),
        }
    }

    /// One field is wrong.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Field {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }

    /// A fault of ours.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::NotFound { .. } | Self::NoRoute { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Rejection(_) | Self::Conflict { .. } | Self::KeyInFlight => StatusCode::CONFLICT,
            Self::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Document(_) | Self::Field { .. } | Self::KeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } | Self::NotReady { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The kind's word, which never changes, and its title.
    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Document(_) => ("invalid-document", "The app file has mistakes"),
            Self::Field { .. } => ("invalid-field", "A field of the request is wrong"),
            Self::Malformed { .. } => ("malformed", "The request cannot be read"),
            Self::Rejection(_) => ("rejected", "The order is not legal now"),
            Self::NotFound { .. } => ("not-found", "Not found"),
            Self::NoRoute { .. } => ("no-route", "No such route"),
            Self::MethodNotAllowed { .. } => ("method-not-allowed", "Method not allowed"),
            Self::Conflict { .. } => ("conflict", "It cannot be done as things stand"),
            Self::PreconditionFailed { .. } => ("precondition-failed", "It has changed meanwhile"),
            Self::KeyReused => ("idempotency-key-reused", "Idempotency key reused"),
            Self::KeyInFlight => ("idempotency-key-in-flight", "Still being worked on"),
            Self::Unauthenticated { .. } => ("unauthenticated", "A good token is needed"),
            Self::Forbidden { .. } => ("forbidden", "This token may not do that"),
            Self::TooLarge { .. } => ("too-large", "The body is too large"),
            Self::TooSlow { .. } => ("too-slow", "The body came too slowly"),
            Self::UnsupportedMedia { .. } => ("unsupported-media-type", "The body must be JSON"),
            Self::RateLimited => ("rate-limited", "Too many requests"),
            Self::Unavailable { .. } => ("unavailable", "It cannot be done now"),
            Self::NotReady { .. } => ("not-ready", "Not ready to serve"),
            Self::Internal(_) => ("internal", "Something went wrong on our side"),
        }
    }

    fn fields(&self) -> Vec<FieldProblem> {
        match self {
            Self::Document(problems) => problems
                .iter()
                .map(|it| FieldProblem {
                    pointer: it.pointer.clone(),
                    detail: it.detail.clone(),
                })
                .collect(),
            Self::Field { pointer, detail } => vec![FieldProblem {
                pointer: pointer.clone(),
                detail: detail.clone(),
            }],
            Self::Malformed { .. }
            | Self::Rejection(_)
            | Self::NotFound { .. }
            | Self::NoRoute { .. }
            | Self::MethodNotAllowed { .. }
            | Self::Conflict { .. }
            | Self::PreconditionFailed { .. }
            | Self::KeyReused
            | Self::KeyInFlight
            | Self::Unauthenticated { .. }
            | Self::Forbidden { .. }
            | Self::TooLarge { .. }
            | Self::TooSlow { .. }
            | Self::UnsupportedMedia { .. }
            | Self::RateLimited
            | Self::Unavailable { .. }
            | Self::NotReady { .. }
            | Self::Internal(_) => Vec::new(),
        }
    }

    /// The body that says all this.
    pub(crate) fn body(&self) -> ProblemBody {
        let (word, title) = self.kind();
        let instance = request_id();
        let detail = match (self, &instance) {
            (Self::Internal(_), Some(id)) => format!("{self}; the log has more under request {id}"),
            _ => self.to_string(),
        };
        ProblemBody {
            kind: format!("urn:sluice:problem:{word}"),
            title: title.to_owned(),
            status: self.status().as_u16(),
            detail,
            instance,
            errors: self.fields(),
        }
    }
}

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        let body = self.body();
        match &self {
            Self::Internal(cause) => tracing::error!(
                request = body.instance.as_deref(),
                "answer a request: {}",
                chain(cause.as_ref())
            ),
            Self::Unavailable { detail } => {
                tracing::warn!(request = body.instance.as_deref(), "{detail}");
            }
            _ => {}
        }
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut answer = (self.status(), json).into_response();
        answer.extensions_mut().insert(Refused(body.detail));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        match self {
            Self::Unauthenticated { .. } => {
                let scheme = HeaderValue::from_static("Bearer realm=\"sluice\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            Self::RateLimited
            | Self::Unavailable { .. }
            | Self::NotReady { .. }
            | Self::KeyInFlight => {
                let after = HeaderValue::from_static(RETRY_AFTER_SECONDS);
                headers.insert(header::RETRY_AFTER, after);
            }
            // Some of the body may not be read yet, and would be taken for the next request.
            Self::TooLarge { .. } | Self::TooSlow { .. } => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::PreconditionFailed { current, .. } => {
                if let Ok(etag) = HeaderValue::from_str(&format!("\"{current}\"")) {
                    headers.insert(header::ETAG, etag);
                }
            }
            _ => {}
        }
        answer
    }
}

/// An error and its causes, outermost first.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// What the store says, told to the asker.
impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what } => Self::not_found(what),
            StoreError::VersionConflict { current } => Self::PreconditionFailed {
                detail: match current {
                    Some(version) => format!("it is at version {version} now; read it again"),
                    None => "it does not exist (any more)".to_owned(),
                },
                current: current.unwrap_or(0),
            },
            StoreError::Lost { .. } => Self::conflict("it changed meanwhile; look again"),
            StoreError::RolloutActive { id } => Self::conflict(format!(
                "rollout {id} is active; abort it or wait for its end first"
            )),
            StoreError::KeyReused => Self::KeyReused,
            StoreError::KeyInFlight => Self::KeyInFlight,
            StoreError::NameTaken => Self::conflict("the name is taken; choose another one"),
            StoreError::Duplicate => Self::conflict("this alert was acted on before"),
            StoreError::BadCursor { .. } => Self::field(
                "/cursor",
                "not a cursor of ours; take it from the page or event before",
            ),
            StoreError::Unstorable => Self::Malformed {
                detail: "a text holds a NUL character, which cannot be kept".to_owned(),
            },
            StoreError::Contention { .. } | StoreError::Unavailable { .. } => Self::Unavailable {
                detail: format!("the database cannot work on it now ({})", chain(&error)),
            },
            StoreError::CommitUnknown { .. } => Self::Unavailable {
                detail: "the database went away while committing, so it may or may not be done; \
                         look, or repeat it with the same Idempotency-Key"
                    .to_owned(),
            },
            StoreError::Unrecorded
            | StoreError::UnsafeDatabase { .. }
            | StoreError::NotMigrated { .. }
            | StoreError::Url { .. }
            | StoreError::Migrate { .. }
            | StoreError::Value { .. }
            | StoreError::Query { .. } => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_tells_nothing_but_the_request() {
        let secret = std::io::Error::other("password=hunter2");
        let error = ServeError::internal(secret);
        let body = REQUEST_ID.sync_scope("req-1".to_owned(), || error.body());
        let text = serde_json::to_string(&body).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(body.instance.as_deref(), Some("req-1"));
        assert_eq!(body.status, 500);
    }
}
