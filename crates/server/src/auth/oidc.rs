//! People sign in by their identity provider: OpenID Connect's authorization code flow with PKCE.
//!
//! ```text
//!  /auth/login ─> keep state, nonce, verifier and the browser's own secret (hashes, for 10 minutes)
//!     302 to the provider ──(person signs in there)──> /auth/callback?code&state
//!  take the state (once), is it this browser's? ─> redeem code + verifier ─> ID token: signature,
//!     iss, aud, exp, nonce ─> groups ─> roles by the rules ─> a new session
//! ```

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use drivers::exchange::exchange;
use jiff::{SignedDuration, Timestamp};
use rand::distr::{Alphanumeric, SampleString as _};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::{SessionOf, SignInRow, Store};
use subtle::ConstantTimeEq as _;

use super::{
    digest,
    jwt::{self, Claims, Unverified},
    provider::{Doors, LIMITS, Provider},
};
use crate::{error::ServeError, people::Oidc};

/// How long somebody may take at the provider.
const SIGN_IN_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Characters of state, nonce, verifier and the browser's secret: 62^43 is more than 2^256.
const SECRET: usize = 43;
/// Most groups of a person that are looked at.
const GROUPS_MAX: usize = 1000;

/// Why a sign-in came to nothing: a word for the page that says so, and what happened for the log.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) word: &'static str,
    pub(crate) detail: String,
}

fn failed(word: &'static str, detail: impl Into<String>) -> Failed {
    Failed {
        word,
        detail: detail.into(),
    }
}

impl From<ServeError> for Failed {
    fn from(error: ServeError) -> Self {
        failed("provider", crate::error::chain(&error))
    }
}

impl From<store::StoreError> for Failed {
    fn from(error: store::StoreError) -> Self {
        failed("unavailable", crate::error::chain(&error))
    }
}

/// The person whom a provider vouches for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Whom a session of theirs stands for.
    pub(crate) of: SessionOf,
    /// As they stand in the history.
    pub(crate) name: String,
    /// Their groups.
    pub(crate) groups: Vec<String>,
}

/// Signs people in.
#[derive(Debug)]
pub(crate) struct Door {
    settings: Oidc,
    redirect_uri: String,
    provider: Arc<Provider>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Redeemed {
    id_token: String,
    access_token: Option<String>,
}

/// What the provider sends the browser back with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// A text that nobody can guess.
pub(crate) fn secret() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), SECRET)
}

/// Whether `text` is one of [`secret`]'s.
pub(crate) fn is_secret(text: &str) -> bool {
    text.len() == SECRET && text.bytes().all(|it| it.is_ascii_alphanumeric())
}

impl Door {
    pub(crate) fn new(
        settings: Oidc,
        public_url: &str,
        provider: Arc<Provider>,
        http: reqwest::Client,
    ) -> Self {
        Self {
            redirect_uri: format!("{public_url}/auth/callback"),
            settings,
            provider,
            http,
        }
    }

    /// What people call the provider.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Begins a sign-in of the browser that has `browser`; gives where to send it.
    pub(crate) async fn begin(
        &self,
        store: &Store,
        browser: &str,
        next: &str,
    ) -> Result<Url, Failed> {
        let doors = self.provider.doors().await?;
        let door = endpoint(doors.authorization_endpoint.as_ref())?;
        let (state, nonce, verifier) = (secret(), secret(), secret());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let mut url: Url = door.parse().map_err(|_| failed("provider", "no URL"))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let expires_at = Timestamp::now().checked_add(SIGN_IN_WITHIN);
        let row = SignInRow {
            state: digest(&state).to_vec(),
            browser: digest(browser).to_vec(),
            nonce,
            verifier,
            next: next.to_owned(),
            expires_at: expires_at.unwrap_or(Timestamp::MAX),
        };
        store.begin_sign_in(&row).await?;
        Ok(url)
    }

