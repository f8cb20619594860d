//! The API server's own account of who asked it for what: its audit log.
//!
//! It tells a test what a client really did, by the client's user and by its
//! `User-Agent`: how many requests, how many of them writes, and to which fields
//! of which objects they were meant (`status`, `scale`).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::Deserialize;

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the server got it.
    pub at: Timestamp,
    /// When it was answered; for a watch, when it began or ended.
    pub answered_at: Timestamp,
    /// Whether this is the beginning of a watch. Its end is another entry.
    pub begins: bool,
    /// What the client calls itself.
    pub user_agent: String,
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, ….
    pub verb: String,
    /// The group of the resource; empty for the core group.
    pub group: String,
    /// The resource, e.g. `deployments`; empty for paths like `/readyz`.
    pub resource: String,
    /// The part of it, e.g. `status`; empty for the object itself.
    pub subresource: String,
    /// The namespace; empty where there is none.
    pub namespace: String,
    /// The object's name; empty for a collection.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

impl Entry {
    /// Whether it asked for a change, granted or not.
    pub fn is_write(&self) -> bool {
        const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
        WRITES.contains(&self.verb.as_str())
    }
}

/// A line of the log, as far as it is of interest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    user: Account,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Answer,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Debug, Default, Deserialize)]
struct Account {
    #[serde(default)]
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    code: u16,
}

impl From<Line> for Entry {
    fn from(line: Line) -> Self {
        Self {
            at: line.request_received_timestamp,
            answered_at: line.stage_timestamp,
            begins: line.stage == "ResponseStarted",
            user_agent: line.user_agent,
            user: line.user.username,
            verb: line.verb,
            group: line.object_ref.api_group,
            resource: line.object_ref.resource,
            subresource: line.object_ref.subresource,
            namespace: line.object_ref.namespace,
            name: line.object_ref.name,
            code: line.response_status.code,
        }
    }
}

/// A reader of the log that goes on where it stopped.
///
/// An entry is written after its answer is out: it may be missing for a moment
/// when the client has gone on already.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    position: u64,
}

impl AuditLog {
    /// A reader from the log's beginning.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            position: 0,
        }
    }

    /// The entries since the last read. A line that is not finished is left for
    /// the next one.
    ///
    /// # Errors
    /// When the log cannot be read or holds something else.
    pub fn read(&mut self) -> anyhow::Result<Vec<Entry>> {
        let context = || format!("read {}", self.path.display());
        let mut text = String::new();
        let mut file = File::open(&self.path).with_context(context)?;
        file.seek(SeekFrom::Start(self.position))
            .with_context(context)?;
        file.read_to_string(&mut text).with_context(context)?;
        let finished = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text.get(..finished).unwrap_or_default();
        let entries = lines.lines().map(parse).collect::<anyhow::Result<_>>()?;
        self.position += finished as u64;
        Ok(entries)
    }
}

fn parse(line: &str) -> anyhow::Result<Entry> {
    serde_json::from_str::<Line>(line)
        .map(Entry::from)
        .with_context(|| format!("read audit entry `{line}`"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LINE: &str = concat!(
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","#,
        r#""stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/web/scale","#,
        r#""verb":"patch","user":{"username":"sluice","uid":"1"},"userAgent":"sluice/1","#,
        r#""objectRef":{"resource":"deployments","namespace":"a","name":"web","apiGroup":"apps","#,
        r#""apiVersion":"v1","subresource":"scale"},"responseStatus":{"metadata":{},"code":409},"#,
        r#""requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:05.700000Z"}"#
    );

    #[test]
    fn an_entry_says_who_asked_for_what_and_how_it_ended() {
        let entry = parse(LINE).unwrap();
        assert!(entry.is_write() && !entry.begins);
        assert_eq!((entry.user.as_str(), entry.code), ("sluice", 409));
        assert_eq!(
            (entry.resource.as_str(), entry.subresource.as_str()),
            ("deployments", "scale")
        );
        assert_eq!((entry.answered_at - entry.at).get_milliseconds(), 21);
    }

    #[test]
    fn a_line_that_is_not_finished_waits_for_its_end() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut log = AuditLog::new(file.path());
        let (begin, end) = LINE.split_at(100);
        write!(file, "{LINE}\n{begin}").unwrap();
        assert_eq!(log.read().unwrap().len(), 1);
        assert_eq!(log.read().unwrap().len(), 0);
        writeln!(file, "{end}").unwrap();
        assert_eq!(log.read().unwrap().len(), 1);
    }
}
