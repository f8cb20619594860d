//! CI jobs' ID tokens. The issuer is the test's own, since a real one signs no forgeries.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use axum::http::StatusCode;
use axum::{Json, Router, extract::State, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use e2e::database::Database;
use e2e::server::Server;
use e2e::world;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use uuid::Uuid;

/// How long the server may go on not to look for a key that it does not know.
const LOOKS_WITHIN: Duration = Duration::from_secs(20);

/// A signing key with a name.
struct Signer {
    kid: String,
    pair: EcdsaKeyPair,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn new(kid: &str) -> Self {
        let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: EcdsaKeyPair::from_pkcs8(curve, document.as_ref(), &random).unwrap(),
        }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref().split_at(33);
        let x = x.strip_prefix(&[4]).unwrap();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
            "kid": self.kid, "x": encode(x), "y": encode(y),
        })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.kid});
        token(&header, claims, |signed| {
            let random = SystemRandom::new();
            self.pair.sign(&random, signed).unwrap().as_ref().to_vec()
        })
    }
}

fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[derive(Default)]
struct Published {
    issuer: Mutex<String>,
    keys: Mutex<Vec<Value>>,
    down: AtomicBool,
    looks: AtomicU32,
}

impl Published {
    fn publish(&self, keys: &[&Signer]) {
        let keys = keys.iter().map(|it| it.jwk()).collect();
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn answer(&self, value: Value) -> Result<Json<Value>, StatusCode> {
        match self.down.load(Ordering::Relaxed) {
            true => Err(StatusCode::SERVICE_UNAVAILABLE),
            false => Ok(Json(value)),
        }
    }
}

async fn doors(State(it): State<Arc<Published>>) -> Result<Json<Value>, StatusCode> {
    let issuer = it
        .issuer
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    it.answer(json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}))
}

async fn keys(State(it): State<Arc<Published>>) -> Result<Json<Value>, StatusCode> {
    it.looks.fetch_add(1, Ordering::Relaxed);
    let keys = it
        .keys
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    it.answer(json!({"keys": keys}))
}

/// A server with two rules, and the issuer that these name.
struct Site {
    server: Server,
    published: Arc<Published>,
    issuer: String,
    _database: Database,
    _directory: TempDir,
}

