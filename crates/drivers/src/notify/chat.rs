//! The address that a chat gave out for messages. Whoever knows it can write there, so it is a
//! secret: named by file or environment variable, read at each delivery, never part of a document
//! and never in an error.

use std::{net::IpAddr, time::Duration};

use jiff::SignedDuration;
use reqwest::{Url, header::HeaderName};
use rollout::document::{Object, Reader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Delivery, Notice, answer, kinds};
use crate::{Cx, DriverError, small_file};

/// Most bytes of a file with an address.
const ADDRESS_BYTES_MAX: u64 = 4 << 10;
/// Time for one delivery, all of it.
pub(super) const TIMEOUT: SignedDuration = SignedDuration::from_secs(10);
/// The longest timeout one can ask for.
pub(super) const TIMEOUT_MAX: SignedDuration = SignedDuration::from_mins(1);
/// As with webhooks: the same at each repetition. Chats do not look at it, what stands between may.
const ID: HeaderName = HeaderName::from_static("webhook-id");

/// Where a chat takes messages, and which ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    /// A file with the address.
    pub url_file: Option<String>,
    /// The name of an environment variable of the service that holds the address.
    pub url_env: Option<String>,
    /// The kinds of notices it is told.
    pub on: Vec<String>,
    /// Time for one delivery, all of it.
    pub timeout: SignedDuration,
}

impl Chat {
    pub(super) const KEYS: [&'static str; 4] = ["urlFile", "urlEnv", "on", "timeout"];

    /// Reads the settings of an app file, noting every problem.
    pub(super) fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&Self::KEYS)?;
        let url_file = object.optional("urlFile", reference);
        let url_env = object.optional("urlEnv", reference);
        let on = object.or("on", kinds::for_people(), kinds::read);
        let timeout = timeout(&object);
        let (url_file, url_env) = (url_file?, url_env?);
        if url_file.is_some() == url_env.is_some() {
            return object.problem("give one of urlFile, urlEnv: where the chat's address is");
        }
        Some(Self {
            url_file,
            url_env,
            on: on?,
            timeout: timeout?,
        })
    }

    async fn address(&self) -> Result<Url, String> {
        let (place, text) = match (&self.url_file, &self.url_env) {
            (Some(path), _) => (
                path.clone(),
                small_file::read_text(path, ADDRESS_BYTES_MAX).await?,
            ),
            (None, Some(name)) => (
                name.clone(),
                std::env::var(name)
                    .map_err(|_| format!("environment variable {name} is not set"))?,
            ),
            (None, None) => return Err("no address is named".to_owned()),
        };
        let url = Url::parse(text.trim()).ok().filter(is_private);
        url.ok_or_else(|| format!("{place} does not hold one address that begins with https://"))
    }

    /// Sends `body`, of which `chat` is the maker, once.
    pub(super) async fn send(
        &self,
        cx: &Cx,
        chat: &str,
        notice: &Notice,
        body: &Value,
    ) -> Result<Delivery, DriverError> {
        let deadline: Duration = self.timeout.unsigned_abs();
        let receiver = format!("tell {chat}");
        let all = async {
            let address = self.address().await;
            // It may be being rotated.
            let address = address.map_err(|why| DriverError::transient(receiver.clone(), why))?;
            let request = cx.http.post(address).json(body).header(ID, &notice.id);
            answer::send(request, &receiver, deadline).await
        };
        let late = || DriverError::transient(receiver.clone(), format!("not done in {deadline:?}"));
        tokio::time::timeout(deadline, all)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

/// Reads `timeout`.
pub(super) fn timeout(object: &Object<'_>) -> Option<SignedDuration> {
    object.or("timeout", TIMEOUT, |it| match it.duration() {
        Some(timeout) if timeout > TIMEOUT_MAX => it.problem("a timeout is at most 1m"),
        timeout => timeout,
    })
}

/// A path or a variable's name; the address itself is refused without being shown.
fn reference(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    if text.contains("://") {
        return reader.problem("name where the address is, do not write it here: it is a secret");
    }
    Some(text)
}

/// Whether nobody on the way can read it: https, or http on this machine.
fn is_private(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https" || url.scheme() == "http" && is_here(host)
}

/// Whether `host` is this machine.
pub(super) fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}
