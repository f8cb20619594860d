//! How an app's rollouts went: counted from the rows, for DORA's four keys as far as they concern
//! delivery (<https://dora.dev/guides/dora-metrics-four-keys/>).

use uuid::Uuid;

use crate::{Store, error::StoreError};

/// How the rollouts of a span of time went.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    /// Those that ended in it; installations, cancelled ones and undos left out.
    pub rollouts: i64,
    /// Those of them that became stable.
    pub succeeded: i64,
    /// Those of them that were taken back.
    pub rolled_back: i64,
    /// Those that were cancelled before they began.
    pub cancelled: i64,
    /// Ways back to an earlier revision that somebody ordered after a success.
    pub undone: i64,
    /// Median time from asked for to stable, in seconds.
    pub median_seconds: Option<f64>,
    /// Median time from the decision to take a rollout back until it was back, in seconds.
    pub restore_seconds: Option<f64>,
}

impl Store {
    /// How the rollouts of `app` that ended within the last `days` went.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn outcomes(&self, app: Uuid, days: u32) -> Result<Outcomes, StoreError> {
        sqlx::query_as!(
            Outcomes,
            r#"WITH ended AS (
                 SELECT phase, undo, created_at, ended_at,
                        (state #>> '{abort,at}')::timestamptz AS decided_at
                 FROM rollout
                 WHERE app_id = $1 AND stable IS NOT NULL AND ended_at > now() - make_interval(days => $2))
               SELECT count(*) FILTER (WHERE phase <> 'cancelled' AND NOT undo) AS "rollouts!",
                      count(*) FILTER (WHERE phase = 'succeeded' AND NOT undo) AS "succeeded!",
                      count(*) FILTER (WHERE phase = 'rolledBack' AND NOT undo) AS "rolled_back!",
                      count(*) FILTER (WHERE phase = 'cancelled') AS "cancelled!",
                      count(*) FILTER (WHERE phase = 'succeeded' AND undo) AS "undone!",
                      percentile_cont(0.5) WITHIN GROUP (
                          ORDER BY extract(epoch FROM ended_at - created_at)::float8)
                          FILTER (WHERE phase = 'succeeded' AND NOT undo) AS median_seconds,
                      percentile_cont(0.5) WITHIN GROUP (
                          ORDER BY extract(epoch FROM ended_at - decided_at)::float8)
                          FILTER (WHERE phase = 'rolledBack' AND NOT undo AND decided_at IS NOT NULL)
                          AS restore_seconds
               FROM ended"#,
            app,
            i32::try_from(days).unwrap_or(i32::MAX)
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::during("count outcomes"))
    }
}
