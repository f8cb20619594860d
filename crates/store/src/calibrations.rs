//! What was found of an app's gates on its own past, by gate: only the newest is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Store, error::StoreError};

/// What was found of one gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRow {
    /// The gate's name in the app.
    pub gate: String,
    /// What was found; the server knows what is in it.
    pub result: Value,
    /// When.
    pub calibrated_at: Timestamp,
    /// By whom.
    pub calibrated_by: String,
}

impl Store {
    /// Keeps what was found of a gate, in place of what was found before.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn put_calibration(
        &self,
        app_id: Uuid,
        gate: &str,
        result: &Value,
        by: &str,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO calibration (app_id, gate, result, calibrated_by) VALUES ($1, $2, $3, $4)
             ON CONFLICT (app_id, gate) DO UPDATE
             SET result = $3, calibrated_by = $4, calibrated_at = now()",
            app_id,
            gate,
            result,
            by
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("keep a calibration"))
        .map(drop)
    }

    /// What was found of an app's gates, by their names.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn calibrations(&self, app_id: Uuid) -> Result<Vec<CalibrationRow>, StoreError> {
        sqlx::query_as!(
            CalibrationRow,
            "SELECT gate, result, calibrated_at, calibrated_by
             FROM calibration WHERE app_id = $1 ORDER BY gate",
            app_id
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read calibrations"))
    }
}
