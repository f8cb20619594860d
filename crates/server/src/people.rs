//! Settings of who may come in, from which networks, as an administrator writes them down.

mod networks;

use std::{net::SocketAddr, time::Duration};

use crate::auth::Grant;
pub use networks::Networks;
pub(crate) use networks::site;

/// What an administrator decides about people and their machines.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// Where people reach this server, e.g. `https://sluice.example.com`, without a path.
    pub public_url: Option<String>,
    /// Proxies in front of this server: only what these say about a client's address is believed.
    pub trusted_proxies: Networks,
    /// How long people stay signed in.
    pub sessions: Sessions,
}

/// How long people stay signed in.
#[derive(Debug, Clone, Copy)]
pub struct Sessions {
    /// A session that is not used for this long is over.
    pub idle: Duration,
    /// A session that is this old is over, used or not.
    pub longest: Duration,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(8 * 3600),
            longest: Duration::from_secs(24 * 3600),
        }
    }
}

impl People {
    /// Whether cookies can be `Secure`: not where people use a server on their own machine over
    /// plain http, since not every browser keeps such cookies then.
    pub(crate) fn secure_cookies(&self, bind: SocketAddr) -> bool {
        match &self.public_url {
            Some(url) => url.starts_with("https://"),
            None => !bind.ip().is_loopback(),
        }
    }

    /// What members of `groups` may do by the rules as they are now; `None`: nobody comes in by what
    /// this issuer says.
    pub(crate) fn grants(&self, _issuer: &str, _groups: &[String]) -> Option<Vec<Grant>> {
        None
    }
}
