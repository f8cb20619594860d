//! What is remembered of a cluster's objects between looks at them, and lost with the process: since
//! when a state is what it is, what was last certain, what was written last, and how long somebody
//! else took to take it.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::locked;

/// Notes by a key of the caller's own.
#[derive(Debug, Default)]
pub struct Notes {
    states: Mutex<BTreeMap<String, (String, Instant)>>,
    certain: Mutex<BTreeMap<String, String>>,
    written: Mutex<BTreeMap<String, String>>,
    taken: Mutex<BTreeMap<String, TakenWithin>>,
}

/// How long somebody else takes to take what is written.
#[derive(Debug, Default)]
struct TakenWithin {
    /// Written then, and not taken yet.
    offered: Option<Instant>,
    /// The longest of late.
    longest: Option<Duration>,
}

impl Notes {
    /// How long `state` has been seen at `key` without anything else in between.
    pub fn steady_for(&self, key: &str, state: &str) -> Duration {
        let mut states = locked(&self.states);
        match states.get(key) {
            Some((known, since)) if known == state => since.elapsed(),
            Some(_) | None => {
                states.insert(key.to_owned(), (state.to_owned(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Notes what is certain at `key` now.
    pub fn note_certain(&self, key: &str, value: impl Into<String>) {
        locked(&self.certain).insert(key.to_owned(), value.into());
    }

    /// What was last certain at `key`.
    pub fn last_certain(&self, key: &str) -> Option<String> {
        locked(&self.certain).get(key).cloned()
    }

    /// Notes the state that `key` has after a write of ours.
    pub fn note_written(&self, key: &str, state: &str) {
        locked(&self.written).insert(key.to_owned(), state.to_owned());
    }

    /// Notes that somebody else is to take what was written at `key`, `since` then.
    pub fn note_offered(&self, key: &str, since: Instant) {
        let mut taken = locked(&self.taken);
        taken.entry(key.to_owned()).or_default().offered = Some(since);
    }

    /// Notes that it is taken.
    pub fn note_taken(&self, key: &str) {
        if let Some(taken) = locked(&self.taken).get_mut(key)
            && let Some(offered) = taken.offered.take()
        {
            let before = taken.longest.unwrap_or_default();
            taken.longest = Some(offered.elapsed().max(before / 2));
        }
    }

    /// How long it took of late to be taken at `key`: the longest, which counts half with each that
    /// is shorter. `None` when that was never seen.
    pub fn taken_within(&self, key: &str) -> Option<Duration> {
        locked(&self.taken).get(key)?.longest
    }

    /// Whether `key` has another state than the one that was written last: then somebody else has
    /// changed it, and to write it again may be a fight (see [`super::Clusters::again`]).
    pub fn is_undone(&self, key: &str, state: &str) -> bool {
        locked(&self.written).get(key).is_some_and(|it| it != state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_steady_since_it_was_first_seen() {
        let notes = Notes::default();
        assert_eq!(notes.steady_for("a", "x"), Duration::ZERO);
        assert!(notes.steady_for("a", "x") > Duration::ZERO);
        assert_eq!(notes.steady_for("a", "y"), Duration::ZERO);
        assert_eq!(notes.steady_for("a", "x"), Duration::ZERO, "begun anew");
    }

    #[test]
    fn the_longest_of_late_is_remembered() {
        let notes = Notes::default();
        notes.note_taken("a");
        assert_eq!(notes.taken_within("a"), None, "nothing was offered");
        let ago = |it: u64| Instant::now().checked_sub(Duration::from_secs(it)).unwrap();
        notes.note_offered("a", ago(60));
        assert_eq!(notes.taken_within("a"), None, "not taken yet");
        notes.note_taken("a");
        let first = notes.taken_within("a").unwrap();
        assert!(first >= Duration::from_secs(60), "{first:?}");
        notes.note_taken("a");
        assert_eq!(notes.taken_within("a"), Some(first), "counted once");
        notes.note_offered("a", ago(1));
        notes.note_taken("a");
        assert_eq!(notes.taken_within("a"), Some(first / 2));
    }

    #[test]
    fn what_was_written_is_undone_while_it_is_something_else() {
        let notes = Notes::default();
        assert!(!notes.is_undone("a", "x"), "nothing was written");
        notes.note_written("a", "x");
        assert!(!notes.is_undone("a", "x"));
        assert!(notes.is_undone("a", "y") && notes.is_undone("a", "y"));
        notes.note_written("a", "z");
        assert!(!notes.is_undone("a", "z"));
    }
}