    /// Ends a sign-in: who it is, and where on this site to go. `browser`: the secret of the browser
    /// that came back.
    pub(crate) async fn end(
        &self,
        store: &Store,
        browser: Option<&str>,
        came: &Callback,
    ) -> Result<(Person, String), Failed> {
        let expired = |detail: &str| failed("expired", detail);
        let state = came.state.as_deref().ok_or_else(|| expired("no state"))?;
        // Taken first, so that it is used up whatever is wrong with the rest.
        let row = store.take_sign_in(&digest(state)).await?;
        let row = row.ok_or_else(|| expired("the state is unknown, was used or is too old"))?;
        let own = browser.is_some_and(|it| digest(it).ct_eq(&row.browser).into());
        if !own {
            return Err(expired("another browser began this sign-in"));
        }
        let doors = self.provider.doors().await?;
        match &came.iss {
            Some(iss) if *iss != self.settings.issuer => {
                return Err(failed("provider", "the answer is another issuer's (iss)"));
            }
            None if doors.authorization_response_iss_parameter_supported => {
                return Err(failed(
                    "provider",
                    "the answer does not say whose it is (iss)",
                ));
            }
            Some(_) | None => {}
        }
        if let Some(error) = &came.error {
            let word = if error == "access_denied" {
                "refused"
            } else {
                "provider"
            };
            let error: String = error.chars().take(100).collect();
            return Err(failed(word, format!("the provider says {error:?}")));
        }
        let code = came.code.as_deref();
        let code = code.ok_or_else(|| failed("provider", "the provider sent no code"))?;
        let redeemed = self.redeem(&doors, code, &row.verifier).await?;
        let claims = self.claims(&redeemed.id_token, &row.nonce).await?;
        let claims = self.complete(&doors, claims, redeemed.access_token).await?;
        Ok((self.person(&claims)?, row.next))
    }

