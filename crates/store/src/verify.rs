//! Finds a history that was tampered with or lost rows (invariant I6). The hashes are computed here,
//! from the rows' text, and not by the database that is under suspicion.

use rollout::State;
use sha2::{Digest, Sha256};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Store, error::StoreError};

/// Rows read at a time.
const PAGE: i64 = 500;

/// What is wrong with a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryProblem {
    /// A number is missing.
    #[error("rollout {rollout}: transition {missing} is missing")]
    Gap {
        /// Whose history.
        rollout: Uuid,
        /// The first number that is missing.
        missing: i64,
    },
    /// A row is not what was hashed, or one before it was replaced.
    #[error("rollout {rollout}: transition {seq} is not as it was written")]
    Tampered {
        /// Whose history.
        rollout: Uuid,
        /// The first row that does not fit.
        seq: i64,
    },
    /// The rollout does not stand where its history ends.
    #[error("rollout {rollout}: its state is not that of its last transition, {seq}")]
    Diverged {
        /// Whose history.
        rollout: Uuid,
        /// The last row.
        seq: i64,
    },
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Checks a rollout's history: numbered without gaps, chained by hash, and ending in the state
    /// the rollout is in. Returns how many transitions it has.
    ///
    /// # Errors
    /// The first problem found.
    pub async fn verify_history(&self, rollout: Uuid) -> Result<u64, HistoryProblem> {
        let during = "verify a history";
        // One snapshot for all pages and the state, so that a commit meanwhile is not a problem.
        let mut tx = self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(StoreError::during(during))?;
        let mut hash = Vec::new();
        let mut seq = 0_i64;
        let mut last: Option<Json<State>> = None;
        loop {
            let rows = sqlx::query!(
                r#"SELECT seq, hash, transition_text(t) AS "text!", state AS "state: Json<State>"
                   FROM transition t WHERE rollout_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"#,
                rollout,
                seq,
                PAGE
            )
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::during(during))?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if row.seq != seq + 1 {
                    let missing = seq + 1;
                    return Err(HistoryProblem::Gap { rollout, missing });
                }
                seq = row.seq;
                hash = Sha256::new()
                    .chain_update(&hash)
                    .chain_update(row.text.as_bytes())
                    .finalize()
                    .to_vec();
                if hash != row.hash {
                    return Err(HistoryProblem::Tampered { rollout, seq });
                }
                last = Some(row.state);
            }
        }
        let state = sqlx::query_scalar!(
            r#"SELECT state AS "state: Json<State>" FROM rollout WHERE id = $1"#,
            rollout
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::during(during))?
        .ok_or(StoreError::NotFound { what: "rollout" })?;
        match last {
            None => Err(HistoryProblem::Gap {
                rollout,
                missing: 1,
            }),
            Some(last) if last != state => Err(HistoryProblem::Diverged { rollout, seq }),
            Some(_) => Ok(seq.unsigned_abs()),
        }
    }
}
