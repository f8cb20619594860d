//! A bounded load generator that keeps a record of every request.
//!
//! It sends at a fixed rate, whether answers come or not, as users would: a slow
//! service does not slow it down until `concurrency` requests are open. Times it
//! could not keep are counted as `late`, not made up for. Rate, number, time and
//! open requests are all limited, and so is its memory: one record a request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use reqwest::header::HOST;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http;
use crate::shop::VERSION_HEADER;

/// The highest rate taken, requests a second: one machine serves them all.
pub const RATE_MAX: u32 = 5_000;
/// The most requests taken, and so the most records kept.
pub const REQUESTS_MAX: u64 = 2_000_000;
/// The most requests open at once.
pub const CONCURRENCY_MAX: usize = 512;
/// How long one request may take before it is a transport error.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How far behind its times a worker may be before it leaves some out.
const BEHIND_MAX: Duration = Duration::from_millis(500);
/// How many transport errors are kept in words.
const ERROR_TEXTS_MAX: usize = 20;

/// How much load, and until when. The first limit reached ends it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests a second, up to [`RATE_MAX`].
    pub rate_per_second: u32,
    /// Requests in all, up to [`REQUESTS_MAX`].
    pub max_requests: u64,
    /// Time in all.
    pub max_duration: Duration,
    /// Requests open at once, and connections kept, up to [`CONCURRENCY_MAX`].
    pub concurrency: usize,
    /// The `Host` to ask for, by which a Gateway finds the route; the URL's if `None`.
    pub host: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate_per_second: 200,
            max_requests: 100_000,
            max_duration: Duration::from_secs(600),
            concurrency: 16,
            host: None,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Answered(u16),
    /// No answer: connection refused, cut, or too slow.
    Transport,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was sent.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// The version that answered (`x-shop-version`); `None` for an answer that
    /// did not come from the service, such as HAProxy's own 503.
    pub version: Option<Arc<str>>,
    /// From sending to the end of the answer.
    pub latency: Duration,
}

impl Record {
    /// Whether the user got a 5xx answer or none.
    pub fn is_error(&self) -> bool {
        match self.outcome {
            Outcome::Answered(status) => status >= 500,
            Outcome::Transport => true,
        }
    }
}

/// Requests and errors of one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered.
    pub requests: u64,
    /// Of these, with a 5xx status.
    pub errors: u64,
}

/// Counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What each version answered.
    pub versions: BTreeMap<String, Counts>,
    /// Answers without a version: not the service's own.
    pub unversioned: Counts,
    /// Requests without an answer.
    pub transport_errors: u64,
    /// Requests that have ended.
    pub total: u64,
    /// Times to send that were left out, because all connections were busy.
    pub late: u64,
}

impl Snapshot {
    /// Requests that ended badly for the user: 5xx or no answer.
    pub fn errors(&self) -> u64 {
        let answered: u64 = self.versions.values().map(|counts| counts.errors).sum();
        answered + self.unversioned.errors + self.transport_errors
    }
}

/// All that was recorded.
#[derive(Debug, Clone)]
pub struct Log {
    /// Every request, in the order in which they ended.
    pub records: Vec<Record>,
    /// The counters at the end.
    pub totals: Snapshot,
    /// The first transport errors in words.
    pub transport_errors: Vec<String>,
}

impl Log {
    /// The records sent in a span of time.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = &Record> {
        self.records
            .iter()
            .filter(move |record| record.at >= from && record.at < to)
    }

    /// When the last request that this version answered was sent.
    pub fn last_of(&self, version: &str) -> Option<Timestamp> {
        self.records
            .iter()
            .filter(|record| record.version.as_deref() == Some(version))
            .map(|record| record.at)
            .max()
    }

    /// The latency that this share (0 to 1) of the answered requests kept below.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        let mut latencies: Vec<_> = self
            .records
            .iter()
            .filter(|record| record.outcome != Outcome::Transport)
            .map(|record| record.latency)
            .collect();
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        // Within 0..=last by the clamp, so the cast loses nothing that matters.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let at = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        latencies.get(at).copied()
    }
}

#[derive(Debug, Default)]
struct Recorded {
    records: Vec<Record>,
    totals: Snapshot,
    transport_errors: Vec<String>,
    /// Each version's name once; records point to it.
    names: BTreeSet<Arc<str>>,
}

/// What the workers share.
#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    url: String,
    began: Instant,
    options: Options,
    /// The number of the next time to send.
    next: AtomicU64,
    recorded: Mutex<Recorded>,
}

