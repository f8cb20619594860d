//! Orders for one rollout are taken one at a time: in turn, holding no database connection meanwhile.
//!
//! They would serialise anyway, on the rollout's row and by its version. But each would wait there
//! with a connection in its hand and most would then decide anew, so that a crowd around one rollout
//! could take the connections from all the others. What takes traffic back has a turn of its own: it
//! never waits for a promotion.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use uuid::Uuid;

use crate::error::ServeError;

/// How long an order may wait for the ones before it; a client gives up soon after.
const WITHIN: Duration = Duration::from_secs(10);
/// Entries kept before those that nobody waits for are swept.
const SWEEP_AT: usize = 1024;

type Turned = HashMap<(Uuid, bool), Weak<Turn<()>>>;

/// Whose turn it is, by rollout and whether it takes traffic back.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Turned>);

impl Turns {
    /// Waits for its turn; it ends when the guard is dropped.
    pub(crate) async fn of(
        &self,
        rollout: Uuid,
        back: bool,
    ) -> Result<OwnedMutexGuard<()>, ServeError> {
        let turn = self.turn((rollout, back));
        let waited = tokio::time::timeout(WITHIN, turn.lock_owned()).await;
        waited.map_err(|_| ServeError::Unavailable {
            detail: "too many orders for this rollout are waiting; try again".to_owned(),
        })
    }

    fn turn(&self, key: (Uuid, bool)) -> Arc<Turn<()>> {
        // A map of plain values is whole after a panic elsewhere, too.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= SWEEP_AT {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let known = turns.get(&key).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(key, Arc::downgrade(&turn));
            turn
        })
    }
}
