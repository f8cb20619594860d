//! Which port an instance gets: the lowest of its range that nobody has.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, PoisonError},
};

use super::PortRange;

/// Ports that instances of this host hold, whether or not they listen yet.
#[derive(Debug, Default)]
pub(super) struct Ports(Mutex<BTreeSet<u16>>);

impl Ports {
    /// A port of `range` for an instance that had `current`: the same again if it is free, else
    /// the lowest free one. `None` when all are taken.
    pub(super) fn take(&self, range: PortRange, current: Option<u16>) -> Option<u16> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let in_range = |it: &u16| (range.from..=range.to).contains(it);
        if let Some(port) = current.filter(in_range)
            && is_free(port)
        {
            held.insert(port);
            return Some(port);
        }
        let port = (range.from..=range.to).find(|it| !held.contains(it) && is_free(*it))?;
        held.insert(port);
        if let Some(current) = current {
            held.remove(&current);
        }
        Some(port)
    }

    /// Notes that an adopted instance has `port`.
    pub(super) fn hold(&self, port: u16) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(port);
    }

    /// Gives `port` back.
    pub(super) fn release(&self, port: u16) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&port);
    }
}

/// Whether a listener can have `port` now. Somebody may take it a moment later; the instance then
/// ends and is started again on another.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
