//! What the loop last saw of each app it looks after, for showing. Never decided upon: a pass
//! reads the world itself.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use drivers::AppKey;
use jiff::Timestamp;
use rollout::{Observation, Target};

/// What was seen of one app, and what was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What was asked for.
    pub(crate) target: Target,
    /// What was seen.
    pub(crate) observation: Observation,
    /// What kept the world from it.
    pub(crate) obstacles: Vec<Obstacle>,
    /// When.
    pub(crate) at: Timestamp,
}

/// What keeps a part of the world from what was asked for, until it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// The part, e.g. `router`.
    pub(crate) part: &'static str,
    /// What it says.
    pub(crate) detail: String,
}

/// What was last seen, by app.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live(Arc<RwLock<HashMap<AppKey, Arc<Seen>>>>);

impl Live {
    /// What was last seen of `app`; `None` on a replica that does not look after it.
    pub(crate) fn get(&self, app: &AppKey) -> Option<Arc<Seen>> {
        self.0.read().ok()?.get(app).cloned()
    }

    pub(crate) fn put(&self, app: &AppKey, seen: Seen) {
        if let Ok(mut map) = self.0.write() {
            map.insert(app.clone(), Arc::new(seen));
        }
    }

    pub(crate) fn forget(&self, app: &AppKey) {
        if let Ok(mut map) = self.0.write() {
            map.remove(app);
        }
    }
}
