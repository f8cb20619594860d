//! What HAProxy balances to: two addresses in this process that answer every request with 200.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;

/// Listening addresses; they answer as long as the process lives.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    /// The pool of the stable revision.
    pub(crate) blue: String,
    /// The pool of the candidate.
    pub(crate) green: String,
}

impl Targets {
    /// Two responders on free ports.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            blue: responder()?,
            green: responder()?,
        })
    }
}

/// A thread that answers one request a connection, as probes and checks make them.
fn responder() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a target")?;
    let address = listener.local_addr().context("bind a target")?.to_string();
    let serve = move || {
        let mut request = [0; 1024];
        for mut stream in listener.incoming().flatten() {
            // A TCP check closes without a word; nobody waits for an answer then.
            if stream.read(&mut request).unwrap_or_default() > 0 {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).unwrap_or_default();
            }
        }
    };
    std::thread::Builder::new()
        .name("target".to_owned())
        .spawn(serve)
        .context("start a target")?;
    Ok(address)
}
