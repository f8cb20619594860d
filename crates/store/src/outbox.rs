//! Notices to the outside world: written with the transition that causes them, sent from here until
//! acknowledged. At least once: a sender that dies after sending is not told from one that died before.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Store, error::StoreError, page};

/// How long a claimed notice is invisible to others: longer than any attempt to send one may take.
const CLAIM_SECONDS: f64 = 30.0;
/// How long a closed notice is kept for people to look at.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of an error that are kept.
const ERROR_MAX: usize = 500;

/// A notice to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotice {
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

/// As the statements that write them unpack them; each gets its id here.
pub(crate) fn notices(notices: &[NewNotice]) -> Value {
    notices
        .iter()
        .map(|it| {
            json!({
                "id": Uuid::now_v7(),
                "target": it.target,
                "kind": it.kind,
                "payload": it.payload,
            })
        })
        .collect()
}

impl Store {
    /// Claims due notices, oldest first. Rows that another sender claims at the same moment are
    /// passed over, so nobody waits. A claim that is not closed in 30 s is free again.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn claim_notices(&self, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let mut claimed = sqlx::query_as!(
            Notice,
            "UPDATE outbox SET attempts = attempts + 1,
                 due_at = clock_timestamp() + make_interval(secs => $2)
             WHERE id = ANY (ARRAY (
                 SELECT id FROM outbox WHERE closed_at IS NULL AND due_at <= clock_timestamp()
                 ORDER BY due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED))
             RETURNING id, rollout_id, target, kind, payload, created_at, attempts",
            page(limit),
            CLAIM_SECONDS
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("claim notices"))?;
        claimed.sort_by_key(|it| it.id);
        Ok(claimed)
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
