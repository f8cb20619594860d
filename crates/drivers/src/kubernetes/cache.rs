//! What is known of the objects of one kind in one namespace, and who wants to know of changes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    kind::Kind,
    locked,
    object::{Object, is_newer},
    request::RequestError,
};
use crate::{AppKey, DriverError, Wake};

/// How long a read waits for a cache to be complete. A pass has three seconds for a look.
const COMPLETE_WITHIN: Duration = Duration::from_secs(2);

/// How long what is known stays good enough after the watch was lost: an API server that is
/// restarted is back before that.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// What a cache holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope {
    pub(super) resource: String,
    pub(super) namespace: String,
    /// Only objects with these labels.
    pub(super) selector: Option<String>,
    /// Kept for this app alone, while it is not at rest.
    pub(super) app: Option<AppKey>,
}

/// Whether what is held can be relied on.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sight {
    /// Not everything was read yet, or it is read anew.
    Incomplete,
    /// Everything was read, and changes come in.
    Current,
    /// Changes do not come in.
    Lost {
        since: Instant,
        /// Whether everything had been read before.
        complete: bool,
        why: RequestError,
    },
}

/// What an app wants to know of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Interest {
    Name(String),
    Group(String),
}

/// Objects by name and group; changes wake the apps that asked.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) kind: &'static Kind,
    pub(super) scope: Scope,
    wake: Wake,
    sight: watch::Sender<Sight>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    objects: HashMap<String, Arc<Object>>,
    groups: HashMap<String, BTreeSet<String>>,
    interested: HashMap<Interest, BTreeSet<AppKey>>,
    /// Apps whose last read failed.
    refused: BTreeSet<AppKey>,
    /// The names met since reading everything began.
    met: Option<HashSet<String>>,
}

impl Cache {
    pub(super) fn new(kind: &'static Kind, scope: Scope, wake: Wake) -> Arc<Self> {
        Arc::new(Self {
            kind,
            scope,
            wake,
            sight: watch::channel(Sight::Incomplete).0,
            held: Mutex::default(),
        })
    }

    /// The object of that name. `app` is woken when it changes.
    pub(super) async fn get(
        &self,
        app: &AppKey,
        name: &str,
    ) -> Result<Option<Arc<Object>>, DriverError> {
        self.interest(app, Interest::Name(name.to_owned()));
        self.complete(app).await?;
        Ok(locked(&self.held).objects.get(name).cloned())
    }

    /// The objects of a group, by name. `app` is woken when one comes, changes or goes.
    pub(super) async fn group(
        &self,
        app: &AppKey,
        group: &str,
    ) -> Result<Vec<Arc<Object>>, DriverError> {
        self.interest(app, Interest::Group(group.to_owned()));
        self.complete(app).await?;
        let held = locked(&self.held);
        let names = held.groups.get(group).into_iter().flatten();
        Ok(names
            .filter_map(|it| held.objects.get(it).cloned())
            .collect())
    }

    /// All objects, by name.
    pub(super) async fn all(&self, app: &AppKey) -> Result<Vec<Arc<Object>>, DriverError> {
        self.complete(app).await?;
        let held = locked(&self.held);
        let all: BTreeMap<_, _> = held.objects.iter().collect();
        Ok(all.into_values().cloned().collect())
    }

    fn interest(&self, app: &AppKey, interest: Interest) {
        let mut held = locked(&self.held);
        let apps = held.interested.entry(interest).or_default();
        if !apps.contains(app) {
            apps.insert(app.clone());
        }
    }

    /// Wakes `app` no more, until it asks for something again.
    pub(super) fn forget(&self, app: &AppKey) {
        let mut held = locked(&self.held);
        held.refused.remove(app);
        held.interested.retain(|_, apps| {
            apps.remove(app);
            !apps.is_empty()
        });
    }

    /// Waits until what is held can be relied on.
    async fn complete(&self, app: &AppKey) -> Result<(), DriverError> {
        let mut sight = self.sight.subscribe();
        let settled = sight.wait_for(|it| *it != Sight::Incomplete);
        let settled = tokio::time::timeout(COMPLETE_WITHIN, settled).await;
        let found = match settled {
            Ok(Ok(sight)) => sight.clone(),
            Ok(Err(_)) | Err(_) => Sight::Incomplete,
        };
        let error = match found {
            Sight::Current => return Ok(()),
            Sight::Lost {
                since,
                complete: true,
                ..
            } if since.elapsed() < GOOD_FOR => return Ok(()),
            Sight::Lost { why, .. } => why.into(),
            Sight::Incomplete => DriverError::transient(
                format!(
                    "read {} of namespace {}",
                    self.scope.resource, self.scope.namespace
                ),
                format!(
                    "the API server has not answered within {} s",
                    COMPLETE_WITHIN.as_secs()
                ),
            ),
        };
        locked(&self.held).refused.insert(app.clone());
        Err(error)
    }

