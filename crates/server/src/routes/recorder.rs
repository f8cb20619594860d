//! Writes the audit log: what is asked for beyond orders to rollouts, which write their own history,
//! and what is refused. Goes around a row's guard and handler.
//!
//! What changes something is written before it is tried, and not tried if it cannot be written; how
//! it ended is a second row. So nothing is ever done without a row, whenever the server dies. Who has
//! shown no good token gets no row before it is clear what came of it, and only so many after.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{RawPathParams, Request},
    response::Response,
};
use serde_json::{Map, Value, json};
use store::{NewAudit, Rollout, Store};
use uuid::Uuid;

use super::{
    Access, Entry, Web,
    extract::{Asked, Caller, Source},
    limit::Lane,
};
use crate::error::{Refused, ServeError, request_id};

/// Whether and as what a row's requests stand in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Audited {
    /// What is asked for, such as `token.create`.
    pub(crate) action: &'static str,
    /// Whether what is not refused stands in it, too.
    pub(crate) whole: bool,
}

/// What a handler adds to its request's row; travels with the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Noted {
    /// Who turned out to be asking, where the guard cannot know.
    pub(super) who: Option<String>,
    /// In which project it is, where the path does not say.
    pub(super) project: Option<String>,
    /// About which app.
    pub(super) app: Option<String>,
    /// What it was about, as an object.
    pub(super) about: Value,
    /// Why it came to nothing, where the answer does not say so by its status.
    pub(super) refused: Option<String>,
}

/// One request, as far as it is known. Most get no row, so one is made up only where it is written.
#[derive(Debug)]
pub(super) struct Recorder<'a> {
    entry: &'a Entry,
    params: &'a RawPathParams,
    source: IpAddr,
    /// Who asks, and by which token or session.
    caller: Option<(String, Uuid)>,
    rollout: Option<Arc<Rollout>>,
    /// The first row, once it is written: a second one must follow.
    begun: Option<NewAudit>,
}

impl<'a> Recorder<'a> {
    /// What path, connection and guard say of `request`.
    pub(super) fn new(
        entry: &'a Entry,
        params: &'a RawPathParams,
        Source(source): Source,
        request: &Request,
    ) -> Self {
        let caller = request.extensions().get().map(|Caller(it)| it);
        let rollout = request.extensions().get().map(|Asked(it)| it);
        Self {
            entry,
            params,
            source,
            caller: caller.map(|it| (it.name.clone(), it.credential.id())),
            rollout: rollout.cloned(),
            begun: None,
        }
    }

    fn param(&self, name: &str) -> Option<String> {
        let found = self.params.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| value.to_owned())
    }

    fn line(&self) -> NewAudit {
        let Entry { audited, path, .. } = *self.entry;
        let mut about = Map::new();
        let rollout = match path.starts_with("/api/v1/rollouts/{id}") {
            true => self.param("id").and_then(|it| it.parse().ok()),
            false => {
                about.extend(self.param("id").map(|it| ("id".to_owned(), it.into())));
                None
            }
        };
        about.extend(request_id().map(|it| ("requestId".to_owned(), it.into())));
        if audited.action == READ {
            about.insert("path".to_owned(), path.into());
        }
        let of_rollout = self.rollout.as_ref();
        NewAudit {
            request: Uuid::now_v7(),
            who: self.caller.as_ref().map(|it| it.0.clone()),
            source: self.source.to_string(),
            action: audited.action,
            project: of_rollout
                .map_or_else(|| self.param("project"), |it| Some(it.project.clone())),
            app: of_rollout.map_or_else(|| self.param("app"), |it| Some(it.app.clone())),
            rollout,
            about: about.into(),
            status: None,
            detail: None,
        }
    }

    /// Writes what is about to be tried.
    pub(super) async fn begins(&mut self, store: &Store) -> Result<(), ServeError> {
        let Entry {
            audited, access, ..
        } = *self.entry;
        if audited.whole && access != Access::Public {
            let line = self.line();
            store.audit(&line).await?;
            self.begun = Some(line);
        }
        Ok(())
    }

    /// What to write of how it ended, if anything.
    pub(super) fn ended(mut self, web: &Web, answer: &Response) -> Option<NewAudit> {
        let status = answer.status().as_u16();
        let noted = answer.extensions().get::<Noted>().cloned();
        let noted = noted.unwrap_or_default();
        let refused = answer.extensions().get::<Refused>();
        let refused = refused.map(|it| it.0.clone()).or(noted.refused);
        let begun = self.begun.take();
        let stands = match refused {
            Some(_) => begun.is_some() || (self.worth_a_row(status) && self.has_room(web)),
            None => self.entry.audited.whole,
        };
        if !stands {
            return None;
        }
        let mut line = begun.unwrap_or_else(|| self.line());
        line.who = line.who.or(noted.who);
        line.project = line.project.or(noted.project);
        line.app = line.app.or(noted.app);
        if let (Value::Object(all), Value::Object(more)) = (&mut line.about, noted.about) {
            all.extend(more);
        }
        // A redirect that leads to a page that says no.
        line.status = Some(match refused.is_some() {
            true => status.max(400),
            false => status,
        });
        line.detail = refused;
        Some(line)
    }

    /// Whether a refusal says something of who asks: not that a request was malformed, and nothing of
    /// what anybody may read.
    fn worth_a_row(&self, status: u16) -> bool {
        match (self.entry.audited.action, status) {
            (READ, 403) => true,
            (READ, _) => false,
            (_, 200..=399 | 401 | 403 | 404 | 409 | 412 | 429) => true,
            (_, _) => false,
        }
    }

    /// A storm of refusals fills no disk.
    fn has_room(&self, web: &Web) -> bool {
        let limits = &web.shared.limits;
        let taken = match self.caller {
            Some((_, credential)) => limits.take_of(credential, Lane::Refusal),
            None => limits.take_from(self.source, Lane::Refusal),
        };
        taken.is_ok()
    }
}

/// Writes how a request ended. What was tried has its first row if this fails, which says that nobody
/// knows.
pub(super) async fn write(store: &Store, line: &NewAudit) {
    if let Err(error) = store.audit(line).await {
        let action = line.action;
        tracing::warn!(%error, action, "cannot write how a request ended to the audit log");
    }
}

/// What rows are called that change nothing.
pub(super) const READ: &str = "read";

impl Noted {
    /// What it was about.
    pub(super) fn about(about: Value) -> Self {
        Self {
            about,
            ..Self::default()
        }
    }

    /// Who asked.
    pub(super) fn of(who: &str) -> Self {
        Self {
            who: Some(who.to_owned()),
            ..Self::about(json!({}))
        }
    }

    /// Something made of `kind` with this name.
    pub(super) fn named(kind: &str, name: &str) -> Self {
        Self::about(json!({ kind: name }))
    }

    /// In this project.
    pub(super) fn within(self, project: Option<String>) -> Self {
        Self { project, ..self }
    }
}
