//! Recognises who asks by what a request shows, and remembers it for a moment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use store::{SessionOf, SessionRow, Store, StoreError, Token};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::{
    Credential, Principal,
    cookie::{self, SESSION},
    digest, token,
};
use crate::{error::ServeError, people::People};

/// How long a token that was found good is not looked up again. A revocation must work within 5 s
/// on every replica.
const TRUSTED_FOR: Duration = Duration::from_secs(2);
/// Most tokens remembered; beyond it all are looked up again.
const REMEMBERED_MAX: usize = 4096;

#[derive(Debug, Clone)]
struct Known {
    hash: [u8; 32],
    principal: Principal,
    until: Instant,
}

/// What a request shows to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A token in a header: no browser sends one by itself.
    Bearer,
    /// A cookie, which a browser sends whoever made it send the request.
    Cookie,
}

/// Knows tokens and cookies by their text, and remembers good ones for [`TRUSTED_FOR`].
#[derive(Debug)]
pub(crate) struct Authenticator {
    known: Mutex<HashMap<Uuid, Known>>,
    people: Arc<People>,
}

impl Authenticator {
    /// One that knows nobody yet.
    pub(crate) fn new(people: Arc<People>) -> Self {
        Self {
            known: Mutex::default(),
            people,
        }
    }

    /// Who sent a request with these headers; `stores` are asked in turn while the ones before
    /// them are unavailable. `look` is asked before a store is: whoever tries out tokens is stopped there.
    pub(crate) async fn principal(
        &self,
        headers: &HeaderMap,
        stores: &[&Store],
        look: impl FnOnce() -> Result<(), ServeError>,
    ) -> Result<(Principal, Shown), ServeError> {
        if headers.contains_key(header::AUTHORIZATION) {
            let principal = self.bearer(bearer(headers)?, stores, look).await?;
            return Ok((principal, Shown::Bearer));
        }
        let text = cookie::read(headers, SESSION).ok_or_else(missing)?;
        let id = cookie::parse(text).ok_or_else(ended)?;
        let hash = digest(text);
        if let Some(principal) = self.remembered(id, &hash) {
            return Ok((principal, Shown::Cookie));
        }
        look()?;
        let (session, principal) = self.session(id, stores, true).await?.ok_or_else(ended)?;
        if !bool::from(session.hash.ct_eq(&hash)) {
            return Err(ended());
        }
        self.remember(id, hash, &principal);
        Ok((principal, Shown::Cookie))
    }

    /// Whose token `text` is.
    pub(crate) async fn bearer(
        &self,
        text: &str,
        stores: &[&Store],
        look: impl FnOnce() -> Result<(), ServeError>,
    ) -> Result<Principal, ServeError> {
        let (_, id) = token::parse(text).ok_or_else(unknown)?;
        let hash = digest(text);
        if let Some(principal) = self.remembered(id, &hash) {
            return Ok(principal);
        }
        look()?;
        let token = find(id, stores).await?.ok_or_else(unknown)?;
        if !bool::from(token.row.hash.ct_eq(&hash)) {
            return Err(unknown());
        }
        let principal = accept(&token)?;
        self.remember(id, hash, &principal);
        Ok(principal)
    }

    /// Whether what `principal` was known by is still good, and for the same rights; for streams,
    /// which outlive the first look. A stream alone does not keep a session in use.
    pub(crate) async fn still_good(&self, principal: &Principal, store: &Store) -> bool {
        let id = principal.credential.id();
        if self.fresh(id).is_some_and(|it| it.principal == *principal) {
            return true;
        }
        let (hash, now) = match principal.credential {
            Credential::Token(_) => match find(id, &[store]).await {
                Ok(Some(token)) => (token.row.hash.clone(), accept(&token).ok()),
                Ok(None) => return false,
                // The stream gives nothing without the database anyway; it ends on a real refusal only.
                Err(_) => return true,
            },
            Credential::Session { .. } => match self.session(id, &[store], false).await {
                Ok(Some((session, now))) => (session.hash, Some(now)),
                Ok(None) => return false,
                Err(_) => return true,
            },
        };
        let same = now.as_ref() == Some(principal);
        if let (true, Ok(hash)) = (same, <[u8; 32]>::try_from(hash.as_slice())) {
            self.remember(id, hash, principal);
        }
        same
    }

    /// Forgets a token or a session, so that its end works here at once.
    pub(crate) fn forget(&self, id: Uuid) {
        self.lock()
            .retain(|_, it| !it.principal.credential.hangs_on(id));
    }

    /// The session that the request's cookie names, whether it is good or not: what a new sign-in
    /// in the same browser puts an end to.
    pub(crate) fn named(&self, headers: &HeaderMap) -> Option<Uuid> {
        cookie::parse(cookie::read(headers, SESSION)?)
    }

