//! Who is asking: API tokens and signed-in browsers, and the principals they stand for.
//!
//! A token's text is `sluice_<kind>_<id>_<random><crc>`: kind is `person` or `ci`, id the row's UUID
//! in base62 (22 characters), random 30 characters (178 bits), crc the CRC-32 of everything before it
//! in base62 (6 characters). The checksum lets scanners find leaked tokens and lets us refuse
//! typing errors without asking the database. Postgres keeps the SHA-256 of the text only; a fast
//! hash is right because the random part cannot be guessed.

mod authenticator;
pub(crate) mod cookie;
mod exchange;
mod jwt;
mod oidc;
mod principal;
mod provider;
mod token;

use std::net::IpAddr;

use api::RoleWord;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use store::{SessionOf, SessionRow, Store, StoreError, TokenRow};
use uuid::Uuid;

pub(crate) use authenticator::{Authenticator, Shown};
pub(crate) use cookie::{SESSION, SIGN_IN};
pub(crate) use exchange::Exchange;
pub(crate) use oidc::{Callback, Door, Failed, is_secret, secret};
pub(crate) use principal::Grant;
#[cfg(test)]
pub(crate) use principal::reaches;
pub(crate) use principal::{Credential, Principal, ROLES, may_approve, role, role_word};
pub(crate) use provider::Provider;
pub(crate) use token::Kind;

/// Tokens are good for this long at most, and by default: long enough for a quarter's rotation.
pub(crate) const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
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
        exchanged: false,
    };
    (SecretString::from(text), row)
}

/// A new session, and the text of its cookie. It stands for `of` until `expires_at`.
pub(crate) fn new_session(
    of: SessionOf,
    (name, groups): (String, Vec<String>),
    source: IpAddr,
    expires_at: Timestamp,
) -> (String, SessionRow) {
    let id = Uuid::now_v7();
    let text = cookie::generate(id);
    let row = SessionRow {
        id,
        hash: digest(&text).to_vec(),
        of,
        name,
        groups,
        source: source.to_string(),
        expires_at,
    };
    (text, row)
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
