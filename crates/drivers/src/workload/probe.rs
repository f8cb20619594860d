//! Asks an instance whether it can work: one HTTP GET or one TCP connect.
//!
//! [`Probe`] is the setting and the single question. [`Probes`] keeps asking it of addresses that
//! somebody else runs (the `static` workload); the `process` workload asks from its own tasks.
//!
//! A probe reads the status line and nothing more, over a plain connection of its own that is
//! closed at once: no TLS, no redirects, no connection pool that would hold a descriptor per
//! instance. That is all a readiness check on one's own network needs, and it keeps a probe at a
//! few system calls, so that a thousand apps at rest cost next to nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use rollout::{Revision, document::Reader};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{AppKey, Wake};

/// Most bytes that are read to find the end of a status line.
const STATUS_LINE_MAX: usize = 1024;

/// A probe that nobody asked about for so long is ended.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// How soon a first look that failed is repeated before it counts.
const SECOND_LOOK: Duration = Duration::from_millis(50);

/// How to ask an instance whether it can work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Path of a GET that must answer 200 to 399; `None`: a TCP connection must be accepted.
    pub path: Option<String>,
    /// How long an answer may take.
    pub timeout: SignedDuration,
    /// Time between two probes.
    pub interval: SignedDuration,
    /// Failures in a row after which a ready instance is ready no more. One success makes it
    /// ready again.
    pub failures: u32,
}

impl Probe {
    /// The keys that users write.
    pub const KEYS: [&'static str; 4] = ["path", "timeout", "interval", "failures"];

    /// The defaults (1 s, every second, three failures), with `path`.
    pub fn of(path: Option<&str>) -> Self {
        Self {
            path: path.map(str::to_owned),
            timeout: SignedDuration::from_secs(1),
            interval: SignedDuration::from_secs(1),
            failures: 3,
        }
    }

    /// Reads a probe whose path is `path` where none is given, noting every problem.
    pub fn read(reader: &Reader<'_>, path: Option<&str>) -> Option<Self> {
        let defaults = Self::of(path);
        let object = reader.object(&Self::KEYS)?;
        let path = object.or("path", defaults.path, |it| read_path(it).map(Some));
        let timeout = object.or("timeout", defaults.timeout, |it| short(it, 60));
        let interval = object.or("interval", defaults.interval, |it| short(it, 3600));
        let failures = object.or("failures", defaults.failures, |it| it.whole(1, 100));
        Some(Self {
            path: path?,
            timeout: timeout?,
            interval: interval?,
            failures: failures?,
        })
    }

    /// Asks `address` (`host:port`) once. `Err` is a short phrase: what came instead.
    pub async fn check(&self, address: &str) -> Result<(), String> {
        let asked = async {
            let connected = TcpStream::connect(address).await;
            let stream = connected.map_err(|it| format!("connect to {address}: {it}"))?;
            match &self.path {
                Some(path) => get(stream, address, path).await,
                None => Ok(()),
            }
        };
        match timeout(self.timeout.unsigned_abs(), asked).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "{} did not answer within {:#}",
                self.asked_of(address),
                self.timeout
            )),
        }
    }

    fn asked_of(&self, address: &str) -> String {
        match &self.path {
            Some(path) => format!("GET {path} at {address}"),
            None => format!("TCP connect to {address}"),
        }
    }
}

/// A duration of at least a millisecond and at most `max` seconds.
fn short(reader: &Reader<'_>, max: i64) -> Option<SignedDuration> {
    let duration = reader.duration()?;
    if duration < SignedDuration::from_millis(1) || duration > SignedDuration::from_secs(max) {
        return reader.problem(format!("must be from 1ms to {max}s"));
    }
    Some(duration)
}

/// A path that can stand in a request line as it is.
fn read_path(reader: &Reader<'_>) -> Option<String> {
    let path = reader.text()?;
    let fits = path.starts_with('/') && path.chars().all(|it| it.is_ascii_graphic());
    if fits && path.len() <= 512 {
        return Some(path);
    }
    reader.problem(format!("\"{path}\" is not a path such as /ready"))
}

/// Sends the GET and judges the status line.
async fn get(mut stream: TcpStream, address: &str, path: &str) -> Result<(), String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: sluice-probe\r\nConnection: close\r\n\r\n"
    );
    let failed = |it: std::io::Error| format!("GET {path} at {address}: {it}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    // On the heap and only while a probe runs: inside the future it would cost every instance at
    // rest a kilobyte.
    let mut head = Vec::with_capacity(STATUS_LINE_MAX);
    loop {
        let read = stream.read_buf(&mut head).await.map_err(failed)?;
        let whole = head.windows(2).any(|it| it == b"\r\n");
        if whole || read == 0 || head.len() >= STATUS_LINE_MAX {
            break;
        }
    }
    match status(&head) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("GET {path} at {address} answered {status}")),
        None => Err(format!(
            "GET {path} at {address} answered something that is not HTTP"
        )),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|it| *it == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|it| it.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// What a kept probe last saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The address has not answered or failed yet.
    Nothing,
    /// It works.
    Ready,
    /// It does not; why, since when.
    Failing(String, Instant),
}

