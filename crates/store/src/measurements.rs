//! What gates measured. Written with the commit that folded them in.

use rollout::{
    Cursor,
    gate::{Measurement, Verdict},
};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Store, error::StoreError, page};

/// One measurement as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMeasurement {
    /// Grows within a rollout: the cursor for the next page.
    pub id: i64,
    /// The gate's name.
    pub gate: String,
    /// The step and attempt it belongs to.
    pub cursor: Cursor,
    /// What was measured.
    pub measurement: Measurement,
    /// How the gate stood after it.
    pub verdict: Verdict,
}

impl Store {
    /// A rollout's measurements, oldest first, of one gate or of all; those after `after` (0: all).
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn measurements(
        &self,
        rollout: Uuid,
        gate: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredMeasurement>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT id, gate, cursor AS "cursor: Json<Cursor>",
                      measurement AS "measurement: Json<Measurement>",
                      verdict AS "verdict: Json<Verdict>"
               FROM measurement
               WHERE rollout_id = $1 AND ($2::text IS NULL OR gate = $2) AND id > $3
               ORDER BY id LIMIT $4"#,
            rollout,
            gate,
            after,
            page(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read measurements"))?;
        Ok(rows
            .into_iter()
            .map(|it| StoredMeasurement {
                id: it.id,
                gate: it.gate,
                cursor: it.cursor.0,
                measurement: it.measurement.0,
                verdict: it.verdict.0,
            })
            .collect())
    }
}
