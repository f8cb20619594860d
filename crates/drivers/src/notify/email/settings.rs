//! Which SMTP server takes the mail, from whom and to whom.

use jiff::SignedDuration;
use lettre::message::Mailbox;
use rollout::document::{Object, Reader};
use serde::{Deserialize, Serialize};

use super::super::{chat, kinds};

/// Most people in one mail: more of them are a list, which has an address of its own.
const TO_MAX: usize = 50;

/// How the connection is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Security {
    /// It begins in the clear and is made private before anything is said; without it nothing is.
    Starttls,
    /// It is private from its first byte.
    Tls,
    /// It is not.
    None,
}

impl Security {
    const WORDS: [(&'static str, Self); 3] = [
        ("starttls", Self::Starttls),
        ("tls", Self::Tls),
        ("none", Self::None),
    ];

    /// The port that is meant for it.
    fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// Who is mailed, through which server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Email {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub tls: Security,
    /// A file with the certificates (PEM) of who vouches for the server, beside this host's own.
    pub ca_file: Option<String>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Whom this service signs in as; `None`: it does not.
    pub user: Option<String>,
    /// A file with that user's password.
    pub secret_file: Option<String>,
    /// The name of an environment variable of the service that holds it.
    pub secret_env: Option<String>,
    /// The kinds of notices that are mailed.
    pub on: Vec<String>,
    /// Time for one delivery, all of it.
    pub timeout: SignedDuration,
}

impl Email {
    const KEYS: [&'static str; 11] = [
        "host",
        "port",
        "tls",
        "caFile",
        "from",
        "to",
        "user",
        "secretFile",
        "secretEnv",
        "on",
        "timeout",
    ];

    /// Reads the settings of an app file, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let object = reader.object(&Self::KEYS)?;
        let host = object.required("host", host);
        let tls = object.or("tls", Security::Starttls, |it| it.word(&Security::WORDS));
        let port = object.optional("port", |it| it.whole(1, 65535));
        let from = object.required("from", address);
        let to = object.required("to", recipients);
        let texts = ["caFile", "user", "secretFile", "secretEnv"];
        let [ca_file, user, secret_file, secret_env] =
            texts.map(|key| object.optional(key, Reader::text));
        let on = object.or("on", kinds::for_people(), kinds::read);
        let timeout = chat::timeout(&object);
        let (host, tls) = (host?, tls?);
        let (user, secret_file, secret_env) = (user?, secret_file?, secret_env?);
        let secrets = secret_file.iter().count() + secret_env.iter().count();
        sign_in(&object, (&host, tls), user.is_some(), secrets)?;
        let port = port?.and_then(|it| u16::try_from(it).ok());
        Some(Self {
            port: port.unwrap_or_else(|| tls.port()),
            host,
            tls,
            ca_file: ca_file?,
            from: from?,
            to: to?,
            user,
            secret_file,
            secret_env,
            on: on?,
            timeout: timeout?,
        })
    }
}

/// Notes what is wrong with how the service is to sign in.
fn sign_in(
    object: &Object<'_>,
    (host, tls): (&str, Security),
    user: bool,
    secrets: usize,
) -> Option<()> {
    match (user, secrets) {
        (true, 1) if tls == Security::None && !chat::is_here(host) => object.problem(
            "a password is not sent over a connection that others can read: give tls or starttls",
        ),
        (true, 1) | (false, 0) => Some(()),
        (true, _) => object.problem("give one of secretFile, secretEnv: where the password is"),
        (false, _) => object.problem("\"user\" is missing: whose password it is"),
    }
}

/// A name or an address, without a port.
fn host(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    let fits = |it: char| it.is_ascii_alphanumeric() || "-._:".contains(it);
    match text.chars().all(fits) && !text.contains("://") {
        true => Some(text),
        false => reader.problem(format!(
            "\"{text}\" is not the name of a server, such as smtp.example.com"
        )),
    }
}

fn address(reader: &Reader<'_>) -> Option<String> {
    let text = reader.text()?;
    match text.parse::<Mailbox>() {
        Ok(_) if !text.contains(char::is_control) => Some(text),
        Ok(_) | Err(_) => reader.problem(
            "is not a mail address such as sluice@example.com or \"Sluice <sluice@example.com>\"",
        ),
    }
}

fn recipients(reader: &Reader<'_>) -> Option<Vec<String>> {
    let all = reader.each(address)?;
    match all.len() {
        0 => reader.problem("name at least one recipient"),
        1..=TO_MAX => Some(all),
        _ => reader.problem(format!(
            "at most {TO_MAX} recipients; use the address of a list"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::{Value, json};

    use super::*;

    fn with(key: &str, value: Value) -> Value {
        let mut settings = json!({
            "host": "mail.example", "from": "sluice@example.com", "to": ["Ann <ann@example.com>"],
        });
        settings[key] = value;
        settings
    }

    #[test]
    fn settings_have_safe_defaults_and_keep_their_shape() {
        let read = |it: &Value| document::read(it, Email::read);
        let email = read(&with("port", Value::Null)).unwrap();
        assert_eq!((email.tls, email.port), (Security::Starttls, 587));
        let stored = serde_json::to_value(&email).unwrap();
        assert_eq!(serde_json::from_value::<Email>(stored).unwrap(), email);
        assert_eq!(read(&with("tls", json!("tls"))).unwrap().port, 465);
        for (key, value) in [
            ("from", json!("sluice")),
            ("to", json!([])),
            ("to", json!(["a@example.com\r\nBcc: b@example.com"])),
            ("host", json!("smtp://mail.example")),
            ("user", json!("sluice")),
            ("secretFile", json!("/run/secrets/smtp")),
            ("tls", json!("ssl")),
            ("port", json!(0)),
            ("on", json!(["everything"])),
        ] {
            let problems = read(&with(key, value.clone())).unwrap_err();
            assert_eq!(problems.len(), 1, "{key} {value}: {problems:?}");
        }
        let mut clear = with("tls", json!("none"));
        clear["user"] = json!("sluice");
        clear["secretEnv"] = json!("SMTP_PASSWORD");
        read(&clear).unwrap_err();
        clear["host"] = json!("localhost");
        read(&clear).unwrap();
    }
}