    /// Reading everything begins. What is held stays, but nobody decides on it.
    pub(super) fn begin(&self) {
        locked(&self.held).met = Some(HashSet::new());
        self.sight.send_if_modified(|sight| match sight {
            // Why it was lost is more to the point than that it is tried again.
            Sight::Lost { .. } => false,
            Sight::Incomplete => false,
            Sight::Current => {
                *sight = Sight::Incomplete;
                true
            }
        });
    }

    /// Everything that was there at `version` was met.
    pub(super) fn end(&self, version: &str) {
        let mut held = locked(&self.held);
        let met = held.met.take().unwrap_or_default();
        let gone: Vec<String> = held
            .objects
            .values()
            // What was written since is not in the list, and is no less there.
            .filter(|it| !met.contains(&it.name) && !is_newer(&it.resource_version, version))
            .map(|it| it.name.clone())
            .collect();
        let mut woken = BTreeSet::new();
        for name in gone {
            woken.extend(held.remove(self.kind, &name));
        }
        drop(held);
        self.tell(&woken);
        self.current();
    }

    /// Changes come in.
    pub(super) fn current(&self) {
        self.sight.send_if_modified(|sight| {
            let changed = *sight != Sight::Current;
            *sight = Sight::Current;
            changed
        });
        let refused = std::mem::take(&mut locked(&self.held).refused);
        self.tell(&refused);
    }

    /// Changes do not come in any more.
    pub(super) fn lost(&self, error: RequestError) {
        self.sight.send_if_modified(|sight| {
            let (since, complete) = match sight {
                Sight::Incomplete => (Instant::now(), false),
                Sight::Current => (Instant::now(), true),
                Sight::Lost {
                    since, complete, ..
                } => (*since, *complete),
            };
            *sight = Sight::Lost {
                since,
                complete,
                why: error,
            };
            true
        });
    }

    /// Takes an object as it was seen; never one that is older than what is held.
    pub(super) fn seen(&self, object: Object) {
        let woken = locked(&self.held).put(self.kind, object);
        self.tell(&woken);
    }

    /// Takes an object as the server answered it to a write of ours: nobody needs to be woken.
    pub(super) fn written(&self, object: Object) -> Arc<Object> {
        let name = object.name.clone();
        let answer = Arc::new(object.clone());
        let mut held = locked(&self.held);
        held.put(self.kind, object);
        held.objects.get(&name).cloned().unwrap_or(answer)
    }

    /// Takes that an object is gone as of `version`.
    pub(super) fn gone(&self, name: &str, version: &str) {
        let mut held = locked(&self.held);
        let known = held.objects.get(name);
        if known.is_none_or(|it| is_newer(&it.resource_version, version)) {
            return;
        }
        let woken = held.remove(self.kind, name);
        drop(held);
        self.tell(&woken);
    }

    fn tell(&self, apps: &BTreeSet<AppKey>) {
        apps.iter().for_each(|it| self.wake.wake(it));
        if let Some(app) = &self.scope.app {
            self.wake.wake(app);
        }
    }
}

impl Held {
    /// The apps to wake.
    fn put(&mut self, kind: &Kind, object: Object) -> BTreeSet<AppKey> {
        if let Some(met) = &mut self.met {
            met.insert(object.name.clone());
        }
        let known = self.objects.get(&object.name);
        if known.is_some_and(|it| !object.is_newer_than(it)) {
            return BTreeSet::new();
        }
        let mut woken = self.remove(kind, &object.name);
        let (name, object) = (object.name.clone(), Arc::new(object));
        for group in object.groups(kind.group_by) {
            let group = self.groups.entry(group.to_owned()).or_default();
            group.insert(name.clone());
        }
        woken.extend(self.interested_in(kind, &object));
        self.objects.insert(name, object);
        woken
    }

    fn remove(&mut self, kind: &Kind, name: &str) -> BTreeSet<AppKey> {
        let Some(object) = self.objects.remove(name) else {
            return BTreeSet::new();
        };
        for group in object.groups(kind.group_by) {
            let names = self.groups.get_mut(group);
            let emptied = names.is_some_and(|names| names.remove(name) && names.is_empty());
            if emptied {
                self.groups.remove(group);
            }
        }
        self.interested_in(kind, &object)
    }

    fn interested_in(&self, kind: &Kind, object: &Object) -> BTreeSet<AppKey> {
        let name = std::iter::once(Interest::Name(object.name.clone()));
        let groups = object.groups(kind.group_by).map(str::to_owned);
        let interests = name.chain(groups.map(Interest::Group));
        let apps = interests.filter_map(|it| self.interested.get(&it));
        apps.flatten().cloned().collect()
    }
}
