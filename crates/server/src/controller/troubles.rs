//! What does not work now. A driver that fails is tried again every second; it is worth two lines in
//! the log: a warning when it begins to fail, and a word when it works again. One that only waits
//! for others is worth them when the wait is long.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use drivers::AppKey;

/// A part of the world that a pass needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The app's router.
    Router,
    /// What runs the app's instances.
    Workload,
    /// The app file that a revision was made with.
    AppFile,
    /// A revision that was asked for at the workload itself.
    Offer,
    /// Postgres, or the pass as a whole.
    Pass,
}

impl Part {
    /// The word for it, also as a metric label.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Workload => "workload",
            Self::AppFile => "app file",
            Self::Offer => "offer",
            Self::Pass => "pass",
        }
    }
}

/// How long a wait for others is nothing to speak of. Other controllers take milliseconds, a busy
/// cluster some seconds.
const WAITS_MAX: Duration = Duration::from_secs(5);

/// How a part does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition<'a> {
    /// It does what it was asked for.
    Works,
    /// It waits for others who have begun; this says for what.
    Waits(&'a str),
    /// It does not work; this says why.
    Fails(&'a str),
}

#[derive(Debug)]
struct Trouble {
    text: String,
    since: Instant,
    told: bool,
}

/// What does not work, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<HashMap<AppKey, HashMap<Part, Trouble>>>);

impl Troubles {
    /// Notes how `part` of `app` does now, and logs a change. True when it was one.
    pub(crate) fn note(&self, app: &AppKey, part: Part, now: Condition<'_>) -> bool {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, waits) = match now {
            Condition::Works => return works(&mut apps, app, part),
            Condition::Waits(text) => (text, true),
            Condition::Fails(text) => (text, false),
        };
        let parts = apps.entry(app.clone()).or_default();
        let trouble = parts.entry(part).or_insert_with(|| Trouble {
            text: text.to_owned(),
            since: Instant::now(),
            told: false,
        });
        if !trouble.told && (!waits || trouble.since.elapsed() > WAITS_MAX) {
            trouble.told = true;
            let part = part.word();
            if waits {
                tracing::warn!(%app, part, error = text, "waits longer than usual, still looking");
            } else {
                tracing::warn!(%app, part, error = text, "does not work, trying again");
            }
            return true;
        }
        if trouble.text != text {
            text.clone_into(&mut trouble.text);
            tracing::debug!(%app, part = part.word(), error = text, "still does not work");
        }
        false
    }

    /// Drops what is known of `app`.
    pub(crate) fn forget(&self, app: &AppKey) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(app);
    }
}

fn works(apps: &mut HashMap<AppKey, HashMap<Part, Trouble>>, app: &AppKey, part: Part) -> bool {
    let Some(parts) = apps.get_mut(app) else {
        return false;
    };
    let told = parts.remove(&part).is_some_and(|it| it.told);
    if parts.is_empty() {
        apps.remove(app);
    }
    if told {
        tracing::info!(%app, part = part.word(), "works again");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use Condition::{Fails, Waits, Works};

    #[test]
    fn each_change_is_told_once() {
        let troubles = Troubles::default();
        let app = AppKey {
            project: "default".to_owned(),
            app: "shop".to_owned(),
        };
        let note = |part, now| troubles.note(&app, part, now);
        assert!(!note(Part::Router, Works), "nothing was wrong");
        assert!(note(Part::Router, Fails("connection refused")));
        assert!(!note(Part::Router, Fails("connection refused")));
        assert!(!note(Part::Router, Fails("no answer")), "it still fails");
        assert!(!note(Part::Workload, Works), "another part");
        assert!(note(Part::Router, Works));
        assert!(!note(Part::Router, Works));
        assert!(note(Part::Router, Fails("again")));
        troubles.forget(&app);
        assert!(troubles.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_short_wait_is_not_told() {
        let troubles = Troubles::default();
        let app = AppKey {
            project: "default".to_owned(),
            app: "shop".to_owned(),
        };
        let note = |now| troubles.note(&app, Part::Router, now);
        assert!(!note(Waits("endpoints follow")));
        assert!(!note(Works), "nothing was told");
        assert!(!note(Waits("endpoints follow")));
        assert!(note(Fails("connection refused")), "not a wait any more");
        assert!(note(Works));
        assert!(!note(Waits("endpoints follow")));
        let begun = Instant::now().checked_sub(WAITS_MAX * 2).unwrap();
        for parts in troubles.0.lock().unwrap().values_mut() {
            parts.values_mut().for_each(|it| it.since = begun);
        }
        assert!(note(Waits("endpoints follow")), "too long for a wait");
        assert!(!note(Waits("endpoints follow")));
    }
}
