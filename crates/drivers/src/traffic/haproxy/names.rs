//! Names that are safe inside a runtime command, and the revision that a server's name carries.

use std::net::SocketAddr;

use rollout::Revision;

use crate::{DriverError, Routes};

/// Longest name; HAProxy's own limit is higher, its column widths are not.
const NAME_MAX: usize = 128;

/// Whether `text` is a backend's name as HAProxy allows it.
pub(super) fn is_proxy(text: &str) -> bool {
    is_made_of(text, |it| matches!(it, '-' | '_' | '.' | ':'))
}

/// Whether `text` can stand as a server's name in a command: nothing that ends or splits one.
pub(super) fn is_server(text: &str) -> bool {
    is_made_of(text, |it| matches!(it, '-' | '_' | '.'))
}

fn is_made_of(text: &str, extra: impl Fn(char) -> bool) -> bool {
    let allowed = |it: char| it.is_ascii_alphanumeric() || extra(it);
    !text.is_empty() && text.len() <= NAME_MAX && text.chars().all(allowed)
}

/// The revision of one of our servers, `r3-1` → 3; `None`: not ours.
pub(super) fn revision_of(name: &str) -> Option<Revision> {
    let (number, instance) = name.strip_prefix('r')?.split_once('-')?;
    let digits = !number.is_empty() && number.chars().all(|it| it.is_ascii_digit());
    let ours = digits && !number.starts_with('0') && !instance.is_empty();
    ours.then(|| number.parse().ok().map(Revision)).flatten()
}

/// Refuses instances whose name or address must not get into a command.
pub(super) fn check(routes: &Routes) -> Result<(), DriverError> {
    for (revision, instances) in &routes.instances {
        for instance in instances {
            let operation = || format!("route to instance {:?}", instance.name);
            if !is_server(&instance.name) || revision_of(&instance.name) != Some(*revision) {
                let shape =
                    format!("its name must be {revision}- and letters, digits, '-', '_' or '.'");
                return Err(DriverError::permanent(operation(), shape));
            }
            if let Some(address) = &instance.address
                && !is_address(address)
            {
                let shape = format!("its address {address:?} is not host:port");
                return Err(DriverError::permanent(operation(), shape));
            }
        }
    }
    Ok(())
}

fn is_address(text: &str) -> bool {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.port() > 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    is_server(host) && port.parse::<u16>().is_ok_and(|it| it > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_shape_is_ours() {
        for (name, revision) in [
            ("r3-1", Some(3)),
            ("r12-blue.1", Some(12)),
            ("r007-1", None),
        ] {
            assert_eq!(revision_of(name), revision.map(Revision), "{name}");
        }
        for name in [
            "web1",
            "r-1",
            "r3",
            "r3-",
            "rx-1",
            "R3-1",
            "r99999999999-1",
            "r+3-1",
            "",
        ] {
            assert_eq!(revision_of(name), None, "{name}");
        }
    }

    #[test]
    fn nothing_that_splits_a_command_is_a_name_or_an_address() {
        for bad in ["r3-1;shutdown", "r3 1", "r3-1\n", "", "r3-1/x", "ä", "<<"] {
            assert!(!is_server(bad) && !is_proxy(bad), "{bad:?}");
        }
        for good in ["127.0.0.1:80", "[::1]:80", "web.internal:8080"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:0",
            "a b:80",
            "a;b:80",
            "a:80;",
            "a:99999",
            ":80",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
