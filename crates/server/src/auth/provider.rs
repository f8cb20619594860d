//! One issuer of tokens: where its doors are, and its keys, fetched and kept for a while.
//!
//! Keys are fetched anew after [`SOFT`]; while that fails, those kept go on being good up to
//! [`HARD`], and not a second longer. A token that names a key which is not known makes us look at
//! once, but not more often than [`FLOOR`], whoever sends how many.

use std::time::{Duration, Instant};

use drivers::exchange::{Limits, exchange};
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::jwt::{Claims, Jwk, Key, Unverified};
use crate::{error::ServeError, people::is_private};

/// After this we look whether anything has changed.
const SOFT: Duration = Duration::from_secs(300);
/// What is older is not believed any more.
const HARD: Duration = Duration::from_secs(3600);
/// Least time between two looks.
const FLOOR: Duration = Duration::from_secs(10);
/// What one look may cost.
pub(super) const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(5),
    bytes_max: 256 << 10,
};

/// Where an issuer's doors are (OpenID Connect Discovery).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Doors {
    issuer: String,
    jwks_uri: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

#[derive(Debug, Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Debug, Clone)]
struct Known {
    doors: Doors,
    keys: Vec<Key>,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    tried: Option<Instant>,
}

/// One issuer.
#[derive(Debug)]
pub(crate) struct Provider {
    issuer: String,
    http: reqwest::Client,
    /// Held while we look, so that a crowd looks once.
    state: Mutex<State>,
}

impl Provider {
    pub(crate) fn new(issuer: &str, http: reqwest::Client) -> Self {
        Self {
            issuer: issuer.to_owned(),
            http,
            state: Mutex::default(),
        }
    }

    /// Where its doors are.
    pub(super) async fn doors(&self) -> Result<Doors, ServeError> {
        Ok(self.known(|_| true).await?.doors)
    }

    /// The claims of a token, if this issuer has signed it.
    pub(crate) async fn verify(&self, token: Unverified<'_>) -> Result<Claims, ServeError> {
        let known = self.known(|keys| token.key(keys).is_some()).await?;
        let key = token.key(&known.keys).ok_or_else(|| {
            refused("no key of its issuer has the name (kid) and kind that it says")
        })?;
        token.verify(key).map_err(|it| refused(&it.0))
    }

    /// What is known, looked up anew where it is old or not `enough`.
    async fn known(&self, enough: impl Fn(&[Key]) -> bool) -> Result<Known, ServeError> {
        let mut state = self.state.lock().await;
        let good = |it: &&Known| it.at.elapsed() < HARD;
        let settled = |it: &&Known| it.at.elapsed() < SOFT && enough(&it.keys);
        if let Some(known) = state.known.as_ref().filter(settled) {
            return Ok(known.clone());
        }
        let tried = state.tried.filter(|it| it.elapsed() < FLOOR);
        let failed = match tried {
            Some(_) => "it was asked a moment ago".to_owned(),
            None => {
                state.tried = Some(Instant::now());
                match self.look().await {
                    Ok(known) => {
                        state.known = Some(known.clone());
                        return Ok(known);
                    }
                    Err(why) => {
                        tracing::warn!(issuer = self.issuer, "cannot look up an issuer: {why}");
                        why
                    }
                }
            }
        };
        let kept = state.known.as_ref().filter(good).cloned();
        kept.ok_or_else(|| ServeError::Unavailable {
            detail: format!("the keys of {} cannot be had: {failed}", self.issuer),
        })
    }

    async fn look(&self) -> Result<Known, String> {
        let base = self.issuer.trim_end_matches('/');
        let doors: Doors = self
            .fetch(&format!("{base}/.well-known/openid-configuration"))
            .await?;
        if doors.issuer != self.issuer {
            return Err(format!(
                "it calls itself {:?}, and must do so exactly as in the settings",
                doors.issuer
            ));
        }
        let optional = [
            &doors.authorization_endpoint,
            &doors.token_endpoint,
            &doors.userinfo_endpoint,
        ];
        let others = optional.into_iter().flatten();
        for url in others.chain([&doors.jwks_uri]) {
            if !is_private(url) {
                return Err(format!("it names {url:?}, which is not https"));
            }
        }
        let set: JwkSet = self.fetch(&doors.jwks_uri).await?;
        // Keys of kinds that are not known here do not spoil the others.
        let keys = set.keys.into_iter();
        let keys = keys.filter_map(|it| serde_json::from_value::<Jwk>(it).ok()?.key());
        Ok(Known {
            keys: keys.collect(),
            doors,
            at: Instant::now(),
        })
    }

    async fn fetch<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let url: Url = url.parse().map_err(|_| "not a URL".to_owned())?;
        let path = url.path().to_owned();
        let failed = |why: String| format!("{path}: {why}");
        let answer = exchange(self.http.get(url), LIMITS).await;
        let answer = answer.map_err(|it| failed(it.to_string()))?;
        if !answer.status.is_success() {
            return Err(failed(format!("HTTP {}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|it| failed(it.to_string()))
    }
}

/// A token that is not accepted, and why: it is the caller's own.
pub(super) fn refused(why: &str) -> ServeError {
    ServeError::Unauthenticated {
        detail: format!("the ID token is not accepted: {why}"),
    }
}
