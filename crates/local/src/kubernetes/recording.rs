//! Every state that objects were in, in the order in which the server took them: for tests of what
//! must hold at each instant, not only at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;

use super::api::Api;
use super::nodes::{list, text};
use super::{ADMIN, ControlPlane};
use crate::wait;

/// How long the watches may be behind the server.
const COMPLETE_WITHIN: Duration = Duration::from_secs(20);

/// An object at one version.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The version. All objects of a control plane count in one row, so that what happened to
    /// objects of different kinds can be put in order.
    pub version: u64,
    /// The collection it is in.
    pub path: String,
    /// Its name.
    pub name: String,
    /// It; `None`: it was deleted.
    pub object: Option<Value>,
    /// When it was told here: a little after the server took it.
    pub at: Timestamp,
}

/// What happens to the objects of some collections. Dropping it ends it.
#[derive(Debug)]
pub struct Recording {
    api: Api,
    paths: Vec<String>,
    events: Arc<Mutex<Vec<Recorded>>>,
    // Held for its effect: the tasks end with it.
    _tasks: JoinSet<()>,
}

impl ControlPlane {
    /// Records the collections at these paths, e.g. `/api/v1/namespaces/a/services`, beginning with
    /// what is there.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn record(&self, paths: &[String]) -> anyhow::Result<Recording> {
        let events = Arc::default();
        let mut tasks = JoinSet::new();
        let api = self.client(ADMIN, "recording", None)?;
        for path in paths {
            let now = api.get(path).await?;
            let version =
                text(&now, "/metadata/resourceVersion").context("a list has no version")?;
            for object in list(&now, "/items") {
                keep(&events, path, object, false)?;
            }
            let watch = format!("{path}?watch=true&resourceVersion={version}");
            let (api, path, events) = (api.clone(), path.clone(), Arc::clone(&events));
            tasks.spawn(async move {
                if let Err(error) = follow(&api, &watch, &path, &events).await {
                    tracing::warn!(error = %format!("{error:#}"), "a recording ends");
                }
            });
        }
        Ok(Recording {
            api,
            paths: paths.to_vec(),
            events,
            _tasks: tasks,
        })
    }
}

impl Recording {
    /// Everything until now, in order.
    ///
    /// # Errors
    /// When a watch does not catch up.
    pub async fn so_far(&self) -> anyhow::Result<Vec<Recorded>> {
        for path in &self.paths {
            wait::until(COMPLETE_WITHIN, "a recording to catch up", || async {
                let now = self
                    .api
                    .get(path)
                    .await
                    .map_err(|error| error.to_string())?;
                let there: BTreeMap<String, u64> = list(&now, "/items").filter_map(named).collect();
                match self.last(path) == there {
                    true => Ok(()),
                    false => Err(format!("{path} is further")),
                }
            })
            .await?;
        }
        let mut events = locked(&self.events).clone();
        events.sort_by_key(|it| it.version);
        Ok(events)
    }

    /// Looks at what was told until now, in the order in which each collection was. Nothing is
    /// recorded meanwhile; `at` must not look again.
    pub fn look<T>(&self, at: impl FnOnce(&[Recorded]) -> T) -> T {
        at(&locked(&self.events))
    }

    fn last(&self, path: &str) -> BTreeMap<String, u64> {
        let mut last = BTreeMap::new();
        for event in locked(&self.events).iter().filter(|it| it.path == path) {
            match event.object {
                Some(_) => last.insert(event.name.clone(), event.version),
                None => last.remove(&event.name),
            };
        }
        last
    }
}

async fn follow(
    api: &Api,
    watch: &str,
    path: &str,
    events: &Mutex<Vec<Recorded>>,
) -> anyhow::Result<()> {
    let mut answer = api.open(watch).await?;
    let mut buffer = Vec::new();
    while let Some(bytes) = answer.chunk().await.context("watch")? {
        buffer.extend_from_slice(&bytes);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).context("read event")?;
            let object = event.get("object").unwrap_or(&Value::Null);
            match text(&event, "/type") {
                Some("ADDED" | "MODIFIED") => keep(events, path, object, false)?,
                Some("DELETED") => keep(events, path, object, true)?,
                Some("BOOKMARK") => {}
                other => anyhow::bail!("watch {path}: {other:?}: {object}"),
            }
        }
    }
    anyhow::bail!("watch {path}: the server ended it")
}

fn named(object: &Value) -> Option<(String, u64)> {
    let version = text(object, "/metadata/resourceVersion")?.parse().ok()?;
    Some((text(object, "/metadata/name")?.to_owned(), version))
}

fn keep(
    events: &Mutex<Vec<Recorded>>,
    path: &str,
    object: &Value,
    deleted: bool,
) -> anyhow::Result<()> {
    let (name, version) = named(object).context("an object has no name or version")?;
    locked(events).push(Recorded {
        version,
        path: path.to_owned(),
        name,
        object: (!deleted).then(|| object.clone()),
        at: Timestamp::now(),
    });
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
