//! The stream of events, as the server sends it: blocks of text (server-sent events).

use futures::StreamExt as _;

use super::{ClientError, Result, unreachable_error};
use crate::EventView;

/// The stream of events.
pub struct Events {
    base: String,
    bytes: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(super) fn new(base: String, answer: reqwest::Response) -> Self {
        Self {
            base,
            bytes: answer.bytes_stream().boxed(),
            buffer: String::new(),
        }
    }

    /// The next event; `None` when the server ended the stream (connect again with the last id).
    pub async fn next(&mut self) -> Result<Option<EventView>> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let data = block.lines().find_map(|line| line.strip_prefix("data:"));
                let Some(data) = data else { continue };
                return serde_json::from_str(data.trim())
                    .map(Some)
                    .map_err(|error| ClientError::Malformed {
                        url: self.base.clone(),
                        detail: error.to_string(),
                    });
            }
            match self.bytes.next().await {
                None => return Ok(None),
                Some(Ok(bytes)) => self.buffer.push_str(&String::from_utf8_lossy(&bytes)),
                Some(Err(error)) => return Err(unreachable_error(&self.base, &error)),
            }
        }
    }
}
