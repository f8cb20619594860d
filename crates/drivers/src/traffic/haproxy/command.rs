//! The runtime commands that change something, as text, and what their replies mean.

use super::connection::LEVEL_HINT;
use crate::DriverError;

/// How our servers are checked. Servers that are added at run time inherit nothing from
/// `default-server`, so it is said in full. A server that is up is checked once a second; one
/// that is down, coming up or in doubt ten times as often: a dead one is out after two refusals
/// 100 ms apart, a new one is known to be up within 100 ms.
pub(super) const CHECK: &str = "check inter 1s fastinter 100ms downinter 100ms fall 2 rise 1";

/// One runtime command about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Add {
        name: String,
        address: String,
        weight: u32,
        check: bool,
    },
    StartCheck {
        name: String,
    },
    Move {
        name: String,
        address: String,
    },
    SetWeight {
        name: String,
        weight: u32,
    },
    Enable {
        name: String,
    },
    Drain {
        name: String,
    },
    Maintain {
        name: String,
    },
    Delete {
        name: String,
    },
}

impl Command {
    /// The command as HAProxy reads it. Names and addresses were checked where they came in.
    pub(super) fn line(&self, backend: &str) -> String {
        match self {
            Self::Add {
                name,
                address,
                weight,
                check,
            } => {
                let check = if *check {
                    format!(" {CHECK}")
                } else {
                    String::new()
                };
                format!("add server {backend}/{name} {address} weight {weight}{check}")
            }
            Self::StartCheck { name } => format!("enable health {backend}/{name}"),
            Self::Move { name, address } => {
                let (ip, port) = address.rsplit_once(':').unwrap_or((address, ""));
                let ip = ip.trim_start_matches('[').trim_end_matches(']');
                format!("set server {backend}/{name} addr {ip} port {port}")
            }
            Self::SetWeight { name, weight } => {
                format!("set server {backend}/{name} weight {weight}")
            }
            Self::Enable { name } => format!("set server {backend}/{name} state ready"),
            Self::Drain { name } => format!("set server {backend}/{name} state drain"),
            Self::Maintain { name } => format!("set server {backend}/{name} state maint"),
            Self::Delete { name } => format!("del server {backend}/{name}"),
        }
    }

    /// Whether `reply` means success: HAProxy has no codes, only texts. `Ok(true)`: not yet, because
    /// connections are open.
    pub(super) fn judge(&self, line: &str, reply: &str) -> Result<bool, DriverError> {
        let (done, waits) = match self {
            Self::Add { .. } => (reply == "New server registered.", false),
            Self::Move { .. } => (
                reply.contains("changed from") || reply.contains("no need to change"),
                false,
            ),
            Self::Delete { .. } => (
                reply == "Server deleted." || reply == "No such server.",
                reply.contains("still has connections"),
            ),
            Self::StartCheck { .. }
            | Self::SetWeight { .. }
            | Self::Enable { .. }
            | Self::Drain { .. }
            | Self::Maintain { .. } => (reply.is_empty(), false),
        };
        if done || waits {
            Ok(waits)
        } else {
            Err(refusal(line, reply))
        }
    }
}

fn refusal(line: &str, reply: &str) -> DriverError {
    let operation = format!("tell HAProxy `{line}`");
    let shown: String = reply.chars().take(300).collect();
    if reply.contains("dynamic load balancing") || reply.contains("static LB algorithm") {
        let way_out = "use `balance roundrobin`, `leastconn` or `random` in that backend";
        return DriverError::permanent(operation, format!("{shown} {way_out}"));
    }
    if reply.contains("Permission denied") {
        return DriverError::permanent(operation, LEVEL_HINT);
    }
    if reply.contains("experimental mode") || reply.contains("Unknown command") {
        return DriverError::permanent(
            operation,
            format!("{shown} (HAProxy 2.6 or newer is needed)"),
        );
    }
    DriverError::transient(
        operation,
        if shown.is_empty() {
            "no reply text".to_owned()
        } else {
            shown
        },
    )
}
