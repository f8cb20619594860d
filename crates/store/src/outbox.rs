//! Notices to the outside world: written with the transition that causes them, sent from here until
//! acknowledged. At least once: a sender that dies after sending is not told from one that died before.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Store, error::StoreError, page};

/// How long a claimed notice is invisible to others, unless its sender keeps it: so long does one wait
/// whose sender died.
const CLAIM_SECONDS: f64 = 30.0;
/// How long a closed notice is kept for people to look at.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of an error that are kept.
const ERROR_MAX: usize = 500;

/// A notice to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotice {
    /// Its id, where it may be written more than once: only the first counts. `None`: a new one.
    pub id: Option<Uuid>,
    /// Where to: the notifier's own configuration. Holds references to secrets, never secrets.
    pub target: Value,
    /// What about, such as `rollout.succeeded`.
    pub kind: String,
    /// What to send.
    pub payload: Value,
}

/// A notice claimed for sending.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The same at every attempt: the receiver's means to tell a repetition.
    pub id: Uuid,
    /// Its receiver: notices of one lane go to the same place by the same settings.
    pub lane: String,
    /// The rollout it is about.
    pub rollout_id: Option<Uuid>,
    /// Where to.
    pub target: Value,
    /// What about.
    pub kind: String,
    /// What to send.
    pub payload: Value,
    /// When it was written.
    pub created_at: Timestamp,
    /// Attempts, this one included.
    pub attempts: i32,
}

/// As the statements that write them unpack them; those without an id get it here.
pub(crate) fn notices(notices: &[NewNotice]) -> Value {
    notices
        .iter()
        .map(|it| {
            json!({
                "id": it.id.unwrap_or_else(Uuid::now_v7),
                "target": it.target,
                "kind": it.kind,
                "payload": it.payload,
            })
        })
        .collect()
}

impl Store {
    /// Claims the oldest due notice of each lane but the `busy` ones, of at most `limit` lanes. Rows
    /// that another sender claims at the same moment are passed over, so nobody waits. A claim that
    /// is neither closed nor kept in 30 s is free again.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn claim_notices(
        &self,
        busy: &[String],
        limit: u32,
    ) -> Result<Vec<Notice>, StoreError> {
        // From lane to lane by the index, however many notices wait in each.
        let mut claimed = sqlx::query_as!(
            Notice,
            "WITH RECURSIVE lane AS (
                 (SELECT lane AS key FROM outbox WHERE closed_at IS NULL ORDER BY lane LIMIT 1)
                 UNION ALL
                 SELECT (SELECT o.lane FROM outbox o WHERE o.closed_at IS NULL AND o.lane > l.key
                         ORDER BY o.lane LIMIT 1)
                 FROM lane l WHERE l.key IS NOT NULL),
             head AS MATERIALIZED (
                 SELECT first.id FROM lane l CROSS JOIN LATERAL (
                     SELECT o.id FROM outbox o WHERE o.closed_at IS NULL AND o.lane = l.key
                       AND o.due_at <= clock_timestamp()
                     ORDER BY o.created_at, o.id LIMIT 1 FOR UPDATE SKIP LOCKED) first
                 WHERE l.key <> ALL ($1) LIMIT $2)
             UPDATE outbox SET attempts = attempts + 1,
                 due_at = clock_timestamp() + make_interval(secs => $3)
             WHERE id IN (SELECT id FROM head)
             RETURNING id, lane, rollout_id, target, kind, payload, created_at, attempts",
            busy,
            page(limit),
            CLAIM_SECONDS
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("claim notices"))?;
        claimed.sort_by_key(|it| it.id);
        Ok(claimed)
    }

    /// Keeps claims for another 30 s, while their deliveries are under way.
    ///
    /// # Errors
    /// That the database does not answer: then they run out, and are delivered once more.
    pub async fn keep_claims(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE outbox SET due_at = clock_timestamp() + make_interval(secs => $2)
             WHERE id = ANY ($1) AND closed_at IS NULL",
            ids,
            CLAIM_SECONDS
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("keep claims of notices"))
        .map(|_| ())
    }

    /// Closes a notice: its receiver acknowledged it.
    ///
    /// # Errors
    /// That the database does not answer: the notice will be sent again.
    pub async fn delivered(&self, id: Uuid) -> Result<(), StoreError> {
        self.close_notice(id, false, None).await
    }

    /// Closes a notice that will never be delivered, such as one whose receiver answers 410.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn gone(&self, id: Uuid, error: &str) -> Result<(), StoreError> {
        self.close_notice(id, true, Some(error)).await
    }

    async fn close_notice(
        &self,
        id: Uuid,
        gone: bool,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE outbox SET closed_at = clock_timestamp(), gone = $2,
                 last_error = coalesce($3, last_error)
             WHERE id = $1 AND closed_at IS NULL",
            id,
            gone,
            error.map(shortened)
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("close a notice"))
        .map(|_| ())
    }

    /// Notes a failed attempt, to be repeated at `retry_at`.
    ///
    /// # Errors
    /// That the database does not answer: it is repeated once the claim is over.
    pub async fn failed(
        &self,
        id: Uuid,
        error: &str,
        retry_at: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE outbox SET due_at = $3, last_error = $2 WHERE id = $1 AND closed_at IS NULL",
            id,
            shortened(error),
            retry_at.to_sqlx() as _
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("note a failed notice"))
        .map(|_| ())
    }

    /// How many notices are not closed. For gauges.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn pending_notices(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM outbox WHERE closed_at IS NULL"#)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::during("count notices"))
    }

    /// When the next notice is due; `None` when there is none. For the sender's timer.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn next_notice_due(&self) -> Result<Option<Timestamp>, StoreError> {
        sqlx::query_scalar!("SELECT min(due_at) FROM outbox WHERE closed_at IS NULL")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::during("look for due notices"))
            .map(|it| it.map(Timestamp::from))
    }

    pub(crate) async fn sweep_notices(&self) -> Result<u64, StoreError> {
        sqlx::query!(
            "DELETE FROM outbox WHERE closed_at < clock_timestamp() - make_interval(secs => $1)",
            KEPT.as_secs_f64()
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("sweep notices"))
        .map(|it| it.rows_affected())
    }
}

/// Without NUL, which a receiver may well send back, and not longer than is of use.
fn shortened(error: &str) -> String {
    error
        .chars()
        .filter(|it| *it != '\0')
        .take(ERROR_MAX)
        .collect()
}
