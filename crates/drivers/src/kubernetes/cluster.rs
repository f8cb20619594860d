//! One cluster: what is read of it, what is written to it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    abandoned::Abandoned,
    cache::{Cache, Scope},
    connect::Connection,
    kind::{Kind, POD},
    locked,
    notes::Notes,
    object::Object,
    request::{ApiServer, Failure, RequestError},
    watch,
};
use crate::{AppKey, DriverError, Wake};

/// How long a change that was met at the server may take to be seen: a watch is that fast unless
/// something is wrong.
const MOVED_ON_WITHIN: Duration = Duration::from_secs(1);

/// Time between two looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A cluster. Its watches end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    namespace: String,
    pub(super) server: Arc<ApiServer>,
    pub(super) abandoned: Abandoned,
    wake: Wake,
    watches: Mutex<BTreeMap<Scope, Arc<Watch>>>,
    looks: Mutex<BTreeMap<AppKey, Look>>,
    notes: Notes,
}

/// The pods of an app as they were last looked at.
#[derive(Debug, Clone)]
struct Look {
    scope: Scope,
    as_of: String,
    pods: Vec<Arc<Object>>,
    /// They are not watched any more.
    at_rest: bool,
}

/// Lives as long as it is kept or somebody reads by it: whoever waits for it never waits in vain.
#[derive(Debug)]
struct Watch {
    cache: Arc<Cache>,
    #[expect(dead_code, reason = "dropped with the watch, which ends it")]
    stop: DropGuard,
}

impl Cluster {
    pub(super) fn new(connection: Connection, wake: Wake) -> Arc<Self> {
        Arc::new(Self {
            name: connection.name,
            namespace: connection.namespace,
            server: Arc::new(connection.server),
            abandoned: Abandoned::default(),
            wake,
            watches: Mutex::default(),
            looks: Mutex::default(),
            notes: Notes::default(),
        })
    }

    /// Its context's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is remembered of its objects between looks.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The namespace that its context names, or `default`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Requests sent so far by verb, as the API server's audit log calls them.
    pub fn requests(&self) -> BTreeMap<&'static str, u64> {
        self.server.requests()
    }

    /// The object of that name, or `None` when there is none. `app` is woken when it changes.
    pub async fn get(
        &self,
        app: &AppKey,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Object>>, DriverError> {
        self.abandoned.settled(namespace).await;
        self.shared(kind, namespace).get(app, name).await
    }

    /// The objects that belong together as [`Kind::group_by`] says, by name. `app` is woken when
    /// one comes, changes or goes.
    pub async fn group(
        &self,
        app: &AppKey,
        kind: &'static Kind,
        namespace: &str,
        group: &str,
    ) -> Result<Vec<Arc<Object>>, DriverError> {
        self.abandoned.settled(namespace).await;
        self.shared(kind, namespace).group(app, group).await
    }

    /// The pods with certain labels (`app=web,tier in (a,b)`), by name. They are watched for `app`
    /// alone, until it is at rest; from then on what was last seen holds as long as `as_of` is the
    /// same: something that changes whenever pods do, such as the versions of their owners.
    pub async fn pods(
        &self,
        app: &AppKey,
        namespace: &str,
        selector: &str,
        as_of: &str,
    ) -> Result<Vec<Arc<Object>>, DriverError> {
        let scope = Scope {
            resource: POD.resource(),
            namespace: namespace.to_owned(),
            selector: Some(selector.to_owned()),
            app: Some(app.clone()),
        };
        self.abandoned.settled(namespace).await;
        let last = locked(&self.looks).get(app).cloned();
        let holds = |it: &Look| it.at_rest && it.as_of == as_of && it.scope == scope;
        if let Some(look) = last.filter(holds) {
            return Ok(look.pods);
        }
        let watch = self.watch(&POD, scope.clone());
        let pods = watch.cache.all(app).await?;
        let look = Look {
            scope,
            as_of: as_of.to_owned(),
            pods: pods.clone(),
            at_rest: false,
        };
        locked(&self.looks).insert(app.clone(), look);
        Ok(pods)
    }

    /// Waits until what is known of an object is newer than `object`, for a moment at most. Whether
    /// it is.
    pub async fn moved_on(&self, app: &AppKey, kind: &'static Kind, object: &Object) -> bool {
        let news = async {
            loop {
                let known = self.get(app, kind, &object.namespace, &object.name).await;
                match known {
                    Ok(Some(known)) if !known.is_newer_than(object) => {}
                    Ok(Some(_) | None) => return true,
                    Err(_) => return false,
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let news = tokio::time::timeout(MOVED_ON_WITHIN, news).await;
        news.unwrap_or(false)
    }

    /// An object as it is now, whole: for what is not kept of its kind. `None` when there is none.
    pub async fn read(
        &self,
        kind: &'static Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, RequestError> {
        let operation = format!("get {} {namespace}/{name}", kind.resource());
        let request = Request::get(kind.path(namespace, Some(name)));
        let asked = self.server.ask_json("get", &operation, request, Vec::new());
        match asked.await {
            Err(error) if error.failure == Failure::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Asks for an answer that is no object, such as a pod's log.
    pub async fn text(&self, operation: &str, path: &str) -> Result<String, RequestError> {
        let answer = self
            .server
            .ask("get", operation, Request::get(path), Vec::new());
        Ok(String::from_utf8_lossy(&answer.await?).into_owned())
    }

    /// Ends the watches that are kept for `app` alone.
    pub(super) fn at_rest(&self, app: &AppKey) {
        locked(&self.watches).retain(|scope, _| scope.app.as_ref() != Some(app));
        if let Some(look) = locked(&self.looks).get_mut(app) {
            look.at_rest = true;
        }
    }

    /// As [`Cluster::at_rest`], and nothing else is done for `app` either.
    pub(super) fn forget(&self, app: &AppKey) {
        self.at_rest(app);
        locked(&self.looks).remove(app);
        let caches = locked(&self.watches);
        caches.values().for_each(|it| it.cache.forget(app));
    }

    pub(super) fn shared(&self, kind: &'static Kind, namespace: &str) -> Arc<Cache> {
        let scope = Scope {
            resource: kind.resource(),
            namespace: namespace.to_owned(),
            selector: None,
            app: None,
        };
        Arc::clone(&self.watch(kind, scope).cache)
    }

    fn watch(&self, kind: &'static Kind, scope: Scope) -> Arc<Watch> {
        let mut watches = locked(&self.watches);
        let watch = watches.entry(scope.clone()).or_insert_with(|| {
            let cache = Cache::new(kind, scope, self.wake.clone());
            let stop = CancellationToken::new();
            let keeping = watch::keep(Arc::clone(&self.server), Arc::clone(&cache));
            let stopped = stop.clone();
            tokio::spawn(async move { stopped.run_until_cancelled(keeping).await });
            Arc::new(Watch {
                cache,
                stop: stop.drop_guard(),
            })
        });
        Arc::clone(watch)
    }
}
