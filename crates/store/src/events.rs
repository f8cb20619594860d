//! All transitions of all rollouts as one stream, in commit order and without gaps.
//!
//! Numbers drawn from a sequence become visible out of order: a reader that has seen 6 may find 5
//! committed later and never look back. So a row carries the number of its transaction, and only rows
//! of transactions older than every running one are given out. What is given out is complete.
//!
//! The price: a row appears when all transactions that began before it are over, usually within
//! milliseconds of its commit. A reader that was woken by a notification and finds nothing must look
//! again shortly after, by a timer.

use std::{fmt, str::FromStr};

use sqlx::types::Json;

use crate::{
    Store,
    error::StoreError,
    history::{TransitionRow, select_transitions},
    page,
};

/// A place in the stream. For everybody else it is opaque text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventCursor {
    pub(crate) txid: i64,
    pub(crate) number: i64,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.txid, self.number)
    }
}

impl FromStr for EventCursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        // Digits only: `+1` and ` 1` are not what we gave out.
        let part = |it: &str| {
            let digits = !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
            digits.then(|| it.parse::<i64>().ok()).flatten()
        };
        text.split_once('-')
            .and_then(|(txid, number)| {
                Some(Self {
                    txid: part(txid)?,
                    number: part(number)?,
                })
            })
            .ok_or_else(|| StoreError::BadCursor {
                cursor: text.chars().take(64).collect(),
            })
    }
}

impl Store {
    /// The events after `cursor` (`None`: from the very first), of these projects (`None`: of all).
    ///
    /// # Errors
    /// [`StoreError::BadCursor`], or that the database does not answer.
    pub async fn events_after(
        &self,
        cursor: Option<&str>,
        projects: Option<&[String]>,
        limit: u32,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        let after = match cursor {
            Some(text) => text.parse()?,
            None => EventCursor { txid: 0, number: 0 },
        };
        let rows = select_transitions!(
            "WHERE (t.txid, t.number) > ($1, $2)
               AND t.txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                            + (SELECT base FROM event_clock)
               AND ($3::text[] IS NULL OR t.project = ANY ($3))
             ORDER BY t.txid, t.number LIMIT $4",
            after.txid,
            after.number,
            projects,
            page(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read events"))?;
        Ok(rows.into_iter().map(TransitionRow::from).collect())
    }

    /// The cursor of now: everything that becomes visible later comes after it.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn latest_cursor(&self) -> Result<String, StoreError> {
        sqlx::query_as!(
            EventCursor,
            "SELECT txid, number FROM transition
             WHERE txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
                          + (SELECT base FROM event_clock)
             ORDER BY txid DESC, number DESC LIMIT 1"
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("read the newest event"))
        .map(|it| it.unwrap_or(EventCursor { txid: 0, number: 0 }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_wrote_and_nothing_else() {
        let cursor = EventCursor {
            txid: 7,
            number: 12,
        };
        assert_eq!(cursor.to_string(), "7-12");
        assert_eq!("7-12".parse::<EventCursor>().unwrap(), cursor);
        for bad in [
            "",
            "-",
            "7",
            "7-",
            "-12",
            "7-12-1",
            "+7-12",
            "7- 12",
            "x-y",
            "9223372036854775808-1",
        ] {
            assert!(bad.parse::<EventCursor>().is_err(), "{bad:?}");
        }
    }
}
