//! Alerts that were already acted on. Alertmanager repeats a firing alert and several of it may run,
//! so an alert is known by its fingerprint and start, per receiver and app.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Store,
    error::StoreError,
    rollouts::{Rollout, select_rollouts},
};

/// What makes an alert the same alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertKey {
    /// Alertmanager's fingerprint of the labels.
    pub fingerprint: String,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// The receiver it came through.
    pub receiver: String,
    /// The app it is about.
    pub app_id: Uuid,
}

impl Store {
    /// The started rollouts whose candidate's app file has a rule for an alert with `labels` (a map
    /// of texts), newest first; those of `projects` if they are given. One round trip however many
    /// rollouts are under way: an alert must not wait for all of them to be read.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn rollouts_for_alert(
        &self,
        labels: &Value,
        projects: Option<&[String]>,
    ) -> Result<Vec<Rollout>, StoreError> {
        // Containment is what a rule means: each of its labels, with that value.
        let rows = select_rollouts!(
            "WHERE phase IN ('progressing', 'paused', 'promoting', 'aborting')
               AND ($2::text[] IS NULL OR project = ANY($2))
               AND EXISTS (
                 SELECT FROM revision v, jsonb_array_elements(
                   CASE jsonb_typeof(v.document -> 'alerts')
                     WHEN 'array' THEN v.document -> 'alerts' ELSE '[]' END) AS rule
                 WHERE v.app_id = rollout.app_id AND v.number = rollout.candidate
                   AND $1::jsonb @> (rule -> 'match'))
             ORDER BY id DESC",
            labels,
            projects as _
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during(
            "look for rollouts that an alert is about",
        ))?;
        Ok(rows.into_iter().map(Rollout::from).collect())
    }

    /// Notes an alert that causes no commit. `true` the first time. An alert that does cause one
    /// travels in [`Commit::alert`](crate::Commit::alert).
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn note_alert(&self, alert: &AlertKey) -> Result<bool, StoreError> {
        sqlx::query!(
            "INSERT INTO alert_seen (app_id, fingerprint, starts_at, receiver)
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            alert.app_id,
            alert.fingerprint,
            alert.starts_at.to_sqlx() as _,
            alert.receiver
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("note an alert"))
        .map(|it| it.rows_affected() == 1)
    }

    /// Whether an alert was acted on before.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn alert_seen(&self, alert: &AlertKey) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM alert_seen WHERE app_id = $1 AND fingerprint = $2
               AND starts_at = $3 AND receiver = $4) AS "seen!""#,
            alert.app_id,
            alert.fingerprint,
            alert.starts_at.to_sqlx() as _,
            alert.receiver
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::during("look for an alert"))
    }
}