type Key = (AppKey, String, Probe);

#[derive(Debug)]
struct Kept {
    seen: watch::Receiver<Seen>,
    asked: Instant,
    at_rest: bool,
}

#[derive(Debug, Default)]
struct Memory {
    kept: HashMap<Key, Kept>,
    scales: HashMap<AppKey, BTreeMap<Revision, u32>>,
}

/// Keeps probing the addresses that are asked about, and wakes the loop when one changes.
///
/// A probe that nobody asked about for a minute ends; the next one who asks waits for a fresh
/// answer, because "not known yet" must never be taken for "not ready".
#[derive(Debug)]
pub struct Probes {
    wake: Wake,
    memory: Arc<Mutex<Memory>>,
    stop: CancellationToken,
    _stops: DropGuard,
}

impl Probes {
    /// None yet; changes will wake `wake`. The probes end when this is dropped.
    pub fn new(wake: Wake) -> Arc<Self> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Arc::new(Self {
            wake,
            memory: Arc::default(),
            stop,
            _stops: guard,
        })
    }

    /// What is known of `address`; waits for the first answer when it is not probed yet, at most
    /// about twice the probe's timeout.
    pub async fn look(&self, app: &AppKey, address: &str, probe: &Probe) -> Seen {
        let mut seen = self.keep((app.clone(), address.to_owned(), probe.clone()));
        let first = seen.wait_for(|it| *it != Seen::Nothing);
        let limit = probe.timeout.unsigned_abs() * 2 + Duration::from_secs(1);
        match timeout(limit, first).await {
            Ok(Ok(seen)) => seen.clone(),
            Ok(Err(_)) | Err(_) => Seen::Nothing,
        }
    }

    /// Ends the probes of `app` until somebody asks again: nothing that they could tell would change
    /// what is done for an app at rest.
    pub(crate) fn at_rest(&self, app: &AppKey) {
        let mut memory = lock(&self.memory);
        let own = memory.kept.iter_mut().filter(|((key, _, _), _)| key == app);
        own.for_each(|(_, it)| it.at_rest = true);
    }

    /// Notes how many instances each revision of `app` was last told to have. True when that is
    /// news.
    pub(super) fn set_scales(&self, app: &AppKey, scales: BTreeMap<Revision, u32>) -> bool {
        let mut memory = lock(&self.memory);
        let news = memory.scales.get(app) != Some(&scales);
        memory.scales.insert(app.clone(), scales);
        news
    }

    /// How many instances each revision of `app` was last told to have; `None`: never told.
    pub(super) fn scales(&self, app: &AppKey) -> Option<BTreeMap<Revision, u32>> {
        lock(&self.memory).scales.get(app).cloned()
    }

    fn keep(&self, key: Key) -> watch::Receiver<Seen> {
        let mut memory = lock(&self.memory);
        if let Some(kept) = memory.kept.get_mut(&key) {
            kept.asked = Instant::now();
            kept.at_rest = false;
            return kept.seen.clone();
        }
        let (sender, seen) = watch::channel(Seen::Nothing);
        memory.kept.insert(
            key.clone(),
            Kept {
                seen: seen.clone(),
                asked: Instant::now(),
                at_rest: false,
            },
        );
        let kept = keep_probing(key, sender, Arc::clone(&self.memory), self.wake.clone());
        let stop = self.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(kept));
        seen
    }
}

fn lock(memory: &Mutex<Memory>) -> std::sync::MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Probes one address until nobody asks for it any more.
async fn keep_probing(key: Key, seen: watch::Sender<Seen>, memory: Arc<Mutex<Memory>>, wake: Wake) {
    let (app, address, probe) = &key;
    let mut failures = 0;
    let mut failing_since = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        sleep(pause).await;
        {
            let mut memory = lock(&memory);
            let kept = memory.kept.get(&key);
            if kept.is_none_or(|it| it.at_rest || it.asked.elapsed() > FORGET_AFTER) {
                memory.kept.remove(&key);
                return;
            }
        }
        let answer = probe.check(address).await;
        let first = *seen.borrow() == Seen::Nothing;
        pause = probe.interval.unsigned_abs();
        let now = match answer {
            Ok(()) => {
                failures = 0;
                Seen::Ready
            }
            Err(why) => {
                if failures == 0 {
                    failing_since = Instant::now();
                }
                failures += 1;
                let enough = if first { 2 } else { probe.failures };
                if failures < enough && *seen.borrow() != Seen::Ready {
                    pause = pause.min(SECOND_LOOK);
                }
                let was_failing = matches!(*seen.borrow(), Seen::Failing(..));
                if failures < enough && !was_failing {
                    continue;
                }
                Seen::Failing(why, failing_since)
            }
        };
        let changed = seen.send_replace(now.clone());
        if !first && std::mem::discriminant(&changed) != std::mem::discriminant(&now) {
            wake.wake(app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_status_line_counts() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503 Service Unavailable\r\nX: y\r\n", Some(503)),
            ("HTTP/1.1 204\r\n", Some(204)),
            ("SSH-2.0-OpenSSH_9.2\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(head.as_bytes()), expected, "{head:?}");
        }
    }
}
