//! A proxy in front of the API server that makes its bad days: it refuses requests, does not say what
//! became of them, or takes its time, as it is told. Everything else goes through, as it is.
//!
//! Clients speak plain HTTP to it, with tokens of their own; it has a kubeconfig for one of them.

use std::fmt::{self, Debug, Formatter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::{self, Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::ControlPlane;
use super::users;
use crate::http;

/// Longest body that is passed on, in bytes; objects have at most 1.5 MiB.
const BODY_MAX: usize = 4 << 20;
/// What says how a connection is used, not what is sent over it.
const HOP_BY_HOP: [header::HeaderName; 4] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// What becomes of a request instead of what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 409: somebody else has written in between.
    Conflict,
    /// 410: the version asked for is too old.
    Expired,
    /// 429, with the pause that clients are asked to make.
    TooMany {
        /// Seconds.
        retry_after: u64,
    },
    /// 500, and nothing was done.
    Failed,
    /// It was done, but the answer is 500.
    Unsaid,
    /// It is passed on after this time.
    Late(Duration),
}

/// A request that has come in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// How.
    pub method: Method,
    /// What for: path and query.
    pub target: String,
    /// What became of it, if not what it asked for.
    pub fault: Option<Fault>,
}

impl Asked {
    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }
}

/// Says what is to become of a request. Gets it, and those before it.
type Faults = dyn Fn(&Asked, &[Asked]) -> Option<Fault> + Send + Sync;

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub struct FaultProxy {
    door: Arc<Door>,
    kubeconfig: PathBuf,
    // Held for its effect: the task ends with it.
    _tasks: JoinSet<()>,
}

struct Door {
    client: reqwest::Client,
    url: String,
    asked: Mutex<Vec<Asked>>,
    faults: Mutex<Arc<Faults>>,
}

impl Debug for Door {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl FaultProxy {
    /// Starts it, without faults. `directory` gets a kubeconfig by which `user` comes through it.
    ///
    /// # Errors
    /// When there is no such user, or it cannot listen.
    pub async fn start(plane: &ControlPlane, user: &str, directory: &Path) -> anyhow::Result<Self> {
        let token = plane.token(user)?;
        let certificates = std::fs::read(plane.authority()).context("read the certificate")?;
        let door = Arc::new(Door {
            client: http::trusting(&certificates, "fault-proxy", None)?,
            url: plane.url(),
            asked: Mutex::default(),
            faults: Mutex::new(Arc::new(|_: &Asked, _: &[Asked]| None)),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let address = listener.local_addr().context("listen")?;
        let kubeconfig = directory.join("faults.kubeconfig");
        let url = format!("http://{address}");
        users::write_kubeconfig(&kubeconfig, &url, &plane.authority(), token)?;
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&door));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::warn!(%error, "the fault proxy ends");
            }
        });
        Ok(Self {
            door,
            kubeconfig,
            _tasks: tasks,
        })
    }

    /// The kubeconfig by which its user comes through it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// From now on `faults` says what becomes of a request; it gets the request and those since this
    /// call that came before it.
    pub fn fail(&self, faults: impl Fn(&Asked, &[Asked]) -> Option<Fault> + Send + Sync + 'static) {
        let mut now = locked(&self.door.faults);
        locked(&self.door.asked).clear();
        *now = Arc::new(faults);
    }

    /// The requests since the last [`FaultProxy::fail`].
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.door.asked).clone()
    }
}

impl Door {
    /// Notes a request, with what is to become of it.
    fn note(&self, method: &Method, target: &str) -> Option<Fault> {
        let faults = locked(&self.faults);
        let mut before = locked(&self.asked);
        let mut asked = Asked {
            at: Instant::now(),
            method: method.clone(),
            target: target.to_owned(),
            fault: None,
        };
        asked.fault = faults(&asked, &before);
        let fault = asked.fault;
        before.push(asked);
        fault
    }

    async fn pass_on(&self, target: &str, request: Parts, body: Bytes) -> Response {
        let url = format!("{}{target}", self.url);
        let sent = self
            .client
            .request(request.method, url)
            .headers(end_to_end(request.headers))
            .body(body)
            .send();
        match sent.await {
            Ok(answer) => {
                let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
                let body = Body::from_stream(answer.bytes_stream());
                (status, headers, body).into_response()
            }
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }
}

async fn answer(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (request, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, BODY_MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let target = request.uri.path_and_query();
    let target = target.map_or_else(String::new, ToString::to_string);
    match door.note(&request.method, &target) {
        None => door.pass_on(&target, request, body).await,
        Some(Fault::Late(by)) => {
            tokio::time::sleep(by).await;
            door.pass_on(&target, request, body).await
        }
        Some(Fault::Unsaid) => {
            drop(door.pass_on(&target, request, body).await);
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
        Some(Fault::Failed) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        Some(Fault::Conflict) => refusal(StatusCode::CONFLICT, "Conflict"),
        Some(Fault::Expired) => refusal(StatusCode::GONE, "Expired"),
        Some(Fault::TooMany { retry_after }) => {
            let mut answer = refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
            let after = HeaderValue::from(retry_after);
            answer.headers_mut().insert(header::RETRY_AFTER, after);
            answer
        }
    }
}

/// As the API server says no.
fn refusal(status: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "one of its bad days", "reason": reason, "code": status.as_u16(),
    });
    (status, axum::Json(body)).into_response()
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
