//! Who is asking: API tokens, and the principals they stand for.
//!
//! A token's text is `sluice_<kind>_<id>_<random><crc>`: kind is `person` or `ci`, id the row's UUID
//! in base62 (22 characters), random 30 characters (178 bits), crc the CRC-32 of everything before it
//! in base62 (6 characters). The checksum lets scanners find leaked tokens and lets us refuse
//! typing errors without asking the database. Postgres keeps the SHA-256 of the text only; a fast
//! hash is right because the random part cannot be guessed.

mod token;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use api::RoleWord;
use axum::http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use store::{Store, StoreError, Token, TokenRow};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::error::ServeError;
pub(crate) use token::Kind;

/// Tokens are good for this long at most, and by default: long enough for a quarter's rotation.
pub(crate) const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long a token that was found good is not looked up again. A revocation must work within 5 s
/// on every replica.
const TRUSTED_FOR: Duration = Duration::from_secs(2);
/// Most tokens remembered; beyond it all are looked up again.
const REMEMBERED_MAX: usize = 4096;

/// Who is asking, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// As it stands in the history: `token:NAME`.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: RoleWord,
    /// In which project; `None`: in all.
    pub(crate) project: Option<String>,
    /// Its groups, for approval steps.
    pub(crate) groups: Vec<String>,
    /// Whether a person holds it.
    pub(crate) person: bool,
    /// Its token.
    pub(crate) token_id: Uuid,
}

impl Principal {
    /// Whether it may know of `project` at all.
    pub(crate) fn sees(&self, project: &str) -> bool {
        self.project.as_deref().is_none_or(|it| it == project)
    }

    /// The projects it sees, as the store wants them; `None`: all.
    pub(crate) fn projects(&self) -> Option<Vec<String>> {
        self.project.clone().map(|it| vec![it])
    }

    fn of(token: &Token) -> Option<Self> {
        let row = &token.row;
        Some(Self {
            name: format!("token:{}", row.name),
            role: role(&row.role)?,
            project: row.project.clone(),
            groups: row.groups.clone(),
            person: row.person,
            token_id: row.id,
        })
    }
}

/// The role a word stands for.
pub(crate) fn role(word: &str) -> Option<RoleWord> {
    let roles = [
        RoleWord::Viewer,
        RoleWord::Deployer,
        RoleWord::Approver,
        RoleWord::Operator,
        RoleWord::Admin,
    ];
    roles.into_iter().find(|it| role_word(*it) == word)
}

/// The word for a role, as in JSON and in the database.
pub(crate) fn role_word(role: RoleWord) -> &'static str {
    match role {
        RoleWord::Viewer => "viewer",
        RoleWord::Deployer => "deployer",
        RoleWord::Approver => "approver",
        RoleWord::Operator => "operator",
        RoleWord::Admin => "admin",
    }
}

/// What a new token shall be.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    /// What it is for.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: RoleWord,
    /// In which project; `None`: in all.
    pub(crate) project: Option<String>,
    /// The groups its holder is in.
    pub(crate) groups: Vec<String>,
    /// Whether a person holds it.
    pub(crate) person: bool,
    /// Who makes it.
    pub(crate) created_by: String,
    /// Until when it is good.
    pub(crate) expires_at: Timestamp,
}

/// A new token: the text, to be shown once, and the row that recognises it.
pub(crate) fn new_token(new: NewToken) -> (SecretString, TokenRow) {
    let id = Uuid::now_v7();
    let kind = if new.person { Kind::Person } else { Kind::Ci };
    let text = token::generate(kind, id);
    let row = TokenRow {
        id,
        hash: digest(&text).to_vec(),
        name: new.name,
        role: role_word(new.role).to_owned(),
        project: new.project,
        groups: new.groups,
        person: new.person,
        created_by: new.created_by,
        expires_at: Some(new.expires_at),
    };
    (SecretString::from(text), row)
}

