//! What is remembered of an app beside its objects: fields that somebody else keeps changing, and
//! texts that are asked for once.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Clusters, Object, locked};
use crate::{AppKey, DriverError};

/// The time in which changes by others are counted.
const FIGHT_WINDOW: Duration = Duration::from_secs(60);

/// After so many of them a field is not written again until the window has passed.
const FIGHTS_MAX: usize = 3;

/// Of one app.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When fields were written again, by object and field.
    again: BTreeMap<String, VecDeque<Instant>>,
    texts: BTreeMap<String, String>,
}

impl Memory {
    /// Whether anything is left to remember of an app at rest.
    pub(super) fn rest(&mut self, now: Instant) -> bool {
        self.texts.clear();
        self.again.retain(|_, times| {
            times.retain(|it| now.duration_since(*it) < FIGHT_WINDOW);
            !times.is_empty()
        });
        !self.again.is_empty()
    }
}

impl Clusters {
    /// Notes that `field` of `object` is about to be written again, because somebody else has changed
    /// it since. An error when that has happened too often: then somebody has to decide.
    pub fn again(
        &self,
        app: &AppKey,
        kind: &str,
        object: &Object,
        field: &str,
    ) -> Result<(), DriverError> {
        let now = Instant::now();
        let mut memory = locked(&self.memory);
        let memory = memory.entry(app.clone()).or_default();
        let key = format!("{kind} {}/{} {field}", object.namespace, object.name);
        let times = memory.again.entry(key).or_default();
        times.retain(|it| now.duration_since(*it) < FIGHT_WINDOW);
        if times.len() < FIGHTS_MAX {
            times.push_back(now);
            return Ok(());
        }
        let other = object.setter(field).unwrap_or("somebody");
        Err(DriverError::transient(
            format!(
                "hold {field} of {kind} {}/{}",
                object.namespace, object.name
            ),
            format!(
                "{other} has set it otherwise {FIGHTS_MAX} times within a minute: let {other} leave that field alone while a rollout runs"
            ),
        ))
    }

    /// The text of that key: what `ask` answers, asked for once.
    pub(crate) async fn text_once(
        &self,
        app: &AppKey,
        key: &str,
        ask: impl Future<Output = String>,
    ) -> String {
        let known = locked(&self.memory)
            .get(app)
            .and_then(|it| it.texts.get(key).cloned());
        if let Some(known) = known {
            return known;
        }
        let text = ask.await;
        let mut memory = locked(&self.memory);
        let texts = &mut memory.entry(app.clone()).or_default().texts;
        texts.insert(key.to_owned(), text.clone());
        text
    }
}
