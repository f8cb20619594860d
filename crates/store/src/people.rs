//! Signed-in browsers, sign-ins under way, and ID tokens that were exchanged. Only hashes of
//! secrets are kept; comparing them is the server's work.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::{Store, error::StoreError};

/// How long what has ended is kept: long enough to see in the table what somebody asks about.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Whom a session stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOf {
    /// The bearer of this token.
    Token(Uuid),
    /// A person, by what an identity provider says.
    Person {
        /// The provider.
        issuer: String,
        /// Whom, in the provider's words that never change.
        subject: String,
    },
}

/// A signed-in browser.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Part of the cookie's text: how it is found.
    pub id: Uuid,
    /// Hash of the cookie's text.
    pub hash: Vec<u8>,
    /// Whom it stands for.
    pub of: SessionOf,
    /// The principal, as it stands in the history.
    pub name: String,
    /// The person's groups.
    pub groups: Vec<String>,
    /// The address it was begun from.
    pub source: String,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

impl fmt::Debug for SessionRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hash: it has no business in a log.
        f.debug_struct("SessionRow")
            .field("id", &self.id)
            .field("of", &self.of)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A sign-in under way.
#[derive(Clone, PartialEq, Eq)]
pub struct SignInRow {
    /// Hash of the `state`.
    pub state: Vec<u8>,
    /// Hash of what the browser has.
    pub browser: Vec<u8>,
    /// What the ID token must carry.
    pub nonce: String,
    /// What the code is redeemed with.
    pub verifier: String,
    /// Where to go afterwards.
    pub next: String,
    /// Until when it may come back.
    pub expires_at: Timestamp,
}

impl fmt::Debug for SignInRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignInRow")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

struct SessionRecord {
    id: Uuid,
    hash: Vec<u8>,
    token_id: Option<Uuid>,
    issuer: Option<String>,
    subject: Option<String>,
    name: String,
    groups: Vec<String>,
    source: String,
    expires_at: Timestamp,
}

impl SessionRecord {
    /// `None` for a row that the table's own check forbids.
    fn row(self) -> Option<SessionRow> {
        let of = match (self.token_id, self.issuer, self.subject) {
            (Some(token), None, None) => SessionOf::Token(token),
            (None, Some(issuer), Some(subject)) => SessionOf::Person { issuer, subject },
            _ => return None,
        };
        Some(SessionRow {
            id: self.id,
            hash: self.hash,
            of,
            name: self.name,
            groups: self.groups,
            source: self.source,
            expires_at: self.expires_at,
        })
    }
}

impl Store {
    /// Keeps a new session.
    ///
    /// # Errors
    /// That the database does not answer, or the id is taken.
    pub async fn insert_session(&self, session: &SessionRow) -> Result<(), StoreError> {
        let (token, issuer, subject) = match &session.of {
            SessionOf::Token(id) => (Some(*id), None, None),
            SessionOf::Person { issuer, subject } => {
                (None, Some(issuer.as_str()), Some(subject.as_str()))
            }
        };
        sqlx::query!(
            "INSERT INTO session (id, hash, token_id, issuer, subject, name, groups, source,
                 expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            session.id,
            session.hash,
            token,
            issuer,
            subject,
            session.name,
            &session.groups,
            session.source,
            session.expires_at.to_sqlx() as _
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::committing("keep a session"))
        .map(drop)
    }

    /// The session, if it is good now by the database's clock: not ended, not expired, and used
    /// within `idle`.
    ///
    /// # Errors
    /// That the database does not answer: then nobody is let in.
    pub async fn find_session(
        &self,
        id: Uuid,
        idle: Duration,
    ) -> Result<Option<SessionRow>, StoreError> {
        let found = sqlx::query_as!(
            SessionRecord,
            "SELECT id, hash, token_id, issuer, subject, name, groups, source, expires_at
             FROM session WHERE id = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()
               AND seen_at > clock_timestamp() - make_interval(secs => $2)",
            id,
            idle.as_secs_f64()
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("find a session"))?;
        Ok(found.and_then(SessionRecord::row))
    }

    /// Notes that a session was used. Writes at most once a minute.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn touch_session(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE session SET seen_at = clock_timestamp()
             WHERE id = $1 AND seen_at < clock_timestamp() - interval '1 minute'",
            id
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("touch a session"))
        .map(drop)
    }

    /// Ends a session at once. Ending it again, or one that never was, changes nothing.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn end_session(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE session SET ended_at = coalesce(ended_at, clock_timestamp()) WHERE id = $1",
            id
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::committing("end a session"))
        .map(drop)
    }

    /// Keeps a sign-in that begins.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn begin_sign_in(&self, sign_in: &SignInRow) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO sign_in (state, browser, nonce, verifier, next, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
            sign_in.state,
            sign_in.browser,
            sign_in.nonce,
            sign_in.verifier,
            sign_in.next,
            sign_in.expires_at.to_sqlx() as _
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::committing("begin a sign-in"))
        .map(drop)
    }

    /// The sign-in with this state; it can be taken once.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn take_sign_in(&self, state: &[u8]) -> Result<Option<SignInRow>, StoreError> {
        sqlx::query_as!(
            SignInRow,
            "DELETE FROM sign_in WHERE state = $1 AND expires_at > clock_timestamp()
             RETURNING state, browser, nonce, verifier, next, expires_at",
            state
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::committing("take a sign-in"))
    }

    /// Notes that an ID token is used; `false`: it was used before. `expires_at`: until when it
    /// would be accepted, so that its use is remembered that long.
    ///
    /// # Errors
    /// That the database does not answer: then it is not accepted.
    pub async fn use_id_token(
        &self,
        issuer: &str,
        jti: &str,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = sqlx::query!(
            "INSERT INTO id_token_seen (issuer, jti, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (issuer, jti) DO NOTHING",
            issuer,
            jti,
            expires_at.to_sqlx() as _
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::committing("note the use of an ID token"))?
        .rows_affected();
        Ok(rows == 1)
    }

    /// Removes what has ended a day ago.
    pub(crate) async fn sweep_people(&self) -> Result<u64, StoreError> {
        let during = "sweep sessions";
        let kept = KEPT.as_secs_f64();
        let sessions = sqlx::query!(
            "DELETE FROM session WHERE expires_at < clock_timestamp() - make_interval(secs => $1)",
            kept
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during(during))?;
        let sign_ins = sqlx::query!("DELETE FROM sign_in WHERE expires_at < clock_timestamp()")
            .execute(&self.pool)
            .await
            .map_err(StoreError::during(during))?;
        let seen = sqlx::query!(
            "DELETE FROM id_token_seen
             WHERE expires_at < clock_timestamp() - make_interval(secs => $1)",
            kept
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during(during))?;
        let tokens = sqlx::query!(
            "DELETE FROM api_token
             WHERE exchanged AND expires_at < clock_timestamp() - make_interval(secs => $1)",
            kept
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during(during))?;
        let all = [sessions, sign_ins, seen, tokens];
        Ok(all
            .iter()
            .map(sqlx::postgres::PgQueryResult::rows_affected)
            .sum())
    }
}
