//! One connection to HAProxy's runtime API, in prompt mode so that every reply has an end.
//!
//! Without a prompt HAProxy separates the replies of `a;b;c` by nothing that can be told from an
//! empty reply; with it each reply is closed by a line break and `> `.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use crate::DriverError;

/// How long one exchange may take; HAProxy answers in well under a millisecond.
const DEADLINE: Duration = Duration::from_secs(1);

/// Most bytes of replies in one exchange: some 3,000 servers with all their columns.
const REPLY_MAX: usize = 1 << 20;

/// Most commands in one line, far below HAProxy's line buffer of 16 KiB.
pub(super) const COMMANDS_MAX: usize = 32;

/// What to do when the socket's level does not allow something.
pub(super) const LEVEL_HINT: &str =
    "HAProxy denies it; give the stats socket `level admin` in HAProxy's configuration";

const PROMPT: &[u8] = b"\n> ";

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    path: PathBuf,
    prompted: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) async fn open(
        path: &Path,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, DriverError> {
        let opened = timeout(DEADLINE, UnixStream::connect(path)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = opened.map_err(|why| unreachable(path, &why))?;
        Ok(Self {
            stream,
            path: path.to_owned(),
            prompted: false,
            _permit: permit,
        })
    }

    /// Sends `commands` in one line; one reply each, trimmed of the line breaks around it.
    pub(super) async fn ask(&mut self, commands: &[String]) -> Result<Vec<String>, DriverError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut line = commands.join(";");
        line.push('\n');
        let opening = usize::from(!self.prompted);
        if !self.prompted {
            line.insert_str(0, "prompt\n");
        }
        let exchanged = timeout(DEADLINE, self.exchange(&line, commands.len() + opening)).await;
        let replies = match exchanged {
            Ok(Ok(replies)) => replies,
            Ok(Err(why)) => return Err(self.broken(why)),
            Err(_) => return Err(self.broken("no answer within a second")),
        };
        self.prompted = true;
        Ok(replies.into_iter().skip(opening).collect())
    }

    async fn exchange(&mut self, line: &str, count: usize) -> io::Result<Vec<String>> {
        self.stream.write_all(line.as_bytes()).await?;
        let mut bytes = Vec::new();
        while prompts(&bytes) < count {
            let mut buffer = [0; 16 * 1024];
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                return Err(io::Error::other(
                    "HAProxy closed the connection before its reply ended",
                ));
            }
            bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
            if bytes.len() > REPLY_MAX {
                return Err(io::Error::other("the reply is longer than 1 MiB"));
            }
        }
        Ok(split(&String::from_utf8_lossy(&bytes)))
    }

    /// Waits until HAProxy closes the connection, or says something unasked.
    pub(super) async fn closed(&mut self) {
        // The end and an error are one: the caller opens the next connection.
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut [0; 64]) {
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    pub(super) fn broken(&self, why: impl std::fmt::Display) -> DriverError {
        DriverError::transient(format!("talk to HAProxy at {}", self.path.display()), why)
    }
}

fn prompts(bytes: &[u8]) -> usize {
    // Counted anew for every read; a reply has a few reads at most.
    let complete = bytes.ends_with(PROMPT);
    if complete {
        bytes
            .windows(PROMPT.len())
            .filter(|it| *it == PROMPT)
            .count()
    } else {
        0
    }
}

fn split(text: &str) -> Vec<String> {
    let text = text.strip_suffix("\n> ").unwrap_or(text);
    text.split("\n> ")
        .map(|it| it.trim_matches('\n').to_owned())
        .collect()
}

fn unreachable(path: &Path, why: &io::Error) -> DriverError {
    let operation = format!("connect to {}", path.display());
    match why.kind() {
        io::ErrorKind::PermissionDenied => DriverError::permanent(
            operation,
            format!(
                "{why}; run Sluice as the socket's owner, or give the `stats socket` line a `mode` and `group` that let it in"
            ),
        ),
        _ => DriverError::transient(
            operation,
            format!(
                "{why}; is HAProxy running, and does its `global` section have `stats socket {} level admin`?",
                path.display()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_split_at_their_prompts() {
        let text =
            "\n> \n> No such server.\n\n> Only servers in maintenance mode can be deleted.\n> ";
        let replies = split(text);
        assert_eq!(
            replies,
            [
                "",
                "",
                "No such server.",
                "Only servers in maintenance mode can be deleted."
            ]
        );
        assert_eq!(prompts(text.as_bytes()), 4);
        assert_eq!(
            prompts(b"\n> half a reply"),
            0,
            "a reply that has not ended counts for nothing"
        );
    }

    /// What a socket that behaves like `peer` makes of a question.
    async fn asked<F>(peer: impl FnOnce(UnixStream) -> F + Send + 'static) -> String
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haproxy.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let peer = tokio::spawn(async move { peer(listener.accept().await.unwrap().0).await });
        let mut connection = Connection::open(&path, None).await.unwrap();
        let error = connection.ask(&["show info".to_owned()]).await.unwrap_err();
        peer.abort();
        assert!(error.transient);
        error.to_string()
    }

    #[tokio::test]
    async fn a_peer_that_hangs_closes_or_floods_is_an_error() {
        let hangs = asked(|stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        assert!(hangs.await.contains("no answer within a second"));
        let closes = asked(|mut stream| async move {
            let mut line = [0; "prompt\nshow info\n".len()];
            stream.read_exact(&mut line).await.unwrap();
            stream.write_all(b"\n> Name: HAPr").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        assert!(closes.await.contains("before its reply ended"));
        let floods =
            asked(
                |mut stream| async move { while stream.write_all(&[b'x'; 65536]).await.is_ok() {} },
            );
        assert!(floods.await.contains("longer than 1 MiB"));
    }
}
