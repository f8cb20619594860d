//! The history: rows that are only ever read here. They are written with the states they record.

use jiff::Timestamp;
use rollout::{Event, Revision, State};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Store, error::StoreError, events::EventCursor, page, revision};

/// One committed change of a rollout's state.
#[derive(Debug, Clone, PartialEq)]
pub struct TransitionRow {
    /// Its place in the order of commits: an opaque cursor for [`Store::events_after`].
    pub event_id: String,
    /// Whose.
    pub rollout_id: Uuid,
    /// The app's project.
    pub project: String,
    /// The app's name.
    pub app: String,
    /// What the rollout brings out.
    pub candidate: Revision,
    /// 1, 2, 3, … within the rollout.
    pub seq: i64,
    /// When it was committed, by the database's clock.
    pub at: Timestamp,
    /// The principal, or `system`.
    pub by: String,
    /// What happened.
    pub event: Event,
    /// The state from then on.
    pub state: State,
    /// SHA-256 over the hash before it and this row, in hexadecimal.
    pub hash: String,
}

/// `transition` as the queries return it.
pub(crate) struct TransitionRecord {
    pub(crate) txid: i64,
    pub(crate) number: i64,
    pub(crate) rollout_id: Uuid,
    pub(crate) project: String,
    pub(crate) app: String,
    pub(crate) candidate: i32,
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    pub(crate) event: Json<Event>,
    pub(crate) state: Json<State>,
    pub(crate) hash: String,
}

impl From<TransitionRecord> for TransitionRow {
    fn from(it: TransitionRecord) -> Self {
        Self {
            event_id: EventCursor {
                txid: it.txid,
                number: it.number,
            }
            .to_string(),
            rollout_id: it.rollout_id,
            project: it.project,
            app: it.app,
            candidate: revision(it.candidate),
            seq: it.seq,
            at: it.at,
            by: it.by,
            event: it.event.0,
            state: it.state.0,
            hash: it.hash,
        }
    }
}

/// A checked query for transitions: what follows `FROM transition t`, and its parameters.
macro_rules! select_transitions {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            $crate::history::TransitionRecord,
            r#"SELECT txid, number, rollout_id, project, app, candidate, seq, at, by,
                      event AS "event: Json<rollout::Event>", state AS "state: Json<rollout::State>",
                      encode(hash, 'hex') AS "hash!"
               FROM transition t "# + $tail
            $(, $argument)*
        )
    };
}
pub(crate) use select_transitions;

impl Store {
    /// A rollout's history from the beginning; the rows after `after_seq` (0: all).
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn history(
        &self,
        rollout: Uuid,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        let rows = select_transitions!(
            "WHERE rollout_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            rollout,
            after_seq,
            page(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read the history"))?;
        Ok(rows.into_iter().map(TransitionRow::from).collect())
    }
}
