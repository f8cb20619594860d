//! Free ports on 127.0.0.1.
//!
//! Ports come from below the range that the kernel takes for outgoing
//! connections. A part that is restarted on its own port would otherwise, now
//! and then, find it taken by somebody's outgoing connection: load generators
//! and scrapes open many. Where that range is full, the kernel chooses.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// The first port tried; the well-known services live below.
const FIRST: u16 = 20_000;
/// One past the last port tried: where Linux's outgoing ports begin by default.
const END: u16 = 32_768;
/// Tries before the kernel is asked; a full range would be found full by then.
const TRIES: u16 = 500;

/// Ports this process has given out. They stay free until their part binds
/// them, so only this keeps a second caller from getting one of them too.
static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// One free port. It may be taken by another process before it is used.
///
/// # Errors
/// When no port can be bound on 127.0.0.1.
pub fn free_port() -> io::Result<u16> {
    hold_one().map(|(port, _)| port)
}

/// `count` different free ports, all held until the last is chosen.
///
/// # Errors
/// When no port can be bound on 127.0.0.1.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held = (0..count)
        .map(|_| hold_one())
        .collect::<io::Result<Vec<_>>>()?;
    Ok(held.iter().map(|(port, _)| *port).collect())
}

fn hold_one() -> io::Result<(u16, TcpListener)> {
    // Hashing with fresh random keys: a random start, so that two processes
    // looking at the same time do not walk the same ports.
    let start = RandomState::new().hash_one(std::process::id());
    let span = u64::from(END - FIRST);
    for step in 0..u64::from(TRIES) {
        let offset = u16::try_from((start.wrapping_add(step)) % span).unwrap_or_default();
        let port = FIRST.saturating_add(offset);
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let given = given.get_or_insert_default();
        if given.contains(&port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            given.insert(port);
            return Ok((port, listener));
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((listener.local_addr()?.port(), listener))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    // A test that starts a child at this moment lends it every open socket until it
    // executes its program, and a port is bound that long.
    fn is_free_soon(port: u16) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Ok(_) => return true,
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                Err(_) => return false,
            }
        }
    }

    #[test]
    fn ports_are_different_and_can_be_bound() {
        let ports = free_ports(50).unwrap();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 50);
        for port in ports {
            assert!(is_free_soon(port), "{port} stays taken");
        }
        assert_ne!(free_port().unwrap(), free_port().unwrap());
    }
}
