//! Plain HTTP to the API server, as one user under one name.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use serde_json::Value;

use crate::http;

/// How long an answer may take. A frozen server shows as an error after this.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// A request was not answered with a success.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error("{method} {path}")]
    Send {
        /// The method.
        method: Method,
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server's answer is a refusal.
    #[error("{method} {path}: {status} {reason}: {message}")]
    Refused {
        /// The method.
        method: Method,
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The server's word for it, e.g. `Conflict`.
        reason: String,
        /// The server's sentence.
        message: String,
    },
}

impl ApiError {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Send { .. } => None,
            Self::Refused { status, .. } => Some(*status),
        }
    }
}

/// How a patch is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7396: what is named is replaced, `null` removes.
    Merge,
    /// RFC 6902: a list of operations.
    Json,
    /// Lists are merged by their items' keys.
    Strategic,
    /// Server-side apply: what the field manager wants, and nothing else. The path names it
    /// (`?fieldManager=`).
    Apply,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            // JSON is YAML.
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// One client of the API server. It belongs to the runtime that it is used in:
/// a test makes its own.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    pub(super) fn new(
        url: &str,
        authority: &Path,
        token: &str,
        agent: &str,
        timeout: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let certificates =
            std::fs::read(authority).with_context(|| format!("read {}", authority.display()))?;
        Ok(Self {
            client: http::trusting(&certificates, agent, timeout)?,
            url: url.to_owned(),
            token: token.to_owned(),
        })
    }

    /// Reads what is at this path, e.g. `/api/v1/nodes`.
    ///
    /// # Errors
    /// Anything but a success.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Method::GET, path, None).await
    }

    /// Makes an object in the collection at this path.
    ///
    /// # Errors
    /// Anything but a success.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let body = ("application/json", object);
        self.send(Method::POST, path, Some(body)).await
    }

    /// Replaces the object at this path.
    ///
    /// # Errors
    /// Anything but a success.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        let body = ("application/json", object);
        self.send(Method::PUT, path, Some(body)).await
    }

    /// Changes the object at this path.
    ///
    /// # Errors
    /// Anything but a success.
    pub async fn patch(&self, path: &str, how: Patch, change: &Value) -> Result<Value, ApiError> {
        let body = (how.content_type(), change);
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Deletes the object at this path.
    ///
    /// # Errors
    /// Anything but a success.
    pub async fn delete(&self, path: &str) -> Result<Value, ApiError> {
        self.send(Method::DELETE, path, None).await
    }

    /// Asks for something and leaves the answer to the caller: for a watch.
    pub(super) async fn open(&self, path: &str) -> Result<reqwest::Response, ApiError> {
        let answer = self.request(Method::GET, path).send().await;
        let answer = answer.map_err(|source| send_error(&Method::GET, path, source))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(Method::GET, path, answer).await)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, ApiError> {
        let mut request = self.request(method.clone(), path);
        if let Some((content_type, value)) = body {
            request = request
                .header("content-type", content_type)
                .body(value.to_string());
        }
        let answer = request.send().await;
        let answer = answer.map_err(|source| send_error(&method, path, source))?;
        if !answer.status().is_success() {
            return Err(refusal(method, path, answer).await);
        }
        let value = answer.json().await;
        value.map_err(|source| send_error(&method, path, source))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .header("accept", "application/json")
    }
}

fn send_error(method: &Method, path: &str, source: reqwest::Error) -> ApiError {
    ApiError::Send {
        method: method.clone(),
        path: path.to_owned(),
        source,
    }
}

async fn refusal(method: Method, path: &str, answer: reqwest::Response) -> ApiError {
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap_or_default();
    // The server's own refusals are Status objects; a few paths answer plain text.
    let said: Value = serde_json::from_str(&text).unwrap_or_default();
    let word = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    ApiError::Refused {
        method,
        path: path.to_owned(),
        status,
        reason: word("reason").unwrap_or_default(),
        message: word("message").unwrap_or(text),
    }
}
