//! Which server is spoken to, and with which token.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use api::Client;
use clap::Args;
use secrecy::SecretString;

use crate::{data_dir::DataDir, exit::Usage};

/// Where `sluice up` and `sluice server` listen unless told otherwise.
const SERVER: &str = "http://127.0.0.1:8080";

/// The heading of the options that all verbs have.
pub(crate) const COMMON: &str = "Options of all verbs";

/// How to reach a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The server's address
    #[arg(long, global = true, env = "SLUICE_SERVER", default_value = SERVER, value_name = "URL")]
    #[arg(hide_env_values = true, help_heading = COMMON)]
    pub(crate) server: String,
    /// A file with the token, unless SLUICE_TOKEN holds it; default: that of `sluice up`
    #[arg(long, global = true, env = "SLUICE_TOKEN_FILE", value_name = "FILE")]
    #[arg(hide_env_values = true, help_heading = COMMON)]
    pub(crate) token_file: Option<PathBuf>,
}

impl Connection {
    /// The client.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let url = reqwest::Url::parse(&self.server).ok();
        let url = url.filter(|it| matches!(it.scheme(), "http" | "https") && it.has_host());
        let Some(url) = url else {
            let detail = format!("--server \"{}\" is not a URL such as {SERVER}", self.server);
            return Err(Usage::error(detail));
        };
        Ok(Client::new(&self.server, self.token(&url)?)?)
    }

    fn token(&self, server: &reqwest::Url) -> anyhow::Result<Option<SecretString>> {
        if let Some(token) = std::env::var("SLUICE_TOKEN")
            .ok()
            .filter(|it| !it.is_empty())
        {
            return Ok(Some(token.trim().into()));
        }
        if let Some(path) = &self.token_file {
            return read(path).map(Some);
        }
        // The local admin token is for this machine; another server must not get to see it.
        let Ok(data) = data_dir_of_up() else {
            return Ok(None);
        };
        let path = data.admin_token();
        match is_loopback(server) && path.exists() {
            true => read(&path).map(Some),
            false => Ok(None),
        }
    }
}

fn data_dir_of_up() -> anyhow::Result<DataDir> {
    let given = std::env::var_os("SLUICE_DATA").filter(|it| !it.is_empty());
    DataDir::find(given.as_deref().map(Path::new))
}

fn read(path: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the token from {}", path.display()))?;
    match text.trim() {
        "" => Err(Usage::error(format!(
            "the token file {} is empty",
            path.display()
        ))),
        token => Ok(token.into()),
    }
}

fn is_loopback(server: &reqwest::Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        let local = [
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:1",
            "http://127.9.9.9",
        ];
        let others = [
            "http://10.0.0.1",
            "https://localhost.example",
            "http://127.0.0.1.example",
        ];
        for url in local {
            assert!(is_loopback(&url.parse().unwrap()), "{url}");
        }
        for url in others {
            assert!(!is_loopback(&url.parse().unwrap()), "{url}");
        }
    }
}
