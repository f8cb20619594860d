//! The table at the end, from HAProxy's own log and the load generator.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use jiff::{SignedDuration, Timestamp};
use local::haproxy::{NO_SERVER, Request};

use super::{
    narrator::Narrator,
    stage::Stage,
    story::{Chapter, Ending},
};

#[derive(Debug, Default, Clone, Copy)]
struct Served {
    requests: u64,
    errors: u64,
}

struct Row {
    rollout: String,
    outcome: String,
    well: bool,
    took: SignedDuration,
    old: Option<Served>,
    new: Served,
    /// From "bad" to the last request that the candidate got.
    bad_to_none: Option<SignedDuration>,
}

/// What was proved, by others than Sluice.
pub(super) struct Evidence {
    rows: Vec<Row>,
    own_errors: u64,
    users: Served,
    transport_errors: u64,
}

/// Reads what HAProxy and the load generator recorded.
pub(super) async fn gather(stage: &Stage, chapters: &[Chapter]) -> anyhow::Result<Evidence> {
    let log = stage.close_the_doors().await;
    let users = log.as_ref().map_or_else(Served::default, |log| Served {
        requests: log.totals.total,
        errors: log.totals.errors(),
    });
    let transport_errors = log.map_or(0, |log| log.totals.transport_errors);
    let requests = logged(stage, users.requests).await?;
    let own_errors = requests
        .iter()
        .filter(|it| it.is_own_error() || it.server == NO_SERVER)
        .count() as u64;
    let rows = chapters
        .iter()
        .map(|chapter| row(chapter, &requests))
        .collect();
    Ok(Evidence {
        rows,
        own_errors,
        users,
        transport_errors,
    })
}

/// HAProxy writes a request's line just after its answer: waits until all are there.
async fn logged(stage: &Stage, sent: u64) -> anyhow::Result<Vec<Request>> {
    local::wait::until_now(
        Duration::from_secs(5),
        "HAProxy's log to be complete",
        || match stage.haproxy.requests() {
            Ok(requests) if requests.len() as u64 >= sent => Ok(requests),
            Ok(requests) => Err(format!("{} of {sent} requests", requests.len())),
            Err(error) => Err(error.to_string()),
        },
    )
    .await
    .map_err(Into::into)
}

/// The revision that a server of HAProxy's belongs to: `r3-1` is `r3`.
fn revision_of(server: &str) -> &str {
    server
        .split_once('-')
        .map_or(server, |(revision, _)| revision)
}

fn row(chapter: &Chapter, requests: &[Request]) -> Row {
    let during = |it: &&Request| it.at >= chapter.began && it.began() <= chapter.ended;
    let mut served: BTreeMap<&str, Served> = BTreeMap::new();
    for request in requests.iter().filter(during) {
        let entry = served.entry(revision_of(&request.server)).or_default();
        entry.requests += 1;
        entry.errors += u64::from(request.is_error());
    }
    let summary = &chapter.rollout.summary;
    let old = summary.stable.as_deref();
    let of = |revision: &str| served.get(revision).copied().unwrap_or_default();
    let phase = match summary.phase.as_str() {
        "rolledBack" => "rolled back",
        other => other,
    };
    Row {
        rollout: format!("{} {}", chapter.version, chapter.kind),
        outcome: match chapter.rollout.why.as_ref() {
            Some(why) => format!("{phase} ({})", short(&why.kind)),
            None => phase.to_owned(),
        },
        well: as_it_should(chapter),
        took: chapter.ended.duration_since(chapter.began),
        old: old.map(of),
        new: of(&summary.candidate),
        bad_to_none: bad_to_none(chapter, requests),
    }
}

fn short(kind: &str) -> &str {
    match kind {
        "gateFailed" => "gate",
        other => other,
    }
}

fn as_it_should(chapter: &Chapter) -> bool {
    let phase = chapter.rollout.summary.phase.as_str();
    let why = chapter.rollout.why.as_ref().map(|it| it.kind.as_str());
    match chapter.wanted {
        Ending::Succeeded => phase == "succeeded",
        Ending::GateRollback => phase == "rolledBack" && why == Some("gateFailed"),
        Ending::AlertRollback => phase == "rolledBack" && why == Some("alert"),
    }
}

/// "Bad" is the first error a user got from the candidate, or the moment the alert was sent;
/// "no traffic" is when the last request that the candidate ever got was accepted.
fn bad_to_none(chapter: &Chapter, requests: &[Request]) -> Option<SignedDuration> {
    let candidate = chapter.rollout.summary.candidate.as_str();
    let its = || {
        requests
            .iter()
            .filter(|it| revision_of(&it.server) == candidate)
    };
    let last: Timestamp = its().map(Request::began).max()?;
    let bad = match chapter.wanted {
        Ending::Succeeded => return None,
        Ending::GateRollback => its().filter(|it| it.is_error()).map(|it| it.at).min()?,
        Ending::AlertRollback => chapter.alerted?,
    };
    Some(last.duration_since(bad))
}

impl Evidence {
    /// Whether everything ended as it should.
    pub(super) fn all_well(&self) -> bool {
        self.rows.iter().all(|it| it.well) && self.own_errors == 0 && self.transport_errors == 0
    }

    /// Prints the table.
    pub(super) fn print(&self, narrator: &Narrator, took: Duration) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            "rollout",
            "outcome",
            "time",
            "old: requests / errors",
            "new: requests / errors",
            "bad → no traffic",
        ]);
        for row in &self.rows {
            let mark = if row.well { "✓" } else { "✗" };
            table.add_row([
                row.rollout.clone(),
                format!("{mark} {}", row.outcome),
                format!("{:.1} s", row.took.as_secs_f64()),
                row.old.map_or_else(|| "–".to_owned(), |it| counts(&it)),
                counts(&row.new),
                row.bad_to_none
                    .map_or_else(|| "–".to_owned(), |it| format!("{} ms", it.as_millis())),
            ]);
        }
        narrator.table(&table, took);
        narrator.line(&format!(
            "users: {} requests, {} errors; HAProxy's own errors (503 and the like): {}; broken connections: {}",
            self.users.requests, self.users.errors, self.own_errors, self.transport_errors
        ));
        narrator.line(
            "counted from HAProxy's log and by the load generator; v3's \"bad\" is its first 500, v4's the alert",
        );
    }
}

fn counts(served: &Served) -> String {
    format!("{} / {}", served.requests, served.errors)
}
