//! Writes the audit log: what is asked for beyond orders to rollouts, which write their own history,
//! and what is refused. Goes around a row's guard and handler.
//!
//! What changes something is written before it is tried, and not tried if it cannot be written; how
//! it ended is a second row. So nothing is ever done without a row, whenever the server dies. Who has
//! shown no good token gets no row before it is clear what came of it, and only so many after.

use axum::{
    extract::{RawPathParams, Request},
    response::Response,
};
use serde_json::{Map, Value, json};
use store::{NewAudit, Store};
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

/// One request, as far as it is known.
#[derive(Debug)]
pub(super) struct Recorder {
    line: NewAudit,
    audited: Audited,
    public: bool,
    credential: Option<Uuid>,
    /// Whether its first row is written, which a second one must follow.
    begun: bool,
}

impl Recorder {
    /// Begins with what the path and the connection say.
    pub(super) fn new(entry: &Entry, params: &RawPathParams, source: Source) -> Self {
        let param = |name: &str| {
            let found = params.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| value.to_owned())
        };
        let mut about = Map::new();
        let rollout = match entry.path.starts_with("/api/v1/rollouts/{id}") {
            true => param("id").and_then(|it| it.parse().ok()),
            false => {
                about.extend(param("id").map(|it| ("id".to_owned(), it.into())));
                None
            }
        };
        about.extend(request_id().map(|it| ("requestId".to_owned(), it.into())));
        if entry.audited.action == READ {
            about.insert("path".to_owned(), entry.path.into());
        }
        Self {
            line: NewAudit {
                request: Uuid::now_v7(),
                who: None,
                source: source.0.to_string(),
                action: entry.audited.action,
                project: param("project"),
                app: param("app"),
                rollout,
                about: about.into(),
                status: None,
                detail: None,
            },
            audited: entry.audited,
            public: entry.access == Access::Public,
            credential: None,
            begun: false,
        }
    }

    /// Adds what the guard found out.
    pub(super) fn knows(&mut self, request: &Request) {
        let extensions = request.extensions();
        if let Some(Caller(principal)) = extensions.get() {
            self.line.who = Some(principal.name.clone());
            self.credential = Some(principal.credential.id());
        }
        if let Some(Asked(rollout)) = extensions.get() {
            self.line.project = Some(rollout.project.clone());
            self.line.app = Some(rollout.app.clone());
        }
    }

    /// Writes what is about to be tried.
    pub(super) async fn begins(&mut self, store: &Store) -> Result<(), ServeError> {
        if self.audited.whole && !self.public {
            store.audit(&self.line).await?;
            self.begun = true;
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
        let stands = match refused {
            Some(_) => self.begun || (self.worth_a_row(status) && self.has_room(web)),
            None => self.audited.whole,
        };
        if !stands {
            return None;
        }
        let line = &mut self.line;
        line.who = line.who.take().or(noted.who);
        line.project = line.project.take().or(noted.project);
        line.app = line.app.take().or(noted.app);
        if let (Value::Object(all), Value::Object(more)) = (&mut line.about, noted.about) {
            all.extend(more);
        }
        // A redirect that leads to a page that says no.
        line.status = Some(match refused.is_some() {
            true => status.max(400),
            false => status,
        });
        line.detail = refused;
        Some(self.line)
    }

    /// Whether a refusal says something of who asks: not that a request was malformed, and nothing of
    /// what anybody may read.
    fn worth_a_row(&self, status: u16) -> bool {
        match (self.audited.action, status) {
            (READ, 403) => true,
            (READ, _) => false,
            (_, 200..=399 | 401 | 403 | 404 | 409 | 412 | 429) => true,
            (_, _) => false,
        }
    }

    /// A storm of refusals fills no disk.
    fn has_room(&self, web: &Web) -> bool {
        let limits = &web.shared.limits;
        let taken = match (self.credential, self.line.source.parse()) {
            (Some(credential), _) => limits.take_of(credential, Lane::Refusal),
            (None, Ok(source)) => limits.take_from(source, Lane::Refusal),
            (None, Err(_)) => return false,
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
