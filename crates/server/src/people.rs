//! Settings of who may come in, from which networks, as an administrator writes them down.

mod networks;

pub use networks::Networks;

/// What an administrator decides about people and their machines.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// Proxies in front of this server: only what these say about a client's address is believed.
    pub trusted_proxies: Networks,
}
