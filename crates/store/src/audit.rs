//! The audit log: decisions about rollouts, which are their history, and everything else that people
//! and machines asked for, as one list. See `migrations/0013_audit.sql`.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use rollout::{Event, Revision};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{Store, error::StoreError, page};

/// Characters of a refusal's words that are kept.
const DETAIL_MAX: usize = 500;

/// Something that was asked for and is no order to a rollout, which keeps its own history.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAudit {
    /// The request; what was about to be tried and how it ended have the same.
    pub request: Uuid,
    /// The principal, if it is known.
    pub who: Option<String>,
    /// The address it came from.
    pub source: String,
    /// What was asked for, such as `token.create`.
    pub action: &'static str,
    /// In which project.
    pub project: Option<String>,
    /// About which app of it.
    pub app: Option<String>,
    /// About which rollout.
    pub rollout: Option<Uuid>,
    /// What it was about, beyond that: an object.
    pub about: Value,
    /// The answer's HTTP status; `None`: it is about to be tried.
    pub status: Option<u16>,
    /// Why it was refused.
    pub detail: Option<String>,
}

/// What a line of the log is about.
#[derive(Debug, Clone, PartialEq)]
pub enum AuditAbout {
    /// A change of a rollout's state.
    Transition {
        /// What the rollout brings out.
        candidate: Revision,
        /// What happened.
        event: Box<Event>,
    },
    /// A request.
    Request {
        /// The request.
        id: Uuid,
        /// What it was about, beyond project, app and rollout.
        about: Value,
        /// The answer's HTTP status; `None`: nobody knows, the server may have died meanwhile.
        status: Option<u16>,
        /// Why it was refused.
        detail: Option<String>,
    },
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditLine {
    /// Its place.
    pub place: AuditPlace,
    /// When, by the database's clock.
    pub at: Timestamp,
    /// The principal, or `system`; `None`: nobody knows.
    pub who: Option<String>,
    /// From which address.
    pub source: Option<String>,
    /// What was done or asked for, such as `rollout.approved` or `token.create`.
    pub action: String,
    /// In which project.
    pub project: Option<String>,
    /// About which app.
    pub app: Option<String>,
    /// About which rollout.
    pub rollout: Option<Uuid>,
    /// What it is about.
    pub about: AuditAbout,
}

/// A line's place in the log: transaction, number in its table, table. For others it is opaque.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPlace {
    txid: i64,
    number: i64,
    kind: String,
}

impl fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.txid, self.number, self.kind)
    }
}

impl FromStr for AuditPlace {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let mut parts = text.split('-');
        let mut number = || parts.next().and_then(|it| it.parse::<i64>().ok());
        let place = number().zip(number()).map(|(txid, number)| Self {
            txid,
            number,
            kind: parts.next().unwrap_or_default().to_owned(),
        });
        let plain = |it: &Self| it.to_string() == text && matches!(&*it.kind, "a" | "t");
        place.filter(plain).ok_or_else(|| StoreError::BadCursor {
            cursor: text.chars().take(64).collect(),
        })
    }
}

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only of these projects, and none without one; `None`: all.
    pub projects: Option<Vec<String>>,
    /// Only about this app, in whichever project.
    pub app: Option<String>,
    /// Only about this rollout.
    pub rollout: Option<Uuid>,
    /// Only of this principal.
    pub who: Option<String>,
    /// Only this action, or all whose first word it is.
    pub action: Option<String>,
    /// Only what was refused, or only what was not.
    pub refused: Option<bool>,
    /// Without the steps that rollouts have done.
    pub no_steps: bool,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
}

struct Record {
    txid: i64,
    number: i64,
    kind: String,
    at: Timestamp,
    request: Option<Uuid>,
    who: Option<String>,
    source: Option<String>,
    action: String,
    project: Option<String>,
    app: Option<String>,
    rollout: Option<Uuid>,
    about: Value,
    status: Option<i16>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Transition {
    candidate: i32,
    event: Event,
}

impl TryFrom<Record> for AuditLine {
    type Error = StoreError;