/// A running load. Dropping it ends it and cuts open requests.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Begins to send GET requests to `url`.
    ///
    /// # Errors
    /// When a limit is above its maximum or nothing could be sent.
    pub fn start(url: &str, options: Options) -> anyhow::Result<Self> {
        ensure!(
            (1..=RATE_MAX).contains(&options.rate_per_second),
            "start load: the rate must be 1 to {RATE_MAX}"
        );
        ensure!(
            options.max_requests <= REQUESTS_MAX,
            "start load: at most {REQUESTS_MAX} requests"
        );
        ensure!(
            (1..=CONCURRENCY_MAX).contains(&options.concurrency),
            "start load: the concurrency must be 1 to {CONCURRENCY_MAX}"
        );
        reqwest::Url::parse(url).with_context(|| format!("start load: read URL {url}"))?;
        let shared = Arc::new(Shared {
            client: http::client(REQUEST_WITHIN, options.concurrency)?,
            url: url.to_owned(),
            began: Instant::now(),
            next: AtomicU64::new(0),
            recorded: Mutex::default(),
            options,
        });
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for _ in 0..shared.options.concurrency {
            workers.spawn(work(Arc::clone(&shared), stopped.clone()));
        }
        Ok(Self {
            shared,
            workers,
            stop,
        })
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.recorded().totals.clone()
    }

    /// Whether a limit has ended it.
    pub fn is_finished(&mut self) -> bool {
        while self.workers.try_join_next().is_some() {}
        self.workers.is_empty()
    }

    /// Waits until a limit ends it.
    pub async fn finish(mut self) -> Log {
        while self.workers.join_next().await.is_some() {}
        self.shared.take()
    }

    /// Sends no more, waits for open requests (10 s at most) and returns the record.
    pub async fn stop(self) -> Log {
        self.stop.send_replace(true);
        self.finish().await
    }
}

impl Shared {
    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Log {
        let recorded = std::mem::take(&mut *self.recorded());
        Log {
            records: recorded.records,
            totals: recorded.totals,
            transport_errors: recorded.transport_errors,
        }
    }

    /// When the request of this number is due.
    fn due(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.options.rate_per_second);
        self.began + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
    }
}

/// One connection's worth of requests: takes the next time to send, waits for
/// it, sends, records.
async fn work(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let ends = shared.began + shared.options.max_duration;
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let due = shared.due(number);
        if number >= shared.options.max_requests || due >= ends {
            return;
        }
        if due.elapsed() > BEHIND_MAX {
            shared.recorded().totals.late += 1;
            continue;
        }
        tokio::select! {
            biased;
            // An error means that the load was dropped, which ends it too.
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep_until(due.into()) => {}
        }
        request(&shared).await;
    }
}

async fn request(shared: &Shared) {
    let (at, began) = (Timestamp::now(), Instant::now());
    let answer = exchange(shared).await;
    let latency = began.elapsed();
    let mut recorded = shared.recorded();
    let recorded = &mut *recorded;
    recorded.totals.total += 1;
    let (outcome, version) = match answer {
        Ok((status, version)) => {
            let version = version.map(|name| recorded.intern(&name));
            recorded.count(status, version.as_deref());
            (Outcome::Answered(status), version)
        }
        Err(error) => {
            recorded.totals.transport_errors += 1;
            if recorded.transport_errors.len() < ERROR_TEXTS_MAX {
                recorded
                    .transport_errors
                    .push(format!("{at}: {:#}", anyhow::Error::new(error)));
            }
            (Outcome::Transport, None)
        }
    };
    recorded.records.push(Record {
        at,
        outcome,
        version,
        latency,
    });
}

impl Recorded {
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(name);
        self.names.insert(Arc::clone(&name));
        self.totals
            .versions
            .insert(name.to_string(), Counts::default());
        name
    }

    fn count(&mut self, status: u16, version: Option<&str>) {
        let counts = match version {
            Some(version) => self.totals.versions.get_mut(version),
            None => Some(&mut self.totals.unversioned),
        };
        if let Some(counts) = counts {
            counts.requests += 1;
            counts.errors += u64::from(status >= 500);
        }
    }
}

/// Sends one request and reads its answer to the end, so that the connection
/// can be used again.
async fn exchange(shared: &Shared) -> Result<(u16, Option<String>), reqwest::Error> {
    let mut request = shared.client.get(&shared.url);
    if let Some(host) = &shared.options.host {
        request = request.header(HOST, host);
    }
    let mut answer = request.send().await?;
    let status = answer.status().as_u16();
    let version = answer
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    while answer.chunk().await?.is_some() {}
    Ok((status, version))
}
