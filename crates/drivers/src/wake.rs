//! Telling the loop that something changed for an app. A wake carries no facts: the pass that it
//! causes reads the world itself, so a lost or doubled wake is harmless.

use tokio::sync::mpsc;

use crate::AppKey;

/// A handle to wake the loop; cheap to clone, never blocks.
#[derive(Debug, Clone)]
pub struct Wake(mpsc::UnboundedSender<AppKey>);

impl Wake {
    /// A handle and the receiving end, which the loop drains (it folds repeats together).
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<AppKey>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Wakes the loop for `app`. Once the loop has ended there is nobody left to wake.
    pub fn wake(&self, app: &AppKey) {
        self.0.send(app.clone()).ok();
    }
}
