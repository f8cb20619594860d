//! The typed client: one method a route.

mod events;
mod policy;
mod trials;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

pub use events::Events;

use crate::*;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, and why.
    #[error("{0}")]
    Problem(Box<ProblemBody>),
    /// The server could not be reached, or the connection broke.
    #[error("reach {url}: {detail}")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The answer is not what this client understands.
    #[error("understand the answer of {url}: {detail}")]
    Malformed {
        /// The address.
        url: String,
        /// What is wrong.
        detail: String,
    },
}

impl ClientError {
    /// Whether the server asked to come again.
    fn is_busy(&self) -> bool {
        self.problem()
            .is_some_and(|it| it.status == StatusCode::SERVICE_UNAVAILABLE.as_u16())
    }

    /// The problem, when the server named one.
    pub fn problem(&self) -> Option<&ProblemBody> {
        match self {
            Self::Problem(it) => Some(it),
            Self::Unreachable { .. } | Self::Malformed { .. } => None,
        }
    }
}

/// A value with its ETag.
#[derive(Debug, Clone, PartialEq)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Whether this call made it (201).
    pub created: bool,
}

/// Speaks to one server with one token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<SecretString>,
}

type Result<T> = std::result::Result<T, ClientError>;

/// How long a call may take beside the time a long poll asks for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before a request is repeated, each time. A server that just started, or whose
/// database is busy for a moment, answers within that.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// The request once more, if doing it twice is the same as doing it once.
fn repeatable(request: &RequestBuilder) -> Option<RequestBuilder> {
    let copy = || request.try_clone();
    let built = copy()?.build().ok()?;
    let idempotent =
        built.method().is_idempotent() || built.headers().contains_key(IDEMPOTENCY_KEY);
    if idempotent { copy() } else { None }
}

/// The header of a request that may be repeated without being done twice.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

impl Client {
    /// A client for the server at `base`, e.g. `http://127.0.0.1:8080`.
    pub fn new(base: &str, token: Option<SecretString>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")));
        let base = base.trim_end_matches('/').to_owned();
        // Without https no certificates are needed, and a machine that has none must not fail.
        let http = match base.starts_with("https://") {
            true => http,
            false => http.tls_certs_only([]),
        };
        let http = http
            .build()
            .map_err(|error| unreachable_error(&base, &error))?;
        Ok(Self { http, base, token })
    }

