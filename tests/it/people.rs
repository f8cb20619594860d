//! People sign in by a real identity provider, CI jobs by the ID tokens of theirs, and nobody else.

mod ci;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use e2e::database::Database;
use e2e::oidc::{Browser, CLIENT_ID, CLIENT_SECRET, OidcProvider, Options};
use e2e::server::Server;
use e2e::world;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The session's cookie.
const COOKIE: &str = "__Host-sluice-session";

/// A server without anything to deploy to, and what people sign in by.
struct Site {
    server: Server,
    provider: OidcProvider,
    database: Database,
    directory: TempDir,
}

fn people() -> Value {
    json!({
        "ann": {"email": "ann@example.com", "email_verified": true, "groups": ["sre", "eng"]},
        "bob": {"email": "bob@example.com", "email_verified": false, "groups": ["shop"]},
        "eve": {"email": "eve@example.com", "email_verified": true, "groups": ["visitors"]},
    })
}

fn settings(url: &str, issuer: &str, secret: &Path, admins: &str) -> String {
    format!(
        "\
publicUrl: {url}
trustedProxies: [127.0.0.1]
people:
  oidc:
    name: Example
    issuer: {issuer}
    clientId: {CLIENT_ID}
    clientSecretFile: {}
    roles:
      - {{ group: {admins}, role: admin }}
      - {{ group: shop, role: deployer, project: shop }}
      - {{ group: shop, role: viewer, project: bank }}
",
        secret.display()
    )
}

impl Site {
    async fn start(claims_in_id_token: bool) -> anyhow::Result<Self> {
        Self::start_with(claims_in_id_token, None, &[]).await
    }

