//! A stub that answers routes as the controller of a Gateway would: it writes
//! `status.parents` of HTTPRoutes and GRPCRoutes. No traffic flows.
//!
//! What it says of a route is what it was told to say, so that a test can have a
//! controller that is late, that refuses, or that is not there. It can be late
//! as real ones are: with an answer to a generation that is not the newest.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::api::{Api, ApiError, Patch};
use super::nodes::{list, text};
use super::{ADMIN, ControlPlane};

/// The name it signs its answers with.
pub const CONTROLLER: &str = "sluice.test/stub";
/// What it calls itself, for the audit log.
pub const AGENT: &str = "gateway-stub";
/// What it answers.
const ROUTES: [&str; 2] = ["httproutes", "grpcroutes"];
/// Time until it looks again after the server has failed it.
const PAUSE: Duration = Duration::from_millis(50);
/// Tries to write an answer while others write the same route.
const TRIES: usize = 10;

/// How it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Every route is accepted and its references resolved, after this time.
    Accept {
        /// Between a change and its answer.
        after: Duration,
    },
    /// One condition of every route is false.
    Refuse {
        /// `Accepted` or `ResolvedRefs`.
        condition: String,
        /// Why, e.g. `BackendNotFound`.
        reason: String,
    },
    /// It answers nothing: what it has said stands.
    Silent,
}

impl Behaviour {
    /// Everything is accepted at once.
    pub fn accept() -> Self {
        Self::Accept {
            after: Duration::ZERO,
        }
    }
}

/// A running stub for the routes of one namespace. Dropping it ends it.
#[derive(Debug)]
pub struct GatewayStub {
    behaviour: watch::Sender<Behaviour>,
    // Held for its effect: the tasks end with it.
    _tasks: JoinSet<()>,
}

impl GatewayStub {
    /// Starts it. The Gateway API must be installed.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn start(
        plane: &ControlPlane,
        namespace: &str,
        behaviour: Behaviour,
    ) -> anyhow::Result<Self> {
        let (behaviour, told) = watch::channel(behaviour);
        let mut tasks = JoinSet::new();
        for kind in ROUTES {
            let routes = Routes {
                api: plane.client(ADMIN, AGENT, None)?,
                path: format!("/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/{kind}"),
            };
            tasks.spawn(routes.answer_for_ever(told.clone()));
        }
        Ok(Self {
            behaviour,
            _tasks: tasks,
        })
    }

    /// Tells it how to answer from now on, also the routes that it has answered.
    pub fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }
}

/// The routes of one kind in one namespace.
struct Routes {
    api: Api,
    path: String,
}

impl Routes {
    async fn answer_for_ever(self, mut told: watch::Receiver<Behaviour>) {
        loop {
            let behaviour = told.borrow_and_update().clone();
            tokio::select! {
                outcome = self.answer_until_the_watch_ends(&behaviour) => {
                    if let Err(error) = outcome {
                        tracing::debug!(error = %format!("{error:#}"), "the stub begins again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                changed = told.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Answers what is there and then every change.
    async fn answer_until_the_watch_ends(&self, behaviour: &Behaviour) -> anyhow::Result<()> {
        let routes = self.api.get(&self.path).await?;
        for route in list(&routes, "/items") {
            self.answer(route, behaviour).await?;
        }
        let version = text(&routes, "/metadata/resourceVersion")
            .context("read routes: the list has no version")?;
        let watch = format!("{}?watch=true&resourceVersion={version}", self.path);
        let mut events = self.api.open(&watch).await?;
        let mut buffer = Vec::new();
        while let Some(bytes) = events.chunk().await.context("watch routes")? {
            buffer.extend_from_slice(&bytes);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).context("read event")?;
                let object = event.get("object").unwrap_or(&Value::Null);
                match text(&event, "/type") {
                    Some("ADDED" | "MODIFIED") => self.answer(object, behaviour).await?,
                    Some("DELETED" | "BOOKMARK") => {}
                    other => anyhow::bail!("watch routes: {other:?}: {object}"),
                }
            }
        }
        Ok(())
    }

    async fn answer(&self, route: &Value, behaviour: &Behaviour) -> anyhow::Result<()> {
        match behaviour {
            Behaviour::Accept { after } => {
                if ours(route) == answers(route, None, route) {
                    return Ok(());
                }
                tokio::time::sleep(*after).await;
                self.write(route, None).await
            }
            Behaviour::Refuse { condition, reason } => {
                let refusal = Some((condition.as_str(), reason.as_str()));
                self.write(route, refusal).await
            }
            Behaviour::Silent => Ok(()),
        }
    }

    /// Writes our answer to `route` as it was seen beside what others have
    /// answered by now.
    async fn write(&self, route: &Value, refusal: Option<(&str, &str)>) -> anyhow::Result<()> {
        let name = text(route, "/metadata/name").unwrap_or_default();
        let path = format!("{}/{name}", self.path);
        let status = format!("{path}/status");
        for _ in 0..TRIES {
            let now = match self.api.get(&path).await {
                Ok(now) => now,
                Err(error) if error.status() == Some(404) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let answers = answers(route, refusal, &now);
            if ours(&now) == answers {
                return Ok(());
            }
            let others = list(&now, "/status/parents").filter(|answer| !is_ours(answer));
            let parents: Vec<Value> = others.cloned().chain(answers).collect();
            // The version makes it fail when somebody has written since.
            let change = json!({
                "metadata": {"resourceVersion": now.pointer("/metadata/resourceVersion")},
                "status": {"parents": parents},
            });
            match self.api.patch(&status, Patch::Merge, &change).await {
                Ok(_) => return Ok(()),
                Err(ApiError::Refused {
                    status: 409 | 404, ..
                }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("write status of {path}: somebody else is always faster")
    }
}

/// What we have answered so far.
fn ours(route: &Value) -> Vec<Value> {
    list(route, "/status/parents")
        .filter(|answer| is_ours(answer))
        .cloned()
        .collect()
}

fn is_ours(answer: &Value) -> bool {
    text(answer, "/controllerName") == Some(CONTROLLER)
}

/// Our answer for each parent of the route. `now` is the route as it is now: the
/// time of a condition that stands there already is kept.
fn answers(route: &Value, refusal: Option<(&str, &str)>, now: &Value) -> Vec<Value> {
    let condition = |parent: &Value, kind: &str| {
        let (status, reason) = match refusal {
            Some((refused, reason)) if refused == kind => ("False", reason),
            Some(_) | None => ("True", kind),
        };
        let since = standing(now, parent, kind)
            .filter(|before| text(before, "/status") == Some(status))
            .and_then(|before| text(before, "/lastTransitionTime"))
            .map_or_else(|| format!("{:.0}", Timestamp::now()), str::to_owned);
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "",
            "observedGeneration": route.pointer("/metadata/generation"),
            "lastTransitionTime": since,
        })
    };
    let answer = |parent: &Value| {
        json!({
            "controllerName": CONTROLLER,
            "parentRef": parent,
            "conditions": [condition(parent, "Accepted"), condition(parent, "ResolvedRefs")],
        })
    };
    list(route, "/spec/parentRefs").map(answer).collect()
}

/// A condition that we have answered for this parent before.
fn standing<'a>(route: &'a Value, parent: &Value, kind: &str) -> Option<&'a Value> {
    let answer = list(route, "/status/parents")
        .find(|it| is_ours(it) && it.get("parentRef") == Some(parent))?;
    list(answer, "/conditions").find(|it| text(it, "/type") == Some(kind))
}