    /// The session `id`, and whom it stands for now. `used`: the look counts as use.
    async fn session(
        &self,
        id: Uuid,
        stores: &[&Store],
        used: bool,
    ) -> Result<Option<(SessionRow, Principal)>, ServeError> {
        let idle = self.people.sessions.idle;
        let found = in_turn(stores, |store| store.find_session(id, idle)).await?;
        let Some((session, store)) = found else {
            return Ok(None);
        };
        let (mut principal, token) = match &session.of {
            SessionOf::Token(id) => match find(*id, stores).await? {
                Some(token) => (accept(&token)?, Some(*id)),
                None => return Ok(None),
            },
            SessionOf::Person { issuer, .. } => {
                let Some(grants) = self.people.grants(issuer, &session.groups) else {
                    return Ok(None);
                };
                let principal = Principal {
                    name: session.name.clone(),
                    grants,
                    groups: session.groups.clone(),
                    person: true,
                    credential: Credential::Session { id, token: None },
                    expires_at: session.expires_at,
                };
                (principal, None)
            }
        };
        principal.credential = Credential::Session { id, token };
        principal.expires_at = principal.expires_at.min(session.expires_at);
        if used {
            note_session(store, id);
        }
        Ok(Some((session, principal)))
    }

    fn remember(&self, id: Uuid, hash: [u8; 32], principal: &Principal) {
        let known = Known {
            hash,
            principal: principal.clone(),
            until: Instant::now() + TRUSTED_FOR,
        };
        let mut map = self.lock();
        if map.len() >= REMEMBERED_MAX {
            map.clear();
        }
        map.insert(id, known);
    }

    fn remembered(&self, id: Uuid, hash: &[u8; 32]) -> Option<Principal> {
        let known = self.fresh(id)?;
        bool::from(known.hash.ct_eq(hash)).then_some(known.principal)
    }

    fn fresh(&self, id: Uuid) -> Option<Known> {
        let known = self.lock().get(&id).cloned()?;
        let good = known.until > Instant::now() && known.principal.expires_at > Timestamp::now();
        good.then_some(known)
    }

    /// A map of plain values is whole after a panic elsewhere, too.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(token: &Token) -> Result<Principal, ServeError> {
    // The store gives only tokens that are good by the database's clock; this is the belt.
    let expires_at = token.row.expires_at.unwrap_or(Timestamp::MAX);
    if token.revoked_at.is_some() || expires_at <= Timestamp::now() {
        return Err(unknown());
    }
    Principal::of(token).ok_or_else(|| ServeError::Unauthenticated {
        detail: "this token has a role that this version does not know; ask for a new one"
            .to_owned(),
    })
}

/// What the first store finds that is available, and which that was.
async fn in_turn<'a, T, F>(
    stores: &[&'a Store],
    ask: impl Fn(&'a Store) -> F,
) -> Result<Option<(T, &'a Store)>, StoreError>
where
    F: Future<Output = Result<Option<T>, StoreError>>,
{
    let mut found = Ok(None);
    for store in stores {
        found = ask(store).await.map(|it| it.map(|it| (it, *store)));
        match &found {
            Err(error) if error.is_transient() => {}
            Ok(_) | Err(_) => break,
        }
    }
    found
}

async fn find(id: Uuid, stores: &[&Store]) -> Result<Option<Token>, StoreError> {
    let found = in_turn(stores, |store| store.find_token(id)).await?;
    Ok(found.map(|(token, store)| {
        note_use(store, id);
        token
    }))
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

/// As [`note_use`]: a note that is lost ends a session early at the worst.
fn note_session(store: &Store, id: Uuid) {
    let store = store.clone();
    tokio::spawn(async move {
        if let Err(error) = store.touch_session(id).await {
            tracing::debug!(%error, "cannot note a session's use");
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

/// The same words for a session that never was and one that is over.
fn ended() -> ServeError {
    ServeError::Unauthenticated {
        detail: "this session is over; sign in again".to_owned(),
    }
}

fn missing() -> ServeError {
    ServeError::Unauthenticated {
        detail: "send an API token (Authorization: Bearer sluice_…), or sign in".to_owned(),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ServeError> {
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
    use jiff::SignedDuration;

    use super::*;
    use crate::auth::{NewToken, new_token};
    use api::RoleWord;

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
        let known = Authenticator::new(Arc::default());
        let (token, hash) = token(SignedDuration::from_hours(1));
        let principal = accept(&token).unwrap();
        assert_eq!(principal.name, "token:ci");
        let id = token.row.id;
        known.remember(id, hash, &principal);
        assert_eq!(known.remembered(id, &hash), Some(principal.clone()));
        assert_eq!(known.remembered(id, &[0; 32]), None);
        // With it go the sessions that were begun with it.
        let session = Uuid::now_v7();
        let credential = Credential::Session {
            id: session,
            token: Some(id),
        };
        let in_browser = Principal {
            credential,
            ..principal
        };
        known.remember(session, [1; 32], &in_browser);
        known.forget(id);
        assert_eq!(known.remembered(id, &hash), None);
        assert_eq!(known.remembered(session, &[1; 32]), None);
    }

    #[test]
    fn expired_revoked_and_foreign_tokens_are_refused() {
        let (expired, _) = token(SignedDuration::from_hours(-1));
        assert!(accept(&expired).is_err());
        let (mut revoked, _) = token(SignedDuration::from_hours(1));
        revoked.revoked_at = Some(Timestamp::now());
        assert!(accept(&revoked).is_err());
        let (mut foreign, _) = token(SignedDuration::from_hours(1));
        foreign.row.role = "emperor".to_owned();
        assert!(accept(&foreign).is_err());
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
}
