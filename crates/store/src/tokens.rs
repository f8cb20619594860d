//! API tokens. Only hashes are kept; comparing them is the server's work.

use std::fmt;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::{Store, error::StoreError};

/// Most tokens in one list: people keep dozens, not thousands.
const LIST_MAX: i64 = 1000;

/// A token as it is made.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Part of the token's text: how it is found.
    pub id: Uuid,
    /// What people call it; part of the principal.
    pub name: String,
    /// Hash of the secret part.
    pub hash: Vec<u8>,
    /// The role, as the server names it.
    pub role: String,
    /// The project it is for; `None`: all.
    pub project: Option<String>,
    /// The groups its holder is in.
    pub groups: Vec<String>,
    /// Whether a person holds it.
    pub person: bool,
    /// Who made it.
    pub created_by: String,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Whether it was given to a CI job for its provider's ID token; such a token is good for
    /// minutes, and forgotten a day after.
    pub exchanged: bool,
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hash: it has no business in a log.
        f.debug_struct("TokenRow")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it was made.
    pub row: TokenRow,
    /// When.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// By whom.
    pub revoked_by: Option<String>,
}

struct TokenRecord {
    id: Uuid,
    name: String,
    hash: Vec<u8>,
    role: String,
    project: Option<String>,
    groups: Vec<String>,
    person: bool,
    created_by: String,
    created_at: Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    exchanged: bool,
    last_used_at: Option<jiff_sqlx::Timestamp>,
    revoked_at: Option<jiff_sqlx::Timestamp>,
    revoked_by: Option<String>,
}

impl From<TokenRecord> for Token {
    fn from(it: TokenRecord) -> Self {
        Self {
            row: TokenRow {
                id: it.id,
                name: it.name,
                hash: it.hash,
                role: it.role,
                project: it.project,
                groups: it.groups,
                person: it.person,
                created_by: it.created_by,
                expires_at: it.expires_at.map(Timestamp::from),
                exchanged: it.exchanged,
            },
            created_at: it.created_at,
            last_used_at: it.last_used_at.map(Timestamp::from),
            revoked_at: it.revoked_at.map(Timestamp::from),
            revoked_by: it.revoked_by,
        }
    }
}

impl Store {
    /// Keeps a new token.
    ///
    /// # Errors
    /// That the database does not answer, or the id is taken.
    pub async fn insert_token(&self, token: &TokenRow) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO api_token (id, name, hash, role, project, groups, person, created_by,
                 expires_at, exchanged)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            token.id,
            token.name,
            token.hash,
            token.role,
            token.project,
            &token.groups,
            token.person,
            token.created_by,
            token.expires_at.map(ToSqlx::to_sqlx) as _,
            token.exchanged
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::committing("keep a token"))
        .map(|_| ())
    }

    /// The token, if it is valid now: neither revoked nor expired, by the database's clock.
    ///
    /// # Errors
    /// That the database does not answer: then nobody is let in.
    pub async fn find_token(&self, id: Uuid) -> Result<Option<Token>, StoreError> {
        sqlx::query_as!(
            TokenRecord,
            "SELECT id, name, hash, role, project, groups, person, created_by, created_at,
                    expires_at, exchanged, last_used_at, revoked_at, revoked_by
             FROM api_token WHERE id = $1 AND revoked_at IS NULL
               AND (expires_at IS NULL OR expires_at > clock_timestamp())",
            id
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("find a token"))
        .map(|it| it.map(Token::from))
    }

    /// All tokens of these projects, or all tokens (`None`), oldest first; also those that ended,
    /// but for the ones of CI jobs.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn list_tokens(&self, projects: Option<&[String]>) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query_as!(
            TokenRecord,
            "SELECT id, name, hash, role, project, groups, person, created_by, created_at,
                    expires_at, exchanged, last_used_at, revoked_at, revoked_by
             FROM api_token WHERE ($1::text[] IS NULL OR project = ANY($1))
               AND (NOT exchanged OR revoked_at IS NULL AND expires_at > clock_timestamp())
             ORDER BY id LIMIT $2",
            projects as _,
            LIST_MAX
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("list tokens"))?;
        Ok(rows.into_iter().map(Token::from).collect())
    }

    /// Whether a good token has this name: neither revoked nor expired.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn token_name_is_taken(&self, name: &str) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM api_token WHERE name = $1 AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > clock_timestamp())) AS "taken!""#,
            name
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::during("look for a token's name"))
    }

    /// Ends a token at once. Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_token(&self, id: Uuid, by: &str) -> Result<(), StoreError> {
        let rows = sqlx::query!(
            "UPDATE api_token SET revoked_at = coalesce(revoked_at, clock_timestamp()),
                 revoked_by = coalesce(revoked_by, $2)
             WHERE id = $1",
            id,
            by
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::committing("revoke a token"))?
        .rows_affected();
        match rows {
            0 => Err(StoreError::NotFound { what: "token" }),
            _ => Ok(()),
        }
    }

    /// Notes that a token was used. Writes at most once a minute.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn touch_token(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE api_token SET last_used_at = clock_timestamp()
             WHERE id = $1 AND (last_used_at IS NULL
                                OR last_used_at < clock_timestamp() - interval '1 minute')",
            id
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::during("touch a token"))
        .map(|_| ())
    }
}
