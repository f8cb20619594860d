//! A mail a notice, handed to an SMTP server.
//!
//! Its `Message-ID` is made of the notice's id: a repetition is the same mail, which mail servers and
//! readers recognise, and all mails about a rollout refer to it, so that they are shown together.
//! The body is plain text, and what people wrote has no control characters left: nothing in it can
//! become a header.
//!
//! | what comes back | outcome |
//! |---|---|
//! | taken | accepted |
//! | 4xx, connection refused, no answer in time | error, transient |
//! | 5xx | error, permanent |
//! | a secret or certificate that cannot be read | error, transient: it may be being rotated |

mod settings;

use std::time::Duration;

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message as Mail, Tokio1Executor,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error as SmtpError,
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use secrecy::{ExposeSecret as _, SecretString};

pub use settings::{Email, Security};

use super::{Delivery, Notice, Notifier, kinds, message::Message};
use crate::{Cx, DriverError, exchange::excerpt, small_file};

/// Most bytes of a file with a password.
const SECRET_BYTES_MAX: u64 = 4 << 10;
/// Most bytes of a file with certificates.
const CERTIFICATES_BYTES_MAX: u64 = 256 << 10;
/// Automatic mail says so, so that no automatic answer comes back (RFC 3834).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

#[async_trait]
impl Notifier for Email {
    async fn deliver(&self, _: &Cx, notice: &Notice) -> Result<Delivery, DriverError> {
        let deadline: Duration = self.timeout.unsigned_abs();
        let server = format!("mail by {}:{}", self.host, self.port);
        let all = async {
            let mail = self.mail(notice);
            let mail = mail.map_err(|why| DriverError::permanent(server.clone(), why))?;
            let transport = self.transport(deadline).await;
            let transport = transport.map_err(|why| DriverError::transient(server.clone(), why))?;
            let sent = transport.send(mail).await;
            sent.map_err(|error| failure(&server, &error))?;
            Ok(Delivery::Accepted)
        };
        let late = || DriverError::transient(server.clone(), format!("not done in {deadline:?}"));
        tokio::time::timeout(deadline, all)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn wants(&self, kind: &str, _: bool) -> bool {
        kinds::among(&self.on, kind)
    }
}

impl Email {
    fn mail(&self, notice: &Notice) -> Result<Mail, String> {
        let from: Mailbox = self.from.parse().map_err(|_| "from is not an address")?;
        let domain = from.email.domain().to_owned();
        let message = Message::of(notice);
        let mut builder = Mail::builder()
            .message_id(Some(format!("<{}@{domain}>", notice.id)))
            .date(notice.at.into())
            .subject(&message.headline)
            .raw_header(HeaderValue::new(
                AUTO_SUBMITTED,
                "auto-generated".to_owned(),
            ))
            .from(from);
        if let Some(rollout) = &message.rollout {
            builder = builder.references(format!("<rollout-{rollout}@{domain}>"));
        }
        for to in &self.to {
            builder = builder.to(to.parse().map_err(|_| "to is not an address")?);
        }
        let builder = builder.header(ContentType::TEXT_PLAIN);
        let mail = builder.body(text(&message));
        mail.map_err(|error| excerpt(&error.to_string()))
    }

    /// A connection of its own for each mail: there are few, and servers drop idle ones.
    async fn transport(
        &self,
        deadline: Duration,
    ) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
        let tls = match self.tls {
            Security::None => Tls::None,
            Security::Starttls => Tls::Required(self.tls_parameters().await?),
            Security::Tls => Tls::Wrapper(self.tls_parameters().await?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .timeout(Some(deadline));
        if let Some(user) = &self.user {
            let password = self.password().await?;
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }

    async fn tls_parameters(&self) -> Result<TlsParameters, String> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(path) = &self.ca_file {
            let pem = small_file::read(path, CERTIFICATES_BYTES_MAX).await?;
            let roots = Certificate::from_pem(&pem);
            builder = builder.add_root_certificate(roots.map_err(|error| said(&error))?);
        }
        builder.build_rustls().map_err(|error| said(&error))
    }

    async fn password(&self) -> Result<SecretString, String> {
        let text = match (&self.secret_file, &self.secret_env) {
            (Some(path), _) => small_file::read_text(path, SECRET_BYTES_MAX).await?,
            (None, Some(name)) => std::env::var(name)
                .map_err(|_| format!("environment variable {name} is not set"))?,
            (None, None) => return Err("no password is named".to_owned()),
        };
        Ok(SecretString::from(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        ))
    }
}

fn text(message: &Message) -> String {
    let mut paragraphs = message.sentences.clone();
    paragraphs.extend(message.link.clone());
    let mut text = paragraphs.join("\n\n");
    text.push('\n');
    text
}

fn failure(server: &str, error: &SmtpError) -> DriverError {
    match error.is_permanent() {
        true => DriverError::permanent(server, said(error)),
        false => DriverError::transient(server, said(error)),
    }
}

/// What the server said, or why it said nothing.
fn said(error: &SmtpError) -> String {
    excerpt(&error.to_string())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rollout::document;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repetition_is_the_same_mail_and_nothing_in_it_becomes_a_header() {
        let settings = json!({
            "host": "mail.example", "from": "Sluice <sluice@example.com>",
            "to": ["ann@example.com", "bob@example.com"],
        });
        let email = document::read(&settings, Email::read).unwrap();
        let notice = Notice {
            id: "0190-7".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            kind: "rollout.rolledBack".to_owned(),
            payload: json!({
                "project": "shop\r\nBcc: eve@example.com", "app": "checkout", "candidate": "r2",
                "rollout": "77", "sentence": "rolled back\r\n.\r\nRCPT TO:<eve@example.com>",
            }),
        };
        let first = email.mail(&notice).unwrap();
        assert_eq!(first.formatted(), email.mail(&notice).unwrap().formatted());
        assert_eq!(first.envelope().to().len(), 2);
        let text = String::from_utf8(first.formatted()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(
            lines.contains(&"Message-ID: <0190-7@example.com>"),
            "{text}"
        );
        assert!(
            lines.contains(&"References: <rollout-77@example.com>"),
            "{text}"
        );
        assert!(lines.contains(&"Auto-Submitted: auto-generated"), "{text}");
        assert!(
            !lines.iter().any(|it| it.starts_with("Bcc") || *it == "."),
            "{text}"
        );
    }
}
