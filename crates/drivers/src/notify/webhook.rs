//! A signed HTTP POST a notice, as Standard Webhooks describes it (standardwebhooks.com).
//!
//! The body is the notice's payload, sent byte for byte as it was signed, with `webhook-id` (the
//! same at each repetition: the receiver's key for doubles), `webhook-timestamp` and, where a
//! secret is named, `webhook-signature`. The secret is referenced by file or environment variable
//! and read at each delivery; it is never part of a document.
//!
//! | what comes back | outcome |
//! |---|---|
//! | 2xx | accepted |
//! | 410 | gone: stop sending there |
//! | 408, 425, 429, 5xx, connection refused, no answer in time | error, transient |
//! | any other status, redirects included (none is followed) | error, permanent |
//! | secret that is missing or not a `whsec_…` | error, transient: it may be being rotated |

mod signature;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use rollout::document::Reader;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use signature::verify;

use super::{Delivery, Notice, Notifier, answer, chat, kinds};
use crate::{Cx, DriverError, small_file};
use signature::Keys;

/// Most bytes of a secret file: eight secrets of 64 bytes need one KiB.
const SECRET_BYTES_MAX: u64 = 4 << 10;

/// Where notices are POSTed, and what they are signed with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// A file with the secret, `whsec_…`; several lines give several signatures, for rotation.
    pub secret_file: Option<String>,
    /// The name of an environment variable of the service that holds the secret.
    pub secret_env: Option<String>,
    /// The kinds of notices that are POSTed; `None`: all of them.
    #[serde(default)]
    pub on: Option<Vec<String>>,
    /// Time for one delivery, all of it.
    pub timeout: SignedDuration,
}

impl Webhook {
    /// Reads the settings of an app file, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&["url", "secretFile", "secretEnv", "on", "timeout"])?;
        let url = object.required("url", Reader::url);
        let secret_file = object.optional("secretFile", secret_reference);
        let secret_env = object.optional("secretEnv", secret_reference);
        let on = object.optional("on", kinds::read);
        let timeout = chat::timeout(&object);
        if let (Some(Some(_)), Some(Some(_))) = (&secret_file, &secret_env) {
            return object.problem("give only one of secretFile, secretEnv");
        }
        Some(Self {
            url: url?,
            secret_file: secret_file?,
            secret_env: secret_env?,
            on: on?,
            timeout: timeout?,
        })
    }

    /// The keys to sign with; `None`: notices are sent unsigned, as nobody named a secret.
    async fn keys(&self) -> Result<Option<Keys>, String> {
        let text = match (&self.secret_file, &self.secret_env) {
            (Some(path), _) => small_file::read_text(path, SECRET_BYTES_MAX).await?,
            (None, Some(name)) => std::env::var(name)
                .map_err(|_| format!("environment variable {name} is not set"))?,
            (None, None) => return Ok(None),
        };
        Keys::parse(&SecretString::from(text)).map(Some)
    }

    /// What errors call the receiver: its path may be a secret, its host is not.
    fn receiver(&self) -> String {
        let url = reqwest::Url::parse(&self.url).ok();
        let host = url.as_ref().map(|it| it.origin().ascii_serialization());
        format!(
            "deliver to {}",
            host.unwrap_or_else(|| "the webhook".to_owned())
        )
    }

    async fn request(
        &self,
        cx: &Cx,
        notice: &Notice,
    ) -> Result<reqwest::RequestBuilder, DriverError> {
        let receiver = self.receiver();
        let keys = self.keys().await;
        let keys = keys.map_err(|why| DriverError::transient(format!("{receiver}: sign"), why))?;
        let unfit = |why: &str| DriverError::permanent(receiver.clone(), why);
        let id = HeaderValue::from_str(&notice.id);
        let id = id.map_err(|_| unfit("the notice's id cannot be a header"))?;
        let body = serde_json::to_vec(&notice.payload);
        let body = body.map_err(|_| unfit("the notice's payload cannot be JSON"))?;
        let timestamp = Timestamp::now().as_second();
        let mut request = cx
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(keys) = keys {
            let signature = keys.sign(&notice.id, &timestamp.to_string(), &body);
            request = request.header("webhook-signature", signature);
        }
        Ok(request.body(body))
    }
}

/// A path or a variable's name; the secret itself is refused without being shown.
fn secret_reference(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    if text.contains(signature::PREFIX) {
        return reader.problem("name where the secret is, do not write it here");
    }
    Some(text)
}

#[async_trait]
impl Notifier for Webhook {
    async fn deliver(&self, cx: &Cx, notice: &Notice) -> Result<Delivery, DriverError> {
        let deadline: Duration = self.timeout.unsigned_abs();
        let all = async {
            let request = self.request(cx, notice).await?;
            answer::send(request, &self.receiver(), deadline).await
        };
        let late = || DriverError::transient(self.receiver(), format!("not done in {deadline:?}"));
        tokio::time::timeout(deadline, all)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn wants(&self, kind: &str, _: bool) -> bool {
        let on = self.on.as_ref();
        on.is_none_or(|it| kinds::among(it, kind))
    }
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_have_safe_defaults_and_keep_their_shape() {
        let read = document::read(
            &json!({ "url": "http://r/x", "secretEnv": "S" }),
            Webhook::read,
        );
        let settings = read.unwrap();
        assert_eq!(settings.timeout, SignedDuration::from_secs(10));
        let stored = serde_json::to_value(&settings).unwrap();
        assert_eq!(stored["secretEnv"], json!("S"));
        assert_eq!(serde_json::from_value::<Webhook>(stored).unwrap(), settings);
    }

    #[test]
    fn a_secret_in_the_document_is_refused_and_not_shown() {
        let document = json!({ "url": "http://r", "secretFile": "whsec_AAAA", "timeout": "2m" });
        let problems = document::read(&document, Webhook::read).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems.iter().all(|it| !it.detail.contains("AAAA")),
            "{problems:?}"
        );
        let both = json!({ "url": "http://r", "secretFile": "a", "secretEnv": "b" });
        document::read(&both, Webhook::read).unwrap_err();
    }
}
