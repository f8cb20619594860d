//! A certified OpenID provider (`oidc-provider`, run by Node), and a browser as far as signing in
//! needs one: redirects followed by hand, cookies kept by site.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use local::part::{Part, Spec};
use local::wait;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Response, StatusCode, Url};
use serde_json::{Value, json};

/// How long Node may take to load it.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Redirects of one sign-in, with room.
const REDIRECTS_MAX: usize = 12;
/// This server's name and password at the provider.
pub const CLIENT_ID: &str = "sluice";
/// A password that must be form-encoded before it is sent.
pub const CLIENT_SECRET: &str = "s3cret:with/odd+chars & more, 40 of them";

/// A running provider; dropping it ends it.
#[derive(Debug)]
pub struct OidcProvider {
    part: Part,
    issuer: String,
}

/// How a provider is to be.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// Claims by name, of the people it knows.
    pub people: Value,
    /// Whether it puts them into the ID token, or tells them only when asked for.
    pub claims_in_id_token: bool,
    /// A certificate and its key, for https.
    pub tls: Option<(&'a Path, &'a Path)>,
}

impl OidcProvider {
    /// Starts one that sends people back to the server at `server_url`.
    ///
    /// # Errors
    /// When Node or the package is missing (`make oidc` installs it), or it does not start.
    pub async fn start(
        directory: &Path,
        server_url: &str,
        options: Options<'_>,
    ) -> anyhow::Result<Self> {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        ensure!(
            place.join("node_modules/oidc-provider").is_dir(),
            "the OpenID provider is not installed: run `make oidc`"
        );
        let port = local::ports::free_port()?;
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let issuer = format!("{scheme}://127.0.0.1:{port}");
        let tls = options
            .tls
            .map(|(certificate, key)| json!({"certificate": certificate, "key": key}));
        let settings = json!({
            "port": port,
            "issuer": issuer,
            "clientId": CLIENT_ID,
            "clientSecret": CLIENT_SECRET,
            "redirectUri": format!("{server_url}/auth/callback"),
            "claimsInIdToken": options.claims_in_id_token,
            "people": options.people,
            "tls": tls,
        });
        let log = directory.join(format!("oidc-{port}.log"));
        let script = place.join("provider.mjs").display().to_string();
        let spec = Spec::new("oidc-provider", "node".into(), log)
            .arguments([script, settings.to_string()])
            .environment("NODE_ENV", "test");
        let part = Part::start(spec).await?;
        let mut provider = Self { part, issuer };
        provider.wait_ready().await?;
        Ok(provider)
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.part.kill9()?;
        Ok(())
    }

    /// Starts it again; it has forgotten everybody.
    ///
    /// # Errors
    /// As [`OidcProvider::start`].
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.part.start_again().await?;
        self.wait_ready().await
    }

    /// It says so, once for each start.
    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let log = self.part.log_path().to_path_buf();
        let part = &mut self.part;
        let ready = wait::until_now(READY_WITHIN, "the OpenID provider", || {
            let ended = part.check().err().map(|it| it.to_string());
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            match (ended, text.ends_with("ready\n")) {
                (None, true) => Ok(()),
                (ended, _) => Err(ended.unwrap_or(text)),
            }
        });
        ready.await?;
        Ok(())
    }
}

/// A browser: one jar of cookies, by host and port. (Real browsers keep one jar for all ports of a
/// host, which would hide a cookie that is set for the wrong site.)
#[derive(Debug)]
pub struct Browser {
    /// Its address, as the proxy says that the server stands behind.
    address: Ipv4Addr,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for Browser {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            address: Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number),
            cookies: BTreeMap::new(),
        }
    }
}

impl Browser {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Gets `url`, with the cookies of its site; keeps those of the answer.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn get(&mut self, url: &Url) -> anyhow::Result<Response> {
        let jar = self.cookies.entry(url.authority().to_owned()).or_default();
        let cookies: Vec<String> = jar.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let request = crate::world::http()?.get(url.clone());
        let request = request.header("x-forwarded-for", self.address.to_string());
        let answer = request.header(COOKIE, cookies.join("; ")).send().await?;
        for line in answer.headers().get_all(SET_COOKIE) {
            let line = line.to_str()?;
            let pair = line.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').context("a cookie without a value")?;
            let gone = line.contains("Max-Age=0") || line.contains("expires=Thu, 01 Jan 1970");
            match gone {
                true => jar.remove(name),
                false => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
        Ok(answer)
    }

    /// The cookie that the site of `url` has set.
    pub fn cookie(&self, url: &str, name: &str) -> Option<String> {
        let url: Url = url.parse().ok()?;
        self.cookies.get(url.authority())?.get(name).cloned()
    }

    /// Plants a cookie, as somebody with access to this browser's jar could.
    pub fn plant(&mut self, url: &Url, name: &str, value: &str) {
        let jar = self.cookies.entry(url.authority().to_owned()).or_default();
        jar.insert(name.to_owned(), value.to_owned());
    }

    /// Follows redirects from `url` on, answering the provider's question with `answer` (`as/NAME` or
    /// `refuse`), until one leads to a URL that begins with `until`; gives that one, not opened.
    ///
    /// # Errors
    /// When the way ends elsewhere.
    pub async fn follow(&mut self, url: &str, answer: &str, until: &str) -> anyhow::Result<Url> {
        let mut url: Url = url.parse()?;
        for _ in 0..REDIRECTS_MAX {
            if url.path().starts_with("/interaction/") && url.path().matches('/').count() == 2 {
                url.set_path(&format!("{}/{answer}", url.path()));
            }
            let got = self.get(&url).await?;
            let status = got.status();
            let location = got.headers().get(LOCATION).cloned();
            let Some(location) = location.filter(|_| status.is_redirection()) else {
                let text = got.text().await.unwrap_or_default();
                anyhow::bail!("{url} answered {status}: {text}");
            };
            url = url.join(location.to_str()?)?;
            if url.as_str().starts_with(until) {
                return Ok(url);
            }
        }
        anyhow::bail!("more than {REDIRECTS_MAX} redirects, the last to {url}")
    }

    /// Signs in at `server` as `name`; gives where on the server that led to.
    ///
    /// # Errors
    /// When the way ends before.
    pub async fn sign_in(&mut self, server: &str, name: &str, next: &str) -> anyhow::Result<Url> {
        let mut login: Url = format!("{server}/auth/login").parse()?;
        login.query_pairs_mut().append_pair("next", next);
        let callback = format!("{server}/auth/callback");
        let answer = format!("as/{name}");
        let back = self.follow(login.as_str(), &answer, &callback).await?;
        self.finish(&back).await
    }

    /// Opens the callback; gives where it leads to.
    ///
    /// # Errors
    /// When it does not lead anywhere.
    pub async fn finish(&mut self, callback: &Url) -> anyhow::Result<Url> {
        let answer = self.get(callback).await?;
        ensure!(
            answer.status() == StatusCode::FOUND,
            "the callback answered {}",
            answer.status()
        );
        let location = answer.headers().get(LOCATION).context("no Location")?;
        Ok(callback.join(location.to_str()?)?)
    }
}