impl Site {
    async fn start(signer: &Signer) -> anyhow::Result<Self> {
        drop(world::http()?);
        let directory = tempfile::Builder::new().prefix("sluice-e2e-").tempdir()?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let published = Arc::new(Published::default());
        published.publish(&[signer]);
        published.issuer.lock().unwrap().clone_from(&issuer);
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(doors))
            .route("/keys", get(keys))
            .with_state(Arc::clone(&published));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let config = directory.path().join("people.yaml");
        fs::write(
            &config,
            format!(
                "\
ci:
  - name: shop-main
    issuer: {issuer}
    audience: sluice.example
    claims: {{ repository_id: 4711, repository_owner_id: 42, ref: refs/heads/main }}
    role: deployer
    project: shop
  - name: docs
    issuer: {issuer}
    audience: sluice.example
    claims: {{ repository_id: 4712 }}
    role: viewer
    project: docs
"
            ),
        )?;
        let database = Database::shared().await?;
        let environment = [("SLUICE_CONFIG".to_owned(), config.display().to_string())];
        let server = Server::start_with(directory.path(), database.url(), &environment).await?;
        Ok(Self {
            server,
            published,
            issuer,
            _database: database,
            _directory: directory,
        })
    }

    /// The claims of a good token of the first rule, with `more` in place of some.
    fn claims(&self, more: Value) -> Value {
        let now = Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.issuer, "aud": "sluice.example", "sub": "repo:acme/shop:ref:refs/heads/main",
            "jti": Uuid::now_v7(), "iat": now, "nbf": now, "exp": now + 300,
            "repository": "acme/shop", "repository_id": "4711", "repository_owner_id": "42",
            "ref": "refs/heads/main",
        });
        if let (Some(claims), Value::Object(more)) = (claims.as_object_mut(), more) {
            claims.extend(more);
            claims.retain(|_, it| !it.is_null());
        }
        claims
    }

    async fn exchange(&self, token: &str) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}/api/v1/auth/exchange", self.server.url());
        let request = world::http()?.post(url).json(&json!({"idToken": token}));
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn check(&self, what: &str, token: &str, status: u16, words: &str) -> anyhow::Result<()> {
        let (found, body) = self.exchange(token).await?;
        ensure!(
            found == status && body.to_string().contains(words),
            "{what}: {found} {body}, not {status} with {words:?}"
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_gets_a_short_token_for_what_its_rule_says() -> anyhow::Result<()> {
    let signer = Signer::new("one");
    let site = Site::start(&signer).await?;
    let id_token = signer.sign(&site.claims(json!({})));
    let (status, body) = site.exchange(&id_token).await?;
    ensure!(status == 200, "{status} {body}");
    let secret = body["secret"].as_str().unwrap().to_owned();
    let expires: Timestamp = body["expiresAt"].as_str().unwrap().parse()?;
    let left = expires.duration_since(Timestamp::now());
    ensure!(
        (890..=900).contains(&left.as_secs()) && secret.starts_with("sluice_ci_"),
        "{body}"
    );
    let client = api::Client::new(&site.server.url(), Some(secret.into()))?;
    let who = client.whoami().await?;
    ensure!(
        who.principal == "token:ci/shop-main"
            && !who.person
            && who.grants.len() == 1
            && who.grants[0].role == api::RoleWord::Deployer
            && who.grants[0].project.as_deref() == Some("shop"),
        "{who:?}"
    );
    // It makes no tokens, and sees no other project.
    let refused = client.tokens().await.unwrap_err();
    ensure!(
        refused.problem().is_some_and(|it| it.status == 403),
        "{refused}"
    );
    let refused = client.app("bank", "ledger").await.unwrap_err();
    ensure!(
        refused.problem().is_some_and(|it| it.status == 404),
        "{refused}"
    );
    // Two jobs of one rule at once have a token each; each ID token is good once, whoever is first.
    let again = signer.sign(&site.claims(json!({})));
    let both = futures::future::join_all((0..6).map(|_| site.exchange(&again))).await;
    let good = both
        .iter()
        .filter(|it| it.as_ref().unwrap().0 == 200)
        .count();
    ensure!(good == 1, "{both:?}");
    site.check("used before", &id_token, 401, "exchanged before")
        .await?;
    let other = signer.sign(&site.claims(json!({"repository_id": 4712, "ref": "x"})));
    site.check("the other rule", &other, 200, "secret").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_are_refused() -> anyhow::Result<()> {
    let (signer, stranger) = (Signer::new("one"), Signer::new("one"));
    let site = Site::start(&signer).await?;
    let good = site.claims(json!({}));
    for alg in ["none", "NONE"] {
        let unsigned = token(&json!({"alg": alg}), &good, |_| Vec::new());
        site.check("unsigned", &unsigned, 401, "algorithm").await?;
    }
    // The public key, in each of its forms, taken for a shared secret.
    let public = signer.pair.public_key().as_ref().to_vec();
    for secret in [public, signer.jwk().to_string().into_bytes()] {
        let header = json!({"alg": "HS256", "kid": "one"});
        let confused = token(&header, &good, |signed| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
            mac.update(signed);
            mac.finalize().into_bytes().to_vec()
        });
        site.check("public key as secret", &confused, 401, "algorithm")
            .await?;
    }
    site.check("another's key", &stranger.sign(&good), 401, "signature")
        .await?;
    let whole = signer.sign(&good);
    let (signed, signature) = whole.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let changed = encode(site.claims(json!({"repository_id": "4712"})).to_string());
    let changed = format!("{header}.{changed}.{signature}");
    site.check("changed claims", &changed, 401, "signature")
        .await?;
    for nonsense in ["", "x", "a.b.c", &"a".repeat(20_000)] {
        let (status, body) = site.exchange(nonsense).await?;
        ensure!([401, 413].contains(&status), "{status} {body}");
    }
    // None of all that used the good one up.
    site.check("the good one", &whole, 200, "secret").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_for_others_and_of_others_are_refused() -> anyhow::Result<()> {
    let signer = Signer::new("one");
    let site = Site::start(&signer).await?;
    let now = Timestamp::now().as_second();
    for (what, more, words) in [
        (
            "another issuer",
            json!({"iss": "https://evil.example"}),
            "issuer",
        ),
        (
            "an issuer with a slash",
            json!({"iss": format!("{}/", site.issuer)}),
            "issuer",
        ),
        ("for another", json!({"aud": "other.example"}), "aud"),
        (
            "for several",
            json!({"aud": ["sluice.example", "other.example"]}),
            "aud",
        ),
        (
            "expired",
            json!({"exp": now - 60, "iat": now - 400}),
            "expired",
        ),
        ("not yet", json!({"nbf": now + 300}), "future"),
        ("without end", json!({"exp": null}), "exp"),
        ("without a name", json!({"jti": null}), "jti"),
    ] {
        let token = signer.sign(&site.claims(more));
        site.check(what, &token, 401, words).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_jobs_that_a_rule_names_get_a_token() -> anyhow::Result<()> {
    let signer = Signer::new("one");
    let site = Site::start(&signer).await?;
    for (what, more) in [
        ("another repository", json!({"repository_id": "4713"})),
        // A repository of that name, made anew by somebody else.
        ("a renamed repository", json!({"repository_id": "9999"})),
        ("a fork's pull request", json!({"ref": "refs/pull/7/merge"})),
        (
            "a branch with the name in it",
            json!({"ref": "refs/heads/main2"}),
        ),
        ("another owner", json!({"repository_owner_id": "43"})),
        ("a list of ids", json!({"repository_id": ["4711"]})),
    ] {
        let token = signer.sign(&site.claims(more));
        site.check(what, &token, 403, "no rule").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_and_go() -> anyhow::Result<()> {
    let (first, second) = (Signer::new("one"), Signer::new("two"));
    let site = Site::start(&first).await?;
    let ask = async |signer: &Signer| site.exchange(&signer.sign(&site.claims(json!({})))).await;
    ensure!(ask(&first).await?.0 == 200, "the first key");
    let looks = site.published.looks.load(Ordering::Relaxed);
    // Names that nobody knows do not make the server ask as often as they come.
    for _ in 0..20 {
        ensure!(ask(&second).await?.0 == 401, "a key that is not published");
    }
    let more = site.published.looks.load(Ordering::Relaxed) - looks;
    ensure!(more <= 1, "{more} looks for keys");
    // While the keys cannot be had, those that are known go on being good.
    site.published.down.store(true, Ordering::Relaxed);
    ensure!(
        ask(&first).await?.0 == 200,
        "a known key while the issuer is down"
    );
    site.published.down.store(false, Ordering::Relaxed);
    // A new key is found soon, and an old one that was taken away is good no more.
    site.published.publish(&[&second]);
    local::wait::until(LOOKS_WITHIN, "the new key", || async {
        // Within what one address may ask.
        tokio::time::sleep(Duration::from_millis(500)).await;
        match ask(&second).await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let (status, body) = ask(&first).await?;
    ensure!(status == 401, "the old key: {status} {body}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_cannot_be_asked_lets_nobody_in() -> anyhow::Result<()> {
    let signer = Signer::new("one");
    let site = Site::start(&signer).await?;
    site.published.down.store(true, Ordering::Relaxed);
    let token = signer.sign(&site.claims(json!({})));
    site.check("no keys", &token, 503, "cannot be had").await?;
    // One that calls itself by another name is another one.
    site.published.down.store(false, Ordering::Relaxed);
    let name = format!("{}/", site.issuer);
    *site.published.issuer.lock().unwrap() = name;
    tokio::time::sleep(Duration::from_secs(11)).await;
    site.check("another name", &token, 503, "calls itself")
        .await
}
