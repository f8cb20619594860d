//! Seals of the audit log: a chain of hashes over it, and the check that it is as it was written. See
//! `migrations/0013_audit.sql`.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{Store, error::StoreError};

/// Lines that one seal covers at most, about.
const SEALED_AT_ONCE: i32 = 5_000;
/// Lines read at a time when seals are verified.
const VERIFIED_AT_ONCE: i64 = 1_000;

/// A seal: `NUMBER:HASH`. Whoever keeps one elsewhere can tell later whether the log's end was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// Its number, from 1.
    pub seal: i64,
    /// SHA-256 over everything up to there.
    pub hash: [u8; 32],
}

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seal)?;
        self.hash.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl FromStr for AuditHead {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let read = || {
            let (seal, digits) = text.split_once(':')?;
            let mut hash = [0; 32];
            for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            let seal = seal.parse().ok()?;
            Some(Self { seal, hash }).filter(|it| it.to_string() == text)
        };
        read().ok_or_else(|| StoreError::BadCursor {
            cursor: text.chars().take(100).collect(),
        })
    }
}

/// What a check of the whole log found in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditChecked {
    /// Lines that seals cover.
    pub sealed: u64,
    /// The newest seal, if there is one.
    pub head: Option<AuditHead>,
    /// Lines that are too young to be sealed.
    pub unsealed: u64,
}

/// What is wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum AuditProblem {
    /// A seal is missing, or does not begin where the one before ends.
    #[error("seal {missing} is missing, or does not follow the one before it")]
    Gap {
        /// Its number.
        missing: i64,
    },
    /// Lines were changed, removed or slipped in.
    #[error(
        "the lines from {since} to {until} are not those that seal {seal} covers: one was changed, \
         removed or slipped in"
    )]
    Tampered {
        /// The first seal that does not fit.
        seal: i64,
        /// When the seal before was made, or the beginning of time.
        since: Timestamp,
        /// When the seal was made.
        until: Timestamp,
    },
    /// A seal that was kept elsewhere is not there, or is another one.
    #[error("seal {kept} is not what it was: the log was cut off, or written anew")]
    Cut {
        /// Its number.
        kept: i64,
    },
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Seals what no running transaction can add to any more. Any replica may; one at a time does.
    /// Returns how many lines it was.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn seal_audit(&self) -> Result<u64, StoreError> {
        let sealed = sqlx::query_scalar!(r#"SELECT seal_audit($1) AS "lines!""#, SEALED_AT_ONCE)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::during("seal the audit log"))?;
        Ok(sealed.unsigned_abs())
    }

    /// Checks every seal against the lines it covers. The hashes are computed here, and not by the
    /// database that is under suspicion. `kept`: a seal that must be there.
    ///
    /// # Errors
    /// The first problem found.
    pub async fn verify_audit(
        &self,
        kept: Option<AuditHead>,
    ) -> Result<AuditChecked, AuditProblem> {
        let during = "verify the audit log";
        // One snapshot, so that what is sealed meanwhile is not a problem.
        let mut tx = self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(StoreError::during(during))?;
        let seals = sqlx::query!(
            r#"SELECT seq, at, from_txid, to_txid, lines, hash
               FROM audit_seal ORDER BY seq"#
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::during(during))?;
        let (mut sealed, mut seal, mut end) = (0_u64, 0_i64, 0_i64);
        let mut hash: Vec<u8> = Vec::new();
        let mut found_kept = kept.is_none();
        let mut since = Timestamp::UNIX_EPOCH;
        for row in seals {
            if row.seq != seal + 1 || row.from_txid != end {
                return Err(AuditProblem::Gap { missing: seal + 1 });
            }
            let (lines, found) = chained(&mut tx, (row.from_txid, row.to_txid), &hash).await?;
            let at = row.at.to_jiff();
            if found != row.hash || i64::try_from(lines) != Ok(row.lines) {
                return Err(AuditProblem::Tampered {
                    seal: row.seq,
                    since,
                    until: at,
                });
            }
            (seal, end, since, hash) = (row.seq, row.to_txid, at, found);
            sealed += lines;
            found_kept |= kept.is_some_and(|it| it.seal == seal && it.hash == *hash);
        }
        if let Some(AuditHead { seal: kept, .. }) = kept.filter(|_| !found_kept) {
            return Err(AuditProblem::Cut { kept });
        }
        let unsealed = sqlx::query_scalar!(
            r#"SELECT count(*) AS "lines!" FROM audit_line WHERE txid >= $1"#,
            end
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during(during))?;
        Ok(AuditChecked {
            sealed,
            head: hash.try_into().ok().map(|hash| AuditHead { seal, hash }),
            unsealed: unsealed.unsigned_abs(),
        })
    }
}

/// The lines of these transactions, counted, and their chain's end.
async fn chained(
    tx: &mut sqlx::PgConnection,
    (from, to): (i64, i64),
    before: &[u8],
) -> Result<(u64, Vec<u8>), StoreError> {
    let (mut lines, mut hash) = (0, before.to_vec());
    let mut after = (from - 1, i64::MAX, String::new());
    loop {
        let rows = sqlx::query!(
            r#"SELECT txid AS "txid!", number AS "number!", kind AS "kind!", sealed AS "sealed!"
               FROM audit_line
               WHERE (txid, number, kind) > ($1, $2, $3) AND txid < $4
               ORDER BY txid, number, kind LIMIT $5"#,
            after.0,
            after.1,
            after.2,
            to,
            VERIFIED_AT_ONCE
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::during("verify the audit log"))?;
        let Some(last) = rows.last() else {
            return Ok((lines, hash));
        };
        after = (last.txid, last.number, last.kind.clone());
        for row in rows {
            lines += 1;
            let next = Sha256::new().chain_update(&hash).chain_update(row.sealed);
            hash = next.finalize().to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_what_it_wrote_and_nothing_else() {
        let hash = std::array::from_fn(|it| u8::try_from(it * 7).unwrap());
        let head = AuditHead { seal: 12, hash };
        let text = head.to_string();
        assert_eq!(text.parse::<AuditHead>().unwrap(), head);
        for bad in [
            "",
            "12:",
            "12:00",
            &text.to_uppercase(),
            &format!("{text}0"),
            &text[1..],
        ] {
            assert_ne!(bad.parse::<AuditHead>().ok(), Some(head), "{bad:?}");
        }
    }
}