    async fn redeem(&self, doors: &Doors, code: &str, verifier: &str) -> Result<Redeemed, Failed> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
        ];
        let id = &self.settings.client_id;
        let request = self.http.post(endpoint(doors.token_endpoint.as_ref())?);
        let methods = &doors.token_endpoint_auth_methods_supported;
        let basic = methods.is_empty() || methods.iter().any(|it| it == "client_secret_basic");
        let request = match (self.client_secret().await?, basic) {
            // RFC 6749 §2.3.1: both are form-encoded first.
            (Some(secret), true) => request
                .basic_auth(encoded(id), Some(encoded(&secret)))
                .form(&form),
            (Some(secret), false) => {
                let more = [("client_id", id.as_str()), ("client_secret", &secret)];
                request.form(&[&form[..], &more].concat())
            }
            (None, _) => request.form(&[&form[..], &[("client_id", id.as_str())]].concat()),
        };
        self.ask("redeem the code", request).await
    }

    /// Read at each use, so that it can be changed without a restart.
    async fn client_secret(&self) -> Result<Option<String>, Failed> {
        let Some(path) = &self.settings.client_secret_file else {
            return Ok(None);
        };
        let text = drivers::small_file::read_text(path, 4096).await;
        let text = text.map_err(|why| failed("provider", why))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// The claims of an ID token that is for us, for now, and for this sign-in.
    async fn claims(&self, token: &str, nonce: &str) -> Result<Claims, Failed> {
        let refused = |it: jwt::Refused| failed("provider", format!("the ID token: {it}"));
        let client = &self.settings.client_id;
        let token = Unverified::parse(token).map_err(refused)?;
        let claims = self.provider.verify(token).await?;
        jwt::check(&claims, &self.settings.issuer, client, Timestamp::now()).map_err(refused)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if !text("nonce").is_some_and(|it| it.as_bytes().ct_eq(nonce.as_bytes()).into()) {
            return Err(failed(
                "provider",
                "the ID token is of another sign-in (nonce)",
            ));
        }
        if claims.contains_key("azp") && text("azp") != Some(client) {
            return Err(failed(
                "provider",
                "the ID token was given to another (azp)",
            ));
        }
        Ok(claims)
    }

    /// Adds what the provider tells only when asked, where the ID token has no groups in it.
    async fn complete(
        &self,
        doors: &Doors,
        mut claims: Claims,
        access_token: Option<String>,
    ) -> Result<Claims, Failed> {
        let asked = (&doors.userinfo_endpoint, access_token);
        let (Some(door), Some(access_token)) = asked else {
            return Ok(claims);
        };
        if claims.contains_key(&self.settings.groups_claim) {
            return Ok(claims);
        }
        let request = self.http.get(door).bearer_auth(access_token);
        let more: Claims = self.ask("ask for the person's groups", request).await?;
        if more.get("sub") != claims.get("sub") {
            return Err(failed("provider", "userinfo is about somebody else (sub)"));
        }
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
        Ok(claims)
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<T, Failed> {
        let broken = |why: String| failed("provider", format!("{what}: {why}"));
        let answer = exchange(request, LIMITS).await;
        let answer = answer.map_err(|it| broken(it.to_string()))?;
        if !answer.status.is_success() {
            // OAuth's error is a word; the rest of the answer may hold what no log should.
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let word = body
                .get("error")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let word: String = word.chars().take(60).collect();
            return Err(broken(format!("HTTP {} {word}", answer.status)));
        }
        serde_json::from_slice(&answer.body).map_err(|_| broken("not the JSON expected".to_owned()))
    }

    /// Whom the claims are about. An address counts only if the provider has verified it: else
    /// anybody could take somebody else's name.
    fn person(&self, claims: &Claims) -> Result<Person, Failed> {
        let subject = jwt::subject(claims).map_err(|it| failed("provider", it.0))?;
        let verified = match claims.get("email_verified") {
            Some(Value::Bool(it)) => *it,
            Some(Value::String(it)) => it == "true",
            _ => false,
        };
        let email = claims.get("email").and_then(Value::as_str);
        let email = email.filter(|it| verified && jwt::is_plain(it));
        let groups = match claims.get(&self.settings.groups_claim) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let groups = groups.into_iter().filter(|it| jwt::is_plain(it));
        Ok(Person {
            of: SessionOf::Person {
                issuer: self.settings.issuer.clone(),
                subject: subject.to_owned(),
            },
            name: format!("user:{}", email.unwrap_or(subject)),
            groups: groups.take(GROUPS_MAX).map(ToOwned::to_owned).collect(),
        })
    }
}

/// A text as in a form.
fn encoded(text: &str) -> String {
    let Ok(mut url) = Url::parse("form:") else {
        return String::new();
    };
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}

fn endpoint(url: Option<&String>) -> Result<&str, Failed> {
    let missing = || failed("provider", "the provider has no door for this flow");
    url.map(String::as_str).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn door() -> Door {
        // An error only says that there is one already.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let provider = Arc::new(Provider::new("https://id.example", reqwest::Client::new()));
        let settings = Oidc {
            name: "Example".to_owned(),
            issuer: "https://id.example".to_owned(),
            client_id: "sluice".to_owned(),
            client_secret_file: None,
            scopes: vec!["openid".to_owned()],
            groups_claim: "groups".to_owned(),
            roles: Vec::new(),
        };
        Door::new(
            settings,
            "https://sluice.example",
            provider,
            reqwest::Client::new(),
        )
    }

    fn person(claims: &Value) -> Result<Person, Failed> {
        door().person(claims.as_object().unwrap())
    }

    #[test]
    fn only_a_verified_address_is_a_name() {
        for (more, name) in [
            (json!({}), "user:7f3"),
            (json!({"email": "ann@example.com"}), "user:7f3"),
            (
                json!({"email": "ann@example.com", "email_verified": false}),
                "user:7f3",
            ),
            (
                json!({"email": "ann@example.com", "email_verified": true}),
                "user:ann@example.com",
            ),
            (
                json!({"email": "ann@example.com\nadmin", "email_verified": true}),
                "user:7f3",
            ),
            (json!({"email": 7, "email_verified": true}), "user:7f3"),
        ] {
            let mut claims = json!({"sub": "7f3"});
            claims
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            assert_eq!(person(&claims).unwrap().name, name, "{claims}");
        }
        for sub in [
            json!(null),
            json!(""),
            json!(7),
            json!(" x"),
            json!("a\u{202e}b"),
        ] {
            assert!(person(&json!({"sub": sub})).is_err(), "{sub}");
        }
    }

    #[test]
    fn groups_are_a_list_or_one() {
        for (groups, expect) in [
            (json!(["a", "b", 7, "", "c\n"]), vec!["a", "b"]),
            (json!("a"), vec!["a"]),
            (json!({"a": 1}), vec![]),
            (json!(null), vec![]),
        ] {
            let found = person(&json!({"sub": "x", "groups": groups})).unwrap();
            assert_eq!(found.groups, expect);
        }
    }

    #[test]
    fn secrets_go_into_forms_whole() {
        assert_eq!(encoded("a b:c%&=é"), "a+b%3Ac%25%26%3D%C3%A9");
        assert!(is_secret(&secret()) && !is_secret("x") && secret() != secret());
    }
}