    /// The server's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    /// Sends a request; while the server says that it cannot now (503), a request that may be
    /// repeated is.
    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let mut request = request;
        for pause in PAUSES {
            let next = repeatable(&request);
            match (self.send_once(request).await, next) {
                (Err(error), Some(next)) if error.is_busy() => {
                    tokio::time::sleep(pause).await;
                    request = next;
                }
                (answer, _) => return answer,
            }
        }
        self.send_once(request).await
    }

    async fn send_once(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request
            .send()
            .await
            .map_err(|error| unreachable_error(&self.base, &error))?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(self.refusal(answer).await),
        }
    }

    async fn refusal(&self, answer: Response) -> ClientError {
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        match serde_json::from_str::<ProblemBody>(&text) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => ClientError::Malformed {
                url: self.base.clone(),
                detail: format!("HTTP {status} without a problem body; is this a Sluice server?"),
            },
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let answer = self.send(request.timeout(TIMEOUT)).await?;
        self.parse(answer).await
    }

    async fn parse<T: DeserializeOwned>(&self, answer: Response) -> Result<T> {
        let bytes = answer
            .bytes()
            .await
            .map_err(|error| unreachable_error(&self.base, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Malformed {
            url: self.base.clone(),
            detail: error.to_string(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// Puts a document that has the version `expected` now (0: that is not there).
    fn put(&self, path: &str, document: &Value, expected: Option<i64>) -> RequestBuilder {
        let request = self.request(Method::PUT, path).json(document);
        match expected {
            Some(0) => request.header(header::IF_NONE_MATCH, "*"),
            Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
            None => request,
        }
    }

    /// Applies an app file. `expected`: the version it must have now (0: must not exist).
    pub async fn put_app(
        &self,
        project: &str,
        app: &str,
        document: &Value,
        expected: Option<i64>,
    ) -> Result<Found<AppView>> {
        let path = format!("/api/v1/apps/{project}/{app}");
        let request = self.put(&path, document, expected);
        let answer = self.send(request.timeout(TIMEOUT)).await?;
        let created = answer.status() == StatusCode::CREATED;
        Ok(Found {
            value: self.parse(answer).await?,
            created,
        })
    }

    /// One app.
    pub async fn app(&self, project: &str, app: &str) -> Result<AppView> {
        self.get(&format!("/api/v1/apps/{project}/{app}")).await
    }

    /// A page of apps.
    pub async fn apps(
        &self,
        project: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Page<AppSummary>> {
        let request = self.request(Method::GET, "/api/v1/apps");
        let request = request.query(&[("project", project), ("cursor", cursor)]);
        self.json(request).await
    }

    /// Removes an app that has no active rollout.
    pub async fn delete_app(&self, project: &str, app: &str) -> Result<()> {
        let path = format!("/api/v1/apps/{project}/{app}");
        self.send(self.request(Method::DELETE, &path).timeout(TIMEOUT))
            .await
            .map(drop)
    }

    /// Gives an app's objects back to whoever owns them, and removes the app.
    pub async fn release(
        &self,
        project: &str,
        app: &str,
        ask: &ReleaseRequest,
    ) -> Result<Released> {
        self.post(&format!("/api/v1/apps/{project}/{app}/release"), ask)
            .await
    }

    /// An app's revisions, newest first.
    pub async fn revisions(&self, project: &str, app: &str) -> Result<Page<RevisionView>> {
        self.get(&format!("/api/v1/apps/{project}/{app}/revisions"))
            .await
    }

    /// What a rollout would do.
    pub async fn plan(&self, project: &str, app: &str, ask: &PlanRequest) -> Result<PlanView> {
        self.post(&format!("/api/v1/apps/{project}/{app}/plan"), ask)
            .await
    }

    /// Asks for a rollout. The same `key` with the same request gives the same rollout.
    pub async fn deploy(
        &self,
        project: &str,
        app: &str,
        deploy: &Deploy,
        key: &str,
    ) -> Result<RolloutView> {
        let path = format!("/api/v1/apps/{project}/{app}/rollouts");
        let request = self
            .request(Method::POST, &path)
            .header(IDEMPOTENCY_KEY, key);
        self.json(request.json(deploy)).await
    }

    /// A page of rollouts, newest first.
    pub async fn rollouts(
        &self,
        project: Option<&str>,
        app: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Page<RolloutSummary>> {
        let request = self.request(Method::GET, "/api/v1/rollouts");
        self.json(request.query(&[("project", project), ("app", app), ("cursor", cursor)]))
            .await
    }

    /// One rollout.
    pub async fn rollout(&self, id: Uuid) -> Result<RolloutView> {
        self.get(&format!("/api/v1/rollouts/{id}")).await
    }

    /// Waits until the rollout has ended, needs a person, or has a newer version than `version`
    /// (when given), at most `timeout`.
    pub async fn wait(
        &self,
        id: Uuid,
        version: Option<i64>,
        timeout: Duration,
    ) -> Result<WaitAnswer> {
        let seconds = timeout.as_secs().min(60);
        let request = self.request(Method::GET, &format!("/api/v1/rollouts/{id}/wait"));
        let request = request.query(&[("timeout", Some(format!("{seconds}s")))]);
        let request = request.query(&[("version", version)]);
        let answer = self.send(request.timeout(timeout + TIMEOUT)).await?;
        self.parse(answer).await
    }

    /// A rollout's history.
    pub async fn history(&self, id: Uuid, cursor: Option<&str>) -> Result<Page<TransitionView>> {
        let request = self.request(Method::GET, &format!("/api/v1/rollouts/{id}/history"));
        self.json(request.query(&[("cursor", cursor)])).await
    }

    /// A rollout's measurements.
    pub async fn measurements(
        &self,
        id: Uuid,
        cursor: Option<&str>,
    ) -> Result<Page<MeasurementView>> {
        let request = self.request(Method::GET, &format!("/api/v1/rollouts/{id}/measurements"));
        self.json(request.query(&[("cursor", cursor)])).await
    }

    /// Why a rollout is where it is.
    pub async fn explain(&self, id: Uuid) -> Result<Explanation> {
        self.get(&format!("/api/v1/rollouts/{id}/explain")).await
    }

    /// Orders a rollout about.
    pub async fn command(&self, id: Uuid, command: &CommandRequest) -> Result<RolloutView> {
        self.post(&format!("/api/v1/rollouts/{id}/commands"), command)
            .await
    }

    /// Decides on the approval step a rollout waits at.
    pub async fn approve(&self, id: Uuid, decision: &Approve) -> Result<RolloutView> {
        self.post(&format!("/api/v1/rollouts/{id}/approvals"), decision)
            .await
    }

    /// Whether the server can serve.
    pub async fn ready(&self) -> Result<()> {
        self.send_once(self.request(Method::GET, "/ready").timeout(TIMEOUT))
            .await
            .map(drop)
    }

    /// The stream of events, from after `last` on (from now on when absent).
    pub async fn events(&self, last: Option<&str>) -> Result<Events> {
        let mut request = self.request(Method::GET, "/api/v1/events");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = self.send(request).await?;
        Ok(Events::new(self.base.clone(), answer))
    }
}

/// The innermost cause says most: `Connection refused`, not `error sending request`.
fn unreachable_error(base: &str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    ClientError::Unreachable {
        url: base.to_owned(),
        detail: cause.to_string(),
    }
}
