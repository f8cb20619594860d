//! A real SMTP server (aiosmtpd) that keeps every mail it is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::json;

use crate::part::{Part, Spec};
use crate::{ports, programs, wait};

/// How long it may take to take connections.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The server, for Debian's own Python: that is the one its packages are for.
const SCRIPT: &str = include_str!("smtp/receiver.py");
const PYTHON: &str = "/usr/bin/python3";

/// How its connections are kept private.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// They are not.
    #[default]
    None,
    /// Nothing is taken before they are made private.
    Starttls,
    /// They are from the first byte.
    Tls,
}

/// How the server is to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How its connections are kept private; needs a certificate.
    pub tls: Tls,
    /// Its certificate and its key; [`crate::certificate::self_signed`] makes them.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who must sign in, and the password.
    pub user: Option<(String, String)>,
    /// Recipients that it does not know.
    pub refused: Vec<String>,
}

/// A mail as it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// The sender, by the envelope.
    pub from: String,
    /// The recipients, by the envelope.
    pub to: Vec<String>,
    /// Whether the connection was private.
    pub private: bool,
    /// Who signed in.
    pub user: Option<String>,
    /// The headers, decoded, by their names in small letters.
    pub headers: std::collections::BTreeMap<String, String>,
    /// The text.
    pub body: String,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Smtp {
    part: Part,
    port: u16,
    mails: PathBuf,
}

impl Smtp {
    /// Runs one on a free port with its files in `dir`. Returns when it takes connections.
    ///
    /// # Errors
    /// When aiosmtpd is not installed, or it does not start.
    pub async fn start(dir: &Path, options: Options) -> anyhow::Result<Self> {
        programs::find("aiosmtpd")?;
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let (script, mails) = (dir.join("receiver.py"), dir.join("mails.jsonl"));
        std::fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
        let port = ports::free_port().context("find a free port for SMTP")?;
        let settings = json!({
            "port": port,
            "mails": mails,
            "tls": match options.tls {
                Tls::None => "none",
                Tls::Starttls => "starttls",
                Tls::Tls => "tls",
            },
            "certificate": options.certificate,
            "user": options.user,
            "refused": options.refused,
        });
        let spec = Spec::new("SMTP server", PYTHON.into(), dir.join("smtp.log"))
            .arguments([script.display().to_string(), settings.to_string()]);
        let part = Part::start(spec).await?;
        let mut server = Self { part, port, mails };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every mail that was taken, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn mails(&self) -> anyhow::Result<Vec<Mail>> {
        let text = match std::fs::read_to_string(&self.mails) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("read {}", self.mails.display()))?,
        };
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mails = whole.lines().map(serde_json::from_str);
        mails
            .collect::<Result<_, _>>()
            .context("understand the mails that were taken")
    }

    /// Ends it; nobody answers at its port any more.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.part.kill9()?;
        Ok(())
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// As [`Smtp::start`].
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.part.start_again().await?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let address = ("127.0.0.1", self.port);
        let part = &mut self.part;
        let ready = wait::until(READY_WITHIN, "the SMTP server", || {
            let ended = part.check().err().map(|it| it.to_string());
            async move {
                if let Some(ended) = ended {
                    return Ok(Err(anyhow::anyhow!(ended)));
                }
                let connected = tokio::net::TcpStream::connect(address).await;
                connected.map(|_| Ok(())).map_err(|it| it.to_string())
            }
        });
        ready.await?
    }
}
