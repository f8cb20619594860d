//! Alerts that were already acted on. Alertmanager repeats a firing alert and several of it may run,
//! so an alert is known by its fingerprint and start, per receiver and app.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Store,
    error::StoreError,
    outbox::{self, NewNotice},
};

/// What makes an alert the same alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// The rules of a started rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRules {
    /// Whose.
    pub rollout: Uuid,
    /// `alerts` of the candidate's app file.
    pub alerts: Value,
}

impl Store {
    /// The rules of all started rollouts that have some, newest first; those of `projects` if they
    /// are given. One round trip however many rollouts are under way and however many alerts came.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn alert_rules(
        &self,
        projects: Option<&[String]>,
    ) -> Result<Vec<AlertRules>, StoreError> {
        sqlx::query_as!(
            AlertRules,
            r#"SELECT r.id AS rollout, v.document -> 'alerts' AS "alerts!"
               FROM rollout r JOIN revision v ON v.app_id = r.app_id AND v.number = r.candidate
               WHERE r.phase IN ('progressing', 'paused', 'promoting', 'aborting')
                 AND ($1::text[] IS NULL OR r.project = ANY ($1))
                 AND jsonb_typeof(v.document -> 'alerts') = 'array'
                 AND v.document -> 'alerts' <> '[]'
               ORDER BY r.id DESC"#,
            projects as _
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read the rules for alerts"))
    }

    /// Writes the notices that tell of `alerts` and change nothing, if one of the alerts was not seen
    /// before; how many were not. An alert that does cause a change travels in
    /// [`Commit::alert`](crate::Commit::alert).
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn tell_of_alerts(
        &self,
        rollout: Uuid,
        alerts: &[AlertKey],
        notices: &[NewNotice],
    ) -> Result<usize, StoreError> {
        let fresh = sqlx::query_scalar!(
            r#"WITH fresh AS (
                 INSERT INTO alert_seen (app_id, fingerprint, starts_at, receiver)
                 SELECT a.app_id, a.fingerprint, a.starts_at, a.receiver
                 FROM jsonb_to_recordset($2::jsonb) AS a(app_id uuid, fingerprint text,
                                                         starts_at timestamptz, receiver text)
                 ON CONFLICT DO NOTHING RETURNING 1),
               noticed AS (
                 INSERT INTO outbox (id, rollout_id, target, kind, payload)
                 SELECT n.id, $1, n.target, n.kind, coalesce(n.payload, 'null')
                 FROM jsonb_to_recordset($3::jsonb) AS n(id uuid, target jsonb, kind text,
                                                         payload jsonb)
                 WHERE EXISTS (SELECT FROM fresh))
               SELECT count(*) AS "fresh!" FROM fresh"#,
            rollout,
            json!(alerts),
            outbox::notices(notices)
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::during("tell of alerts"))?;
        Ok(usize::try_from(fresh).unwrap_or_default())
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