    fn try_from(it: Record) -> Result<Self, StoreError> {
        let about = match it.request {
            None => {
                let value = StoreError::value("read the audit log");
                let read: Transition = serde_json::from_value(it.about).map_err(value)?;
                AuditAbout::Transition {
                    candidate: crate::revision(read.candidate),
                    event: Box::new(read.event),
                }
            }
            Some(id) => AuditAbout::Request {
                id,
                about: it.about,
                status: it.status.and_then(|it| u16::try_from(it).ok()),
                detail: it.detail,
            },
        };
        Ok(Self {
            place: AuditPlace {
                txid: it.txid,
                number: it.number,
                kind: it.kind,
            },
            at: it.at,
            who: it.who,
            source: it.source,
            action: it.action,
            project: it.project,
            app: it.app,
            rollout: it.rollout,
            about,
        })
    }
}

impl Store {
    /// Writes a line.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn audit(&self, line: &NewAudit) -> Result<(), StoreError> {
        let plain = |it: &String| {
            it.chars()
                .filter(|it| *it != '\0')
                .take(DETAIL_MAX)
                .collect()
        };
        let detail: Option<String> = line.detail.as_ref().map(plain);
        sqlx::query!(
            // The trigger fills in time and transaction.
            "INSERT INTO audit (txid, at, request, who, source, action, project, app, rollout, about,
                 status, detail)
             VALUES (0, 'epoch', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            line.request,
            line.who,
            line.source,
            line.action,
            line.project,
            line.app,
            line.rollout,
            line.about,
            line.status.and_then(|it| i16::try_from(it).ok()),
            detail
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("write the audit log"))
        .map(|_| ())
    }

    /// The lines before `before` (`None`: from the newest), newest first. A request that was about to
    /// be tried is left out where it is known how it ended.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`], or that the database does not answer.
    pub async fn audit_lines(
        &self,
        filter: &AuditFilter,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let before: Option<AuditPlace> = before.map(str::parse).transpose()?;
        let family = filter.action.as_ref().map(|it| format!("{it}."));
        let rows = sqlx::query_as!(
            Record,
            r#"SELECT txid AS "txid!", number AS "number!", kind AS "kind!",
                   at AS "at!", request,
                   who, source, action AS "action!", project, app, rollout, about AS "about!", status,
                   detail
               FROM audit_line l
               WHERE ($1::bigint IS NULL OR (txid, number, kind) < ($1, $2, $3))
                 AND ($4::text[] IS NULL OR project = ANY ($4))
                 AND ($5::text IS NULL OR app = $5)
                 AND ($6::uuid IS NULL OR rollout = $6)
                 AND ($7::text IS NULL OR who = $7)
                 AND ($8::text IS NULL OR action = $8 OR starts_with(action, $9))
                 AND ($10::bool IS NULL OR $10 = (coalesce(status, 0) >= 400))
                 AND NOT ($14 AND action = 'rollout.stepDone')
                 AND ($11::timestamptz IS NULL OR at >= $11)
                 AND ($12::timestamptz IS NULL OR at < $12)
                 AND (kind = 't' OR status IS NOT NULL OR NOT EXISTS (
                     SELECT FROM audit b WHERE b.request = l.request AND b.status IS NOT NULL))
               ORDER BY txid DESC, number DESC, kind DESC LIMIT $13"#,
            before.as_ref().map(|it| it.txid),
            before.as_ref().map(|it| it.number),
            before.as_ref().map(|it| it.kind.as_str()),
            filter.projects.as_deref() as _,
            filter.app,
            filter.rollout,
            filter.who,
            filter.action,
            family,
            filter.refused,
            filter.since.map(|it| it.to_sqlx()) as _,
            filter.until.map(|it| it.to_sqlx()) as _,
            page(limit),
            filter.no_steps
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read the audit log"))?;
        rows.into_iter().map(AuditLine::try_from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_what_it_wrote_and_nothing_else() {
        for good in ["7-12-a", "7-12-t"] {
            assert_eq!(good.parse::<AuditPlace>().unwrap().to_string(), good);
        }
        for bad in ["", "7", "7-12", "7-12-x", "+7-12-a", "7-12-a-b", "07-1-a"] {
            assert!(bad.parse::<AuditPlace>().is_err(), "{bad:?}");
        }
    }
}
