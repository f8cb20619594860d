//! The one write that ends a pass: state, history row, measurements, notices and the app's stable
//! revision in one statement, which happens as a whole or not at all.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use rollout::{
    Cursor, Event, Plan, Revision, State, WaitingOn,
    gate::{Gates, Measurement, Verdict},
};
use serde_json::{Value, json};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Store,
    alerts::AlertKey,
    claims::Fence,
    error::{Lost, StoreError, retrying, violated},
    number,
    outbox::{NewNotice, notices},
};

const DURING: &str = "commit";

/// What a pass or a command wants written.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Which rollout.
    pub rollout: Uuid,
    /// The version that was read; the write happens only if it is still the one.
    pub expected_version: i64,
    /// The lease under which it was decided. `None` for people's commands, which the version alone
    /// protects: whichever replica they reach may write them.
    pub fence: Option<Fence>,
    /// The state. Written only together with a transition.
    pub state: State,
    /// What the gates have learnt.
    pub gates: Gates,
    /// What it waits for.
    pub waiting: Option<WaitingOn>,
    /// When time alone may change that.
    pub wake_at: Option<Timestamp>,
    /// The plan, only when the rollout starts.
    pub plan: Option<Plan>,
    /// Why the state changed, and by whom.
    pub transition: Option<(Event, String)>,
    /// From which address it was asked for, if anybody asked.
    pub source: Option<String>,
    /// Measurements taken since the last commit.
    pub measurements: Vec<MeasurementRow>,
    /// The app's new stable revision, when the rollout has succeeded.
    pub stable: Option<Revision>,
    /// Notices to send about it.
    pub notices: Vec<NewNotice>,
    /// The alert that caused it.
    pub alert: Option<AlertKey>,
}

/// One measurement to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementRow {
    /// The gate's name.
    pub gate: String,
    /// The step and attempt it belongs to.
    pub cursor: Cursor,
    /// What was measured.
    pub measurement: Measurement,
    /// How the gate stands after it.
    pub verdict: Verdict,
}

/// What the statement found.
struct Seen {
    /// The new version, if it wrote.
    written: Option<i64>,
    /// The version before; `None`: there is no such rollout.
    version: Option<i64>,
    leased: bool,
    same_state: Option<bool>,
}

impl Store {
    /// Writes all of it, or nothing. Returns the rollout's new version. One round trip.
    ///
    /// # Errors
    /// [`StoreError::Lost`] when somebody else wrote the rollout since it was read or holds the
    /// lease now, [`StoreError::Duplicate`] for an alert that was acted on before,
    /// [`StoreError::RolloutActive`] when the change would make a second active rollout,
    /// [`StoreError::CommitUnknown`] when the connection was lost meanwhile.
    pub async fn commit(&self, commit: &Commit) -> Result<i64, StoreError> {
        let outcome = retrying!(self.try_commit(commit));
        let seen = match outcome {
            Ok(seen) => seen,
            Err(StoreError::Query { source, .. }) => {
                return Err(self.refusal(commit, source).await);
            }
            Err(error) => return Err(error),
        };
        if let Some(version) = seen.written {
            return Ok(version);
        }
        let recorded = commit.transition.is_some() || seen.same_state == Some(true);
        Err(match seen.version {
            None => StoreError::NotFound { what: "rollout" },
            Some(_) if !seen.leased => StoreError::Lost {
                what: Lost::LeaseLost,
            },
            Some(version) if version == commit.expected_version && !recorded => {
                StoreError::Unrecorded
            }
            Some(_) => StoreError::Lost {
                what: Lost::VersionConflict,
            },
        })
    }

    async fn try_commit(&self, commit: &Commit) -> Result<Seen, StoreError> {
        // Without a connection nothing was sent, so nothing is unknown.
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(StoreError::during(DURING))?;
        let alert = commit.alert.as_ref();
        sqlx::query_file_as!(
            Seen,
            "src/commit.sql",
            commit.rollout,
            commit.expected_version,
            commit.fence.as_ref().map(|it| it.shard),
            commit.fence.as_ref().map(|it| it.epoch),
            commit.fence.as_ref().map(|it| it.owner),
            Json(&commit.state) as _,
            Json(&commit.gates) as _,
            commit.waiting.as_ref().map(Json) as _,
            commit.wake_at.map(ToSqlx::to_sqlx) as _,
            commit.plan.as_ref().map(Json) as _,
            commit.state.phase.is_terminal(),
            commit.transition.as_ref().map(|it| Json(&it.0)) as _,
            commit.transition.as_ref().map(|it| it.1.as_str()),
            measurements(&commit.measurements),
            commit.stable.map(number),
            notices(&commit.notices),
            alert.map(|it| it.app_id),
            alert.map(|it| it.fingerprint.as_str()),
            alert.map(|it| it.starts_at.to_sqlx()) as _,
            alert.map(|it| it.receiver.as_str()),
            commit.source
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::committing(DURING))
    }

    /// Which rule of the schema refused the commit.
    async fn refusal(&self, commit: &Commit, source: sqlx::Error) -> StoreError {
        match violated(&source) {
            Some("alert_seen_pkey") => return StoreError::Duplicate,
            Some("rollout_one_active" | "rollout_one_pending") => {}
            _ => {
                return StoreError::Query {
                    operation: DURING,
                    source,
                };
            }
        }
        let other = sqlx::query_scalar!(
            "SELECT o.id FROM rollout r JOIN rollout o ON o.app_id = r.app_id AND o.id <> r.id
             WHERE r.id = $1
               AND o.phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
             ORDER BY o.phase = 'pending' LIMIT 1",
            commit.rollout
        )
        .fetch_optional(&self.pool)
        .await;
        match other {
            Ok(Some(id)) => StoreError::RolloutActive { id },
            // It ended in the meantime: what was decided on is history.
            Ok(None) => StoreError::Lost {
                what: Lost::VersionConflict,
            },
            Err(source) => StoreError::during(DURING)(source),
        }
    }
}

/// As the statement unpacks them.
fn measurements(rows: &[MeasurementRow]) -> Value {
    rows.iter()
        .map(|it| {
            json!({
                "gate": it.gate,
                "cursor": it.cursor,
                "measurement": it.measurement,
                "verdict": it.verdict,
            })
        })
        .collect()
}
