//! The sample service that the demo and the tests roll out: a shop that can be
//! told to be slow, to answer errors, or to die.
//!
//! `GET /` and `/checkout` are its work, with the version in a header.
//! `/startup`, `/ready` and `/health` are its probes, `/metrics` its numbers. On
//! SIGTERM its probes answer 503, so that routers look elsewhere, while it goes
//! on serving for a grace period and then finishes what is open.
//!
//! Errors are counted out, not drawn by chance: a share of 0.2 makes every fifth
//! request fail, in every run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

mod metrics;

use metrics::Metrics;

/// The header that says which version answered.
pub const VERSION_HEADER: &str = "x-shop-version";
/// How long open requests may take after the grace period.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// What this instance is and how it misbehaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address it listens on; loopback, except in a pod.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// The app's name, a label of its metrics.
    pub app: String,
    /// Its version: a label, and the header of every answer.
    pub version: String,
    /// The share of requests answered with 500, 0 to 1.
    pub error_ratio: f64,
    /// Requests fail by chance instead of in turn, so that no two runs are alike.
    pub random_errors: bool,
    /// While this file exists, every request is answered with 500.
    pub fail_while: Option<PathBuf>,
    /// How long each request takes.
    pub latency: Duration,
    /// How long after its start it is neither started nor ready.
    pub startup_delay: Duration,
    /// Never becomes ready.
    pub never_ready: bool,
    /// After this time, every request is answered with 500; probes stay good.
    pub fail_after: Option<Duration>,
    /// After this time, the process ends with an error; zero: at once.
    pub die_after: Option<Duration>,
    /// How long it goes on serving after SIGTERM.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            app: "shop".to_owned(),
            version: "v1".to_owned(),
            error_ratio: 0.0,
            random_errors: false,
            fail_while: None,
            latency: Duration::ZERO,
            startup_delay: Duration::ZERO,
            never_ready: false,
            fail_after: None,
            die_after: None,
            grace: Duration::from_secs(2),
        }
    }
}

struct Shop {
    options: Options,
    version: HeaderValue,
    began: Instant,
    draining: AtomicBool,
    metrics: Metrics,
}

/// Serves until SIGTERM or SIGINT and the grace period after it.
///
/// # Errors
/// When the port is taken, an option is out of range, or its time to die came.
pub async fn serve(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let asked = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_until(options, asked).await
}

/// [`serve`] until `asked` instead of a signal, for use within a process.
///
/// # Errors
/// As [`serve`].
pub async fn serve_until(
    options: Options,
    asked: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    ensure!(
        (0.0..=1.0).contains(&options.error_ratio),
        "start shop: the error ratio must be 0 to 1, not {}",
        options.error_ratio
    );
    let version = HeaderValue::from_str(&options.version).with_context(|| {
        format!(
            "start shop: version {:?} does not fit into a header",
            options.version
        )
    })?;
    let dies = options.die_after;
    ensure!(
        dies != Some(Duration::ZERO),
        "start shop: told to die at once"
    );
    let address = SocketAddr::from((options.address, options.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))?;
    // Small answers must not wait for the peer's acknowledgement. A failure
    // costs speed only.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let shop = Arc::new(Shop {
        metrics: Metrics::new(&options.app, &options.version),
        began: Instant::now(),
        draining: AtomicBool::new(false),
        version,
        options,
    });
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server =
        axum::serve(listener, routes(Arc::clone(&shop))).with_graceful_shutdown(async move {
            // Dropped counts as asked.
            ended.await.unwrap_or_default();
        });
    let server = tokio::spawn(server.into_future());
    tokio::select! {
        () = asked => {}
        () = die(dies) => anyhow::bail!("shop {} died, as it was told to", shop.options.version),
    }
    shop.draining.store(true, Ordering::Relaxed);
    tokio::time::sleep(shop.options.grace).await;
    drop(end);
    match tokio::time::timeout(FINISH_WITHIN, server).await {
        Ok(served) => served.context("serve")?.context("serve"),
        Err(_) => anyhow::bail!("stop shop: requests still open after {FINISH_WITHIN:?}"),
    }
}

async fn die(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

fn routes(shop: Arc<Shop>) -> Router {
    let work = Router::new()
        .route("/", get(answer))
        .route("/checkout", get(answer))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shop), measured));
    Router::new()
        .merge(work)
        .route("/startup", get(startup))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(numbers))
        .layer(middleware::from_fn_with_state(Arc::clone(&shop), signed))
        .with_state(shop)
}

async fn answer(State(shop): State<Arc<Shop>>) -> Response {
    if !shop.options.latency.is_zero() {
        tokio::time::sleep(shop.options.latency).await;
    }
    let failing = |options: &Options| {
        let after = options.fail_after;
        after.is_some_and(|after| shop.began.elapsed() >= after)
            || options.fail_while.as_ref().is_some_and(|it| it.exists())
    };
    let unlucky = match shop.options.random_errors {
        true => rand::random_bool(shop.options.error_ratio),
        false => shop.metrics.is_turn(shop.options.error_ratio),
    };
    if unlucky || failing(&shop.options) {
        let body = json!({ "version": shop.options.version, "error": "the till is jammed" });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    }
    Json(json!({ "version": shop.options.version, "status": "sold" })).into_response()
}

/// Counts and times the work, not the probes.
async fn measured(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    shop.metrics.record(response.status(), began.elapsed());
    response
}

/// Puts the version on every answer. While draining, it also asks the peer to
/// close: a connection kept open would be cut when the process ends, perhaps
/// under a request just sent.
async fn signed(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(
        HeaderName::from_static(VERSION_HEADER),
        shop.version.clone(),
    );
    if shop.draining.load(Ordering::Relaxed) {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Shop {
    fn started(&self) -> bool {
        self.began.elapsed() >= self.options.startup_delay
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

fn probe(good: bool, otherwise: &'static str) -> Response {
    if good {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response()
    }
}

async fn startup(State(shop): State<Arc<Shop>>) -> Response {
    probe(shop.started(), "starting\n")
}

async fn ready(State(shop): State<Arc<Shop>>) -> Response {
    let good = shop.started() && !shop.options.never_ready && !shop.draining();
    probe(
        good,
        if shop.draining() {
            "draining\n"
        } else {
            "not ready\n"
        },
    )
}

async fn health(State(shop): State<Arc<Shop>>) -> Response {
    probe(!shop.draining(), "draining\n")
}

async fn numbers(State(shop): State<Arc<Shop>>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        shop.metrics.text(),
    )
        .into_response()
}
