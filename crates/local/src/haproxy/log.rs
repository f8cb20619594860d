//! HAProxy's request log: one JSON line a request in its output file, as the
//! `log-format` of `deploy/haproxy/haproxy.cfg` writes it, among reports in
//! plain text. Reading is one pass over a buffer, without a value tree.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// What HAProxy calls the server of a request that it answered by itself.
pub const NO_SERVER: &str = "<NOSRV>";

/// One request as HAProxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When its answer ended.
    pub at: Timestamp,
    /// From its first byte to the end of its answer.
    pub took: Duration,
    /// The backend it went to.
    pub backend: String,
    /// The server, or [`NO_SERVER`].
    pub server: String,
    /// The status the user got; -1 if the user left before.
    pub status: i32,
    /// Why and when it ended, e.g. `--` (normal), `SC` (no connection to a server).
    pub termination: String,
    /// How often the connection was tried again; with a `+`, on another server.
    pub retries: String,
}

impl Request {
    /// When its first byte arrived.
    pub fn began(&self) -> Timestamp {
        SignedDuration::try_from(self.took)
            .ok()
            .and_then(|took| self.at.checked_sub(took).ok())
            .unwrap_or(self.at)
    }

    /// Whether the user got a 5xx answer.
    pub fn is_error(&self) -> bool {
        self.status >= 500
    }

    /// Whether the user got a 5xx answer that no server gave: there was none, or
    /// HAProxy ended the request abnormally.
    pub fn is_own_error(&self) -> bool {
        self.is_error() && (self.server == NO_SERVER || self.termination != "--")
    }

    /// Whether the user left before the answer.
    pub fn is_aborted(&self) -> bool {
        self.status < 0 || self.termination.starts_with('C')
    }
}

/// Requests and errors of one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that ended.
    pub requests: u64,
    /// Of these, answered with a 5xx by the server itself.
    pub errors: u64,
    /// Of these, answered with a 5xx by HAProxy.
    pub own_errors: u64,
    /// Of these, left by the user before the answer.
    pub aborted: u64,
}

/// Sums requests by server. The sum of `own_errors` over all servers is what
/// HAProxy answered with an error by itself.
pub fn tally<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeMap<String, Tally> {
    let mut tallies = BTreeMap::<String, Tally>::new();
    for request in requests {
        // One lookup a request without a new name: there are few servers.
        if !tallies.contains_key(&request.server) {
            tallies.insert(request.server.clone(), Tally::default());
        }
        if let Some(tally) = tallies.get_mut(&request.server) {
            tally.requests += 1;
            tally.own_errors += u64::from(request.is_own_error());
            tally.errors += u64::from(request.is_error() && !request.is_own_error());
            tally.aborted += u64::from(request.is_aborted());
        }
    }
    tallies
}

/// Reads the log from where it last stopped.
#[derive(Debug, Clone)]
pub struct RequestLog {
    path: PathBuf,
    offset: u64,
}

impl RequestLog {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            offset: 0,
        }
    }

    /// Hands over each request that was logged since the last call. A line that
    /// is still being written is left for the next call.
    ///
    /// # Errors
    /// When the file cannot be read or a request's line has another form.
    pub fn read(&mut self, mut each: impl FnMut(Request)) -> anyhow::Result<()> {
        let context = || format!("read HAProxy's log {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.offset))
            .with_context(context)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::with_capacity(256);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).with_context(context)?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            self.offset += u64::try_from(length).unwrap_or_default();
            if line.first() == Some(&b'{') {
                each(parse(&line).with_context(|| {
                    format!("read HAProxy's log line {}", String::from_utf8_lossy(&line))
                })?);
            }
        }
    }
}

/// One line, borrowed from the buffer.
#[derive(Deserialize)]
struct Line<'a> {
    at_us: i64,
    ms: i64,
    #[serde(borrow)]
    backend: Cow<'a, str>,
    #[serde(borrow)]
    server: Cow<'a, str>,
    status: i32,
    #[serde(borrow)]
    term: Cow<'a, str>,
    #[serde(borrow)]
    retries: Cow<'a, str>,
}

fn parse(line: &[u8]) -> anyhow::Result<Request> {
    let line: Line<'_> = serde_json::from_slice(line)?;
    Ok(Request {
        at: Timestamp::from_microsecond(line.at_us)?,
        // -1 when the user left before sending a request.
        took: Duration::from_millis(u64::try_from(line.ms).unwrap_or(0)),
        backend: line.backend.into_owned(),
        server: line.server.into_owned(),
        status: line.status,
        termination: line.term.into_owned(),
        retries: line.retries.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(server: &str, status: i32, term: &str) -> String {
        format!(
            "{{\"at_us\":1700000000250000,\"ms\":250,\"backend\":\"shop\",\"server\":\"{server}\",\
             \"status\":{status},\"term\":\"{term}\",\"retries\":\"0\"}}\n"
        )
    }

    fn requests(lines: &[String]) -> Vec<Request> {
        lines
            .iter()
            .map(|line| parse(line.as_bytes()).unwrap())
            .collect()
    }

    #[test]
    fn errors_of_a_server_and_of_haproxy_are_told_apart() {
        let all = requests(&[
            line("r1-1", 200, "--"),
            line("r1-1", 500, "--"),
            line("r1-1", 504, "sH"),
            line("<NOSRV>", 503, "SC"),
            line("r1-1", -1, "CH"),
        ]);
        let tallies = tally(&all);
        assert_eq!(
            tallies["r1-1"],
            Tally {
                requests: 4,
                errors: 1,
                own_errors: 1,
                aborted: 1
            }
        );
        assert_eq!(
            tallies[NO_SERVER],
            Tally {
                requests: 1,
                errors: 0,
                own_errors: 1,
                aborted: 0
            }
        );
        assert_eq!(all[0].began().as_second(), 1_700_000_000);
    }

    #[test]
    fn only_whole_lines_are_read_and_each_once() {
        let mut file = std::env::temp_dir();
        file.push(format!("haproxy-log-{}", std::process::id()));
        let mut output = File::create(&file).unwrap();
        let mut log = RequestLog::new(&file);
        let count = |log: &mut RequestLog| {
            let mut count = 0;
            log.read(|_| count += 1).unwrap();
            count
        };
        write!(
            output,
            "[NOTICE] started\n{}{}",
            line("a", 200, "--"),
            &line("a", 200, "--")[..20]
        )
        .unwrap();
        assert_eq!(count(&mut log), 1);
        write!(
            output,
            "{}{}",
            &line("a", 200, "--")[20..],
            line("b", 200, "--")
        )
        .unwrap();
        assert_eq!(count(&mut log), 2);
        assert_eq!(count(&mut log), 0);
        std::fs::remove_file(file).unwrap();
    }
}
