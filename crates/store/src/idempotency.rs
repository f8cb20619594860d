//! Idempotency keys: a request repeated with its key gets the first answer, and happens once. The
//! answer is written in the transaction of what it answers.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{Rollout, Store, error::StoreError};

/// How long an answer is kept: a CI job that is run again the next morning still finds it.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long an alert that was acted on is remembered: longer than any is left firing.
const ALERTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A request that carries an Idempotency-Key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// As the client sent it.
    pub key: String,
    /// Whose key: two principals may choose the same one.
    pub principal: String,
    /// Method and path.
    pub route: String,
    /// SHA-256 of the body, as it was sent.
    pub body_hash: [u8; 32],
}

impl Idempotency {
    /// For this request.
    pub fn new(key: &str, principal: &str, route: &str, body: &[u8]) -> Self {
        Self {
            key: key.to_owned(),
            principal: principal.to_owned(),
            route: route.to_owned(),
            body_hash: Sha256::digest(body).into(),
        }
    }
}

/// Makes this transaction the only one that works on the key. Returns the answer if there is one.
pub(crate) async fn claim(
    tx: &mut PgConnection,
    request: &Idempotency,
) -> Result<Option<Value>, StoreError> {
    let during = "claim an idempotency key";
    // An advisory lock, because it is free again however the transaction ends, and because it can be
    // tried without waiting.
    let ours = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(
               hashtextextended(json_build_array($1::text, $2::text, $3::text)::text, 0)) AS "ours!""#,
        request.principal,
        request.route,
        request.key
    )
    .fetch_one(&mut *tx)
    .await
    .map_err(StoreError::during(during))?;
    if !ours {
        return Err(StoreError::KeyInFlight);
    }
    look_up(tx, request).await
}

/// The answer that was given to this request before.
async fn look_up(
    connection: &mut PgConnection,
    request: &Idempotency,
) -> Result<Option<Value>, StoreError> {
    let answered = sqlx::query!(
        "SELECT body_hash, answer FROM idempotency_key
         WHERE principal = $1 AND route = $2 AND key = $3",
        request.principal,
        request.route,
        request.key
    )
    .fetch_optional(connection)
    .await
    .map_err(StoreError::during("look up an idempotency key"))?;
    match answered {
        Some(it) if it.body_hash != request.body_hash => Err(StoreError::KeyReused),
        answered => Ok(answered.map(|it| it.answer)),
    }
}

/// Keeps the answer, in the transaction of what it answers.
pub(crate) async fn answer(
    tx: &mut PgConnection,
    request: &Idempotency,
    answer: &Value,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO idempotency_key (principal, route, key, body_hash, answer)
         VALUES ($1, $2, $3, $4, $5)",
        request.principal,
        request.route,
        request.key,
        &request.body_hash,
        answer
    )
    .execute(tx)
    .await
    .map_err(StoreError::during("keep an answer"))
    .map(|_| ())
}

impl Store {
    /// The rollout that this request made when it was sent the first time. To be asked before
    /// anything else of the request is checked: what was done is answered alike, whatever has
    /// become of the app, the artifact and the rollout since.
    ///
    /// # Errors
    /// [`StoreError::KeyReused`] when the key came with another body.
    pub async fn answered(&self, request: &Idempotency) -> Result<Option<Rollout>, StoreError> {
        let during = "look up an idempotency key";
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(StoreError::during(during))?;
        let answer = look_up(&mut connection, request).await?;
        let rollout = answer.map(serde_json::from_value).transpose();
        rollout.map_err(StoreError::value(during))
    }

    /// Removes what is kept for a while only: answers after 24 hours, closed notices after 7 days,
    /// alerts after 30, sessions and tokens of CI jobs a day after their end. Returns how many rows. To be called about every hour, by any replica.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let during = "sweep";
        let answers = sqlx::query!(
            "DELETE FROM idempotency_key
             WHERE created_at < clock_timestamp() - make_interval(secs => $1)",
            KEPT.as_secs_f64()
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during(during))?;
        let alerts = sqlx::query!(
            "DELETE FROM alert_seen
             WHERE seen_at < clock_timestamp() - make_interval(secs => $1)",
            ALERTS_KEPT.as_secs_f64()
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during(during))?;
        let notices = self.sweep_notices().await?;
        let people = self.sweep_people().await?;
        Ok(answers.rows_affected() + alerts.rows_affected() + notices + people)
    }
}