    async fn start_with(
        claims_in_id_token: bool,
        tls: Option<(&Path, &Path)>,
        environment: &[(String, String)],
    ) -> anyhow::Result<Self> {
        drop(world::http()?);
        let directory = tempfile::Builder::new().prefix("sluice-e2e-").tempdir()?;
        let place = directory.path();
        let port = local::ports::free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let options = Options {
            people: people(),
            claims_in_id_token,
            tls,
        };
        let (database, provider) = tokio::join!(
            Database::shared(),
            OidcProvider::start(place, &url, options)
        );
        let (database, provider) = (database?, provider?);
        let secret = place.join("client-secret");
        fs::write(&secret, format!("{CLIENT_SECRET}\n"))?;
        let config = place.join("people.yaml");
        fs::write(&config, settings(&url, provider.issuer(), &secret, "sre"))?;
        let config = ("SLUICE_CONFIG".to_owned(), config.display().to_string());
        let environment = [environment, &[config]].concat();
        let server = Server::start_at(port, place, database.url(), &environment).await?;
        Ok(Self {
            server,
            provider,
            database,
            directory,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// Begins a sign-in in `browser` and stops where the provider sends it back; nothing of it is
    /// known to the server yet.
    async fn back(&self, browser: &mut Browser, answer: &str) -> anyhow::Result<Url> {
        let login = self.url("/auth/login?next=/apps");
        let callback = self.url("/auth/callback");
        browser.follow(&login, answer, &callback).await
    }

    /// What the server says of who has this browser; `None`: nobody.
    async fn who(&self, browser: &Browser) -> anyhow::Result<Option<Value>> {
        let cookie = browser.cookie(&self.server.url(), COOKIE);
        self.who_has(&cookie.unwrap_or_default()).await
    }

    async fn who_has(&self, cookie: &str) -> anyhow::Result<Option<Value>> {
        let answer = self.send(Method::GET, "/api/v1/session", cookie).await?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer.json().await?)),
            401 => Ok(None),
            status => anyhow::bail!("the session was answered {status}"),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        cookie: &str,
    ) -> anyhow::Result<reqwest::Response> {
        let request = world::http()?.request(method, self.url(path));
        let request = request.header("cookie", format!("{COOKIE}={cookie}"));
        Ok(request.header("x-sluice-request", "1").send().await?)
    }

    /// A failure, with the end of the server's log.
    fn explained(&self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        outcome.map_err(|error| anyhow::anyhow!("{error:#}\n{}", self.server.log_tail(40)))
    }
}

fn ended_with(url: &Url, problem: &str) -> bool {
    url.path() == "/sign-in" && url.query() == Some(&format!("problem={problem}"))
}

async fn ann_signs_in(site: &Site) -> anyhow::Result<()> {
    let ways: Value = world::http()?
        .get(site.url("/api/v1/auth"))
        .send()
        .await?
        .json()
        .await?;
    ensure!(
        ways == json!({"oidc": {"name": "Example", "loginUrl": "/auth/login"}}),
        "{ways}"
    );
    let mut ann = Browser::default();
    let there = ann
        .sign_in(&site.server.url(), "ann", "/apps/shop/checkout?tab=1")
        .await?;
    ensure!(
        there.as_str() == site.url("/apps/shop/checkout?tab=1"),
        "led to {there}"
    );
    let who = site.who(&ann).await?.context("ann is not signed in")?;
    ensure!(
        who.get("principal") == Some(&json!("user:ann@example.com"))
            && who.get("grants") == Some(&json!([{"role": "admin", "project": null}]))
            && who.get("groups") == Some(&json!(["sre", "eng"]))
            && who.get("person") == Some(&json!(true))
            && who.get("via") == Some(&json!("oidc")),
        "{who}"
    );
    let sql = format!(
        "SELECT count(*) FROM session WHERE source = '{}'",
        ann.address()
    );
    let rows = site.database.sql(&sql).await?;
    ensure!(rows == "1", "{rows} sessions from ann's address");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_sign_in_by_their_provider_with_the_roles_of_their_groups() -> anyhow::Result<()> {
    // Once asked of userinfo, once from the ID token itself.
    for claims_in_id_token in [false, true] {
        let site = Site::start(claims_in_id_token).await?;
        let outcome = async {
            ann_signs_in(&site).await?;
            // An address that the provider has not verified is nobody's name.
            let mut bob = Browser::default();
            bob.sign_in(&site.server.url(), "bob", "/").await?;
            let who = site.who(&bob).await?.context("bob is not signed in")?;
            let grants = json!([
                {"role": "deployer", "project": "shop"}, {"role": "viewer", "project": "bank"}
            ]);
            ensure!(
                who.get("principal") == Some(&json!("user:bob"))
                    && who.get("grants") == Some(&grants),
                "{who}"
            );
            let cookie = bob
                .cookie(&site.server.url(), COOKIE)
                .context("no cookie")?;
            let tokens = site.send(Method::GET, "/api/v1/tokens", &cookie).await?;
            ensure!(
                tokens.status() == 403,
                "bob saw tokens: {}",
                tokens.status()
            );
            // Somebody whose groups have no role stays outside.
            let mut eve = Browser::default();
            let there = eve.sign_in(&site.server.url(), "eve", "/").await?;
            ensure!(ended_with(&there, "noRole"), "eve was led to {there}");
            ensure!(site.who(&eve).await?.is_none(), "eve is signed in");
            let out = site
                .send(Method::DELETE, "/api/v1/session", &cookie)
                .await?;
            ensure!(out.status() == 204, "bob's way out: {}", out.status());
            ensure!(site.who(&bob).await?.is_none(), "bob is still signed in");
            Ok(())
        };
        let outcome = outcome.await;
        site.explained(outcome)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_follow_the_rules_and_sessions_outlive_the_server() -> anyhow::Result<()> {
    let mut site = Site::start(true).await?;
    let mut ann = Browser::default();
    ann.sign_in(&site.server.url(), "ann", "/").await?;
    site.server.start_again(&[]).await?;
    let outcome = site.who(&ann).await;
    let outcome = outcome.and_then(|it| it.map(drop).context("the session is gone"));
    site.explained(outcome)?;
    // Another group's members are the admins now.
    let config = site.directory.path().join("people.yaml");
    let text = fs::read_to_string(&config)?.replace("group: sre", "group: admins");
    fs::write(&config, text)?;
    site.server.start_again(&[]).await?;
    ensure!(site.who(&ann).await?.is_none(), "the old rule still counts");
    // A provider that is away keeps nobody in or out who is there already.
    site.provider.kill()?;
    let rows = site.database.sql("SELECT count(*) FROM session").await?;
    ensure!(rows == "1", "{rows} sessions");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_counts_once_in_the_browser_that_began_it() -> anyhow::Result<()> {
    let mut site = Site::start(false).await?;
    let outcome = attacks(&site).await;
    site.explained(outcome)?;
    // The provider goes away in the middle, and before the beginning.
    let mut ann = Browser::default();
    let back = site.back(&mut ann, "as/ann").await?;
    site.provider.kill()?;
    let there = ann.finish(&back).await?;
    ensure!(ended_with(&there, "provider"), "led to {there}");
    ensure!(
        site.who(&ann).await?.is_none(),
        "signed in without a provider"
    );
    site.provider.start_again().await?;
    let there = ann.sign_in(&site.server.url(), "ann", "/").await?;
    ensure!(
        site.who(&ann).await?.is_some(),
        "not signed in again: {there}"
    );
    // Nothing that lets anybody in is in the log.
    let log = site.server.log();
    let cookie = ann
        .cookie(&site.server.url(), COOKIE)
        .context("no cookie")?;
    for secret in [CLIENT_SECRET, cookie.as_str()] {
        ensure!(!log.contains(secret), "a secret is in the log");
    }
    Ok(())
}

async fn attacks(site: &Site) -> anyhow::Result<()> {
    forwarded(site).await?;
    replayed(site).await?;
    stolen_code(site).await?;
    other_issuer(site).await?;
    planted(site).await?;
    odd_ends(site).await
}

/// An attacker's own sign-in, opened in the victim's browser: the victim would work as the
/// attacker without knowing. With and without a sign-in of the victim's under way.
async fn forwarded(site: &Site) -> anyhow::Result<()> {
    for victim_begins in [false, true] {
        let (mut eve, mut victim) = (Browser::default(), Browser::default());
        if victim_begins {
            site.back(&mut victim, "as/ann").await?;
        }
        let back = site.back(&mut eve, "as/bob").await?;
        let there = victim.finish(&back).await?;
        ensure!(ended_with(&there, "expired"), "led to {there}");
        ensure!(
            site.who(&victim).await?.is_none(),
            "signed in as somebody else"
        );
        // It is used up by that.
        let there = eve.finish(&back).await?;
        ensure!(ended_with(&there, "expired"), "led to {there}");
    }
    Ok(())
}

/// Twice the same: the second counts for nothing, and the first goes on.
async fn replayed(site: &Site) -> anyhow::Result<()> {
    let mut ann = Browser::default();
    let back = site.back(&mut ann, "as/ann").await?;
    let there = ann.finish(&back).await?;
    ensure!(there.as_str() == site.url("/apps"), "led to {there}");
    let there = ann.finish(&back).await?;
    ensure!(ended_with(&there, "expired"), "led to {there}");
    ensure!(site.who(&ann).await?.is_some(), "the first is gone");
    Ok(())
}

/// Another one's code in an own sign-in: not redeemed without the other's verifier.
async fn stolen_code(site: &Site) -> anyhow::Result<()> {
    let (mut eve, mut bob) = (Browser::default(), Browser::default());
    let stolen = site.back(&mut bob, "as/bob").await?;
    let mut own = site.back(&mut eve, "as/ann").await?;
    let code = |url: &Url| {
        url.query_pairs()
            .find(|it| it.0 == "code")
            .map(|it| it.1.into_owned())
    };
    let state = own
        .query_pairs()
        .find(|it| it.0 == "state")
        .map(|it| it.1.into_owned());
    let query = format!(
        "code={}&state={}",
        code(&stolen).context("no code")?,
        state.context("no state")?
    );
    own.set_query(Some(&format!("{query}&iss={}", site.provider.issuer())));
    let there = eve.finish(&own).await?;
    ensure!(ended_with(&there, "provider"), "led to {there}");
    ensure!(
        site.who(&eve).await?.is_none(),
        "signed in with a stolen code"
    );
    Ok(())
}

/// An answer that another issuer gave, or that does not say who gave it.
async fn other_issuer(site: &Site) -> anyhow::Result<()> {
    for iss in ["&iss=https%3A%2F%2Fother.example", ""] {
        let mut eve = Browser::default();
        let mut back = site.back(&mut eve, "as/ann").await?;
        let query: Vec<_> = back.query().unwrap_or_default().split('&').collect();
        let query: Vec<_> = query
            .into_iter()
            .filter(|it| !it.starts_with("iss="))
            .collect();
        let query = query.join("&") + iss;
        back.set_query(Some(&query));
        let there = eve.finish(&back).await?;
        ensure!(ended_with(&there, "provider"), "led to {there}");
    }
    Ok(())
}

/// A session that somebody planted is not the one that is signed in to.
async fn planted(site: &Site) -> anyhow::Result<()> {
    let server = site.server.url();
    let mut planted = Browser::default();
    planted.sign_in(&server, "bob", "/").await?;
    let bobs = planted.cookie(&server, COOKIE).context("no cookie")?;
    let mut ann = Browser::default();
    ann.plant(&server.parse()?, COOKIE, &bobs);
    ann.sign_in(&server, "ann", "/").await?;
    let anns = ann.cookie(&server, COOKIE).context("no cookie")?;
    ensure!(anns != bobs, "the planted session became ann's");
    ensure!(
        site.who_has(&bobs).await?.is_none(),
        "the planted session goes on"
    );
    Ok(())
}

/// Who refuses at the provider is told so; nonsense is nothing.
async fn odd_ends(site: &Site) -> anyhow::Result<()> {
    let server = site.server.url();
    let mut nobody = Browser::default();
    let back = site.back(&mut nobody, "refuse").await?;
    let there = nobody.finish(&back).await?;
    ensure!(ended_with(&there, "refused"), "led to {there}");
    for query in ["", "?state=x&code=y", "?error=x", "?code=y"] {
        let url = site.url(&format!("/auth/callback{query}")).parse()?;
        let there = nobody.finish(&url).await?;
        ensure!(ended_with(&there, "expired"), "{query} led to {there}");
    }
    // Whoever tries often is stopped, and nobody else.
    let login = site.url("/auth/login").parse()?;
    let mut busy = Browser::default();
    let mut statuses = BTreeSet::new();
    for _ in 0..40 {
        statuses.insert(busy.get(&login).await?.status().as_u16());
    }
    ensure!(statuses == BTreeSet::from([302, 429]), "{statuses:?}");
    // No sign-in leads to another site.
    for next in [
        "//evil.example",
        "/\\evil.example",
        "/.//evil.example",
        "https://evil.example",
    ] {
        let mut ann = Browser::default();
        let there = ann.sign_in(&server, "ann", next).await?;
        ensure!(there.as_str() == site.url("/"), "{next} led to {there}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_without_a_trusted_certificate_is_not_believed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (certificate, key) = local::certificate::self_signed(directory.path())?;
    let tls = Some((certificate.as_path(), key.as_path()));
    let site = Site::start_with(true, tls, &[]).await?;
    let login: Url = site.url("/auth/login").parse()?;
    let there = Browser::default().finish(&login).await?;
    ensure!(ended_with(&there, "provider"), "led to {there}");
    let log = site.server.log();
    ensure!(
        log.contains("certificate"),
        "the reason is not in the log: {log}"
    );
    // The same provider, trusted by this machine: so it was the certificate.
    let trusted = (
        "SSL_CERT_FILE".to_owned(),
        certificate.display().to_string(),
    );
    let site = Site::start_with(true, tls, &[trusted]).await?;
    let there = Browser::default()
        .finish(&site.url("/auth/login").parse()?)
        .await?;
    let outcome = match there.as_str().starts_with(site.provider.issuer()) {
        true => Ok(()),
        false => Err(anyhow::anyhow!("led to {there}")),
    };
    site.explained(outcome)
}