/// Makes a token for everything, if there is no token at all yet.
pub(crate) async fn first_admin_token(store: &Store) -> Result<Option<SecretString>, StoreError> {
    if !store.list_tokens(None).await?.is_empty() {
        return Ok(None);
    }
    let (secret, row) = new_token(NewToken {
        name: "admin".to_owned(),
        role: RoleWord::Admin,
        project: None,
        groups: Vec::new(),
        person: true,
        created_by: "system".to_owned(),
        expires_at: Timestamp::now()
            .checked_add(TOKEN_LIFE)
            .unwrap_or(Timestamp::MAX),
    });
    store.insert_token(&row).await?;
    Ok(Some(secret))
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[derive(Debug, Clone)]
struct Known {
    hash: [u8; 32],
    principal: Principal,
    expires_at: Timestamp,
    until: Instant,
}

/// Knows tokens by their text, and remembers good ones for [`TRUSTED_FOR`].
#[derive(Debug, Default)]
pub(crate) struct Authenticator {
    known: Mutex<HashMap<Uuid, Known>>,
}

impl Authenticator {
    /// Who sent a request with these headers; `stores` are asked in turn while the ones before
    /// them are unavailable.
    pub(crate) async fn principal(
        &self,
        headers: &HeaderMap,
        stores: &[&Store],
    ) -> Result<Principal, ServeError> {
        let text = bearer(headers)?;
        let (_, id) = token::parse(text).ok_or_else(unknown)?;
        let hash = digest(text);
        if let Some(principal) = self.remembered(id, &hash) {
            return Ok(principal);
        }
        let Some(token) = find(id, stores).await? else {
            return Err(unknown());
        };
        if !bool::from(token.row.hash.ct_eq(&hash)) {
            return Err(unknown());
        }
        self.accept(&token, hash)
    }

    /// Whether `principal`'s token is still good; for streams, which outlive the first look.
    pub(crate) async fn still_good(&self, principal: &Principal, store: &Store) -> bool {
        let id = principal.token_id;
        if self.fresh(id).is_some_and(|it| it.principal == *principal) {
            return true;
        }
        match find(id, &[store]).await {
            Ok(Some(token)) => {
                let hash = <[u8; 32]>::try_from(token.row.hash.as_slice());
                let accepted = hash.ok().map(|hash| self.accept(&token, hash));
                matches!(accepted, Some(Ok(now)) if now == *principal)
            }
            Ok(None) => false,
            // The stream gives nothing without the database anyway; it ends on a real refusal only.
            Err(_) => true,
        }
    }

    /// Forgets a token, so that its revocation works here at once.
    pub(crate) fn forget(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    fn accept(&self, token: &Token, hash: [u8; 32]) -> Result<Principal, ServeError> {
        // The store gives only tokens that are good by the database's clock; this is the belt.
        let expires_at = token.row.expires_at.unwrap_or(Timestamp::MAX);
        if token.revoked_at.is_some() || expires_at <= Timestamp::now() {
            return Err(unknown());
        }
        let principal = Principal::of(token).ok_or_else(|| ServeError::Unauthenticated {
            detail: "this token has a role that this version does not know; ask for a new one"
                .to_owned(),
        })?;
        let known = Known {
            hash,
            principal: principal.clone(),
            expires_at,
            until: Instant::now() + TRUSTED_FOR,
        };
        let mut map = self.lock();
        if map.len() >= REMEMBERED_MAX {
            map.clear();
        }
        map.insert(token.row.id, known);
        Ok(principal)
    }

    fn remembered(&self, id: Uuid, hash: &[u8; 32]) -> Option<Principal> {
        let known = self.fresh(id)?;
        bool::from(known.hash.ct_eq(hash)).then_some(known.principal)
    }

    fn fresh(&self, id: Uuid) -> Option<Known> {
        let known = self.lock().get(&id).cloned()?;
        let good = known.until > Instant::now() && known.expires_at > Timestamp::now();
        good.then_some(known)
    }

    /// A map of plain values is whole after a panic elsewhere, too.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find(id: Uuid, stores: &[&Store]) -> Result<Option<Token>, StoreError> {
    let mut found = Ok(None);
    for store in stores {
        found = store.find_token(id).await;
        match &found {
            Err(error) if error.is_transient() => {}
            Ok(Some(_)) => {
                note_use(store, id);
                break;
            }
            Ok(None) | Err(_) => break,
        }
    }
    found
}

/// "Last used" is worth a line in the log, never a request's time.
fn note_use(store: &Store, id: Uuid) {
    let store = store.clone();
    tokio::spawn(async move {
        if let Err(error) = store.touch_token(id).await {
            tracing::debug!(%error, "cannot note a token's use");
        }
    });
}

/// The same words for a token that never was and one that is not good any more.
fn unknown() -> ServeError {
    ServeError::Unauthenticated {
        detail: "this token is unknown, was revoked or has expired; ask an admin for a new one"
            .to_owned(),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ServeError> {
    let missing = || ServeError::Unauthenticated {
        detail: "send an API token: Authorization: Bearer sluice_…".to_owned(),
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing());
    };
    let value = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(token.trim()),
        false => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(expires_in: SignedDuration) -> (Token, [u8; 32]) {
        let (secret, row) = new_token(NewToken {
            name: "ci".to_owned(),
            role: RoleWord::Deployer,
            project: Some("shop".to_owned()),
            groups: Vec::new(),
            person: false,
            created_by: "system".to_owned(),
            expires_at: Timestamp::now() + expires_in,
        });
        let hash = digest(secrecy::ExposeSecret::expose_secret(&secret));
        let token = Token {
            row,
            created_at: Timestamp::now(),
            last_used_at: None,
            revoked_at: None,
            revoked_by: None,
        };
        (token, hash)
    }

    #[test]
    fn a_good_token_is_remembered_and_can_be_forgotten() {
        let known = Authenticator::default();
        let (token, hash) = token(SignedDuration::from_hours(1));
        let principal = known.accept(&token, hash).unwrap();
        assert_eq!(principal.name, "token:ci");
        assert!(principal.sees("shop") && !principal.sees("bank"));
        assert_eq!(known.remembered(token.row.id, &hash), Some(principal));
        assert_eq!(known.remembered(token.row.id, &[0; 32]), None);
        known.forget(token.row.id);
        assert_eq!(known.remembered(token.row.id, &hash), None);
    }

    #[test]
    fn expired_revoked_and_foreign_tokens_are_refused() {
        let known = Authenticator::default();
        let (expired, hash) = token(SignedDuration::from_hours(-1));
        assert!(known.accept(&expired, hash).is_err());
        let (mut revoked, hash) = token(SignedDuration::from_hours(1));
        revoked.revoked_at = Some(Timestamp::now());
        assert!(known.accept(&revoked, hash).is_err());
        let (mut foreign, hash) = token(SignedDuration::from_hours(1));
        foreign.row.role = "emperor".to_owned();
        assert!(known.accept(&foreign, hash).is_err());
    }

    #[test]
    fn only_one_bearer_header_is_read() {
        let mut headers = HeaderMap::new();
        assert!(bearer(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert!(bearer(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "bearer abc".parse().unwrap());
        assert_eq!(bearer(&headers).unwrap(), "abc");
        headers.append(header::AUTHORIZATION, "Bearer def".parse().unwrap());
        assert!(bearer(&headers).is_err());
    }

    #[test]
    fn every_role_has_its_word() {
        for word in ["viewer", "deployer", "approver", "operator", "admin"] {
            assert_eq!(role(word).map(role_word), Some(word));
        }
        assert_eq!(role("Admin"), None);
    }
}
