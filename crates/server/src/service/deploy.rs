//! Asking for rollouts, and keeping app files.

use drivers::{AppKey, workload::ResolvedArtifact};
use rollout::{
    BreakGlass, Command, Event, Order, Outcome, Phase, Plan, Revision, Revisions, State, WaitingOn,
    document::Problem,
};
use serde_json::Value;
use store::{
    App, Change, CreateFacts, Created, Idempotency, NewRevision, NewRollout, PAGE_MAX, Rollout,
    RolloutFilter,
};

use super::Service;
use crate::{app_file::AppFile, controller::Telling, error::ServeError};

/// What a rollout is asked to bring out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// This artifact.
    Artifact(String),
    /// The revision that was stable before.
    Undo,
    /// This earlier revision.
    UndoTo(Revision),
    /// What somebody asked for at the workload itself.
    Offered(Box<ResolvedArtifact>),
}

/// A request for a rollout.
#[derive(Debug, Clone)]
pub(crate) struct DeployRequest {
    pub(crate) project: String,
    pub(crate) app: String,
    pub(crate) asked: Asked,
    pub(crate) comment: Option<String>,
    /// Why freeze windows shall not hold it, when they shall not.
    pub(crate) break_glass: Option<String>,
    pub(crate) by: String,
    /// From which address, if anybody asked.
    pub(crate) source: Option<String>,
    pub(crate) idempotency: Option<Idempotency>,
}

impl Service {
    /// Checks and keeps an app file. True when the app is new.
    pub(crate) async fn put_app(
        &self,
        project: &str,
        app: &str,
        document: Value,
        expected: Option<i64>,
        by: &str,
    ) -> Result<(App, bool), ServeError> {
        let file = AppFile::read(&document).map_err(ServeError::Document)?;
        let mut problems = Vec::new();
        for (key, written, path) in [("app", &file.app, app), ("project", &file.project, project)] {
            if written != path {
                problems.push(Problem {
                    pointer: format!("/{key}"),
                    detail: format!("\"{written}\" is not the {key} of the address, \"{path}\""),
                });
            }
        }
        if !problems.is_empty() {
            return Err(ServeError::Document(problems));
        }
        Self::refuse_impossible(&file)?;
        let key = AppKey {
            project: project.to_owned(),
            app: app.to_owned(),
        };
        // A workload that cannot be read is told before anything is kept.
        let found = self.found_running(&key, &file).await?;
        let (app, created) = self
            .store
            .put_app(project, app, &document, expected, by)
            .await?;
        Ok((self.adopt(app, &file, found).await?, created))
    }

    /// What the router or the workload cannot do is refused by name, before anything moves.
    pub(super) fn refuse_impossible(file: &AppFile) -> Result<(), ServeError> {
        let problems = file.impossible();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(ServeError::Document(problems)),
        }
    }

    /// Starts a rollout; one that is under way is superseded.
    pub(crate) async fn deploy(&self, request: DeployRequest) -> Result<Rollout, ServeError> {
        let (project, name) = (&request.project, &request.app);
        if let Some(key) = &request.idempotency
            && let Some(rollout) = self.store.answered(key).await?
        {
            return Ok(rollout);
        }
        let found = self.store.get_app(project, name).await?;
        let app = found.ok_or_else(|| ServeError::NotFound {
            what: format!("app {project}/{name}"),
        })?;
        let app = match app.stable {
            Some(_) => app,
            None => {
                let file = AppFile::read(&app.document).map_err(ServeError::Document)?;
                let found = self.found_running(&key_of(&app), &file).await?;
                self.adopt(app, &file, found).await?
            }
        };
        let (revision, document) = match &request.asked {
            Asked::Artifact(artifact) => self.new_revision(&app, artifact).await?,
            Asked::Undo => {
                let previous = self.previous(&app).await?;
                self.kept_revision(&app, previous).await?
            }
            Asked::UndoTo(revision) => self.kept_revision(&app, *revision).await?,
            Asked::Offered(artifact) => {
                let file = AppFile::read(&app.document).map_err(ServeError::Document)?;
                let revision = made_of(&app, &file, ResolvedArtifact::clone(artifact));
                (revision, app.document.clone())
            }
        };
        let file = AppFile::read(&document).map_err(ServeError::Document)?;
        let undo = request.asked_to_undo();
        let new = NewRollout {
            app: app.id,
            revision,
            undo,
            comment: request.comment.clone(),
            by: request.by.clone(),
            source: request.source.clone(),
        };
        let words = Words {
            public_url: self.public_url.clone(),
            by: request.by.clone(),
            comment: request.comment.clone(),
            break_glass: request.break_glass.clone(),
        };
        self.refuse_other_router(&app, &file).await?;
        self.refuse_needless(&app, &new).await?;
        let replicas = self.replicas(&file, &key_of(&app)).await?;
        let found = self.dispersions(&app).await?;
        let build = move |facts: &CreateFacts| {
            let plan = file.plan(Revisions {
                stable: facts.stable,
                candidate: facts.candidate,
                replicas,
                undo,
            });
            let file = file.clone();
            let file = file.with_settings(facts.project_settings.as_ref());
            build(facts, &file, found.applied(plan), &words)
        };
        let key = request.idempotency.as_ref();
        let rollout = self.store.create_rollout(&new, build, key).await?;
        // What it supersedes must give its traffic back first, which is a rollback's business.
        let supersedes = rollout.waiting == Some(WaitingOn::Predecessor);
        self.wake(project, name, supersedes);
        Ok(rollout)
    }

    /// Instances that carry the whole traffic now, as the workload says.
    pub(super) async fn replicas(&self, file: &AppFile, key: &AppKey) -> Result<u32, ServeError> {
        let workload = file.bindings.workload.driver();
        let asked = workload.replicas(&self.cx, key).await;
        asked.map_err(|error| ServeError::Conflict {
            detail: format!("the workload does not say how many instances it has: {error}"),
        })
    }

    async fn new_revision(
        &self,
        app: &App,
        artifact: &str,
    ) -> Result<(NewRevision, Value), ServeError> {
        let file = AppFile::read(&app.document).map_err(ServeError::Document)?;
        let workload = file.bindings.workload.driver();
        let resolved = workload
            .resolve(&self.cx, &key_of(app), artifact, None)
            .await
            .map_err(|detail| ServeError::Field {
                pointer: "/artifact".to_owned(),
                detail,
            })?;
        Ok((made_of(app, &file, resolved), app.document.clone()))
    }

    async fn kept_revision(
        &self,
        app: &App,
        revision: Revision,
    ) -> Result<(NewRevision, Value), ServeError> {
        let row = self.store.revision(app.id, revision).await?;
        let row = row.ok_or_else(|| ServeError::Field {
            pointer: "/undoTo".to_owned(),
            detail: format!("{revision} is not a revision of this app; see its revisions"),
        })?;
        let file = AppFile::read(&row.document).map_err(ServeError::Document)?;
        let workload = file.bindings.workload.driver();
        workload
            .resolve(&self.cx, &key_of(app), &row.artifact, row.content.as_ref())
            .await
            .map_err(|detail| ServeError::Field {
                pointer: "/undoTo".to_owned(),
                detail: format!("{revision} cannot be run any more: {detail}"),
            })?;
        Ok((NewRevision::Existing(revision), row.document))
    }

    /// A rollout drives one router. Were stable still routed by another one, its instances could be
    /// stopped while that one sends them requests.
    async fn refuse_other_router(&self, app: &App, file: &AppFile) -> Result<(), ServeError> {
        let Some(stable) = app.stable else {
            return Ok(());
        };
        let row = self.store.revision(app.id, stable).await?;
        let Some(kept) = row.and_then(|it| AppFile::read(&it.document).ok()) else {
            return Ok(());
        };
        let place = |file: &AppFile| file.bindings.traffic.driver().place();
        let (now, asked) = (place(&kept), place(file));
        if now == asked {
            return Ok(());
        }
        Err(ServeError::Conflict {
            detail: format!(
                "{stable} gets its traffic from {now}, the app file names {asked}: traffic cannot be moved from one router to another by a rollout; apply the new place under another app name"
            ),
        })
    }

    /// Bringing out what is stable already would do nothing but take time.
    async fn refuse_needless(&self, app: &App, new: &NewRollout) -> Result<(), ServeError> {
        let Some(stable) = app.stable else {
            return Ok(());
        };
        let same = match &new.revision {
            NewRevision::Existing(revision) => *revision == stable,
            NewRevision::New {
                artifact,
                digest,
                content,
                config_hash,
                ..
            } => {
                let row = self.store.revision(app.id, stable).await?;
                row.is_some_and(|it| {
                    it.artifact == *artifact
                        && it.digest == *digest
                        && it.content == *content
                        && it.config_hash == *config_hash
                })
            }
        };
        if !same || self.store.current(app.id).await?.is_some() {
            return Ok(());
        }
        Err(ServeError::Conflict {
            detail: format!(
                "{stable} is stable already: same artifact, same configuration; nothing to roll out"
            ),
        })
    }

    /// The revision that was stable before the present one, by the rollouts that succeeded.
    async fn previous(&self, app: &App) -> Result<Revision, ServeError> {
        let stable = app.stable.ok_or_else(|| ServeError::Conflict {
            detail: "nothing was ever stable, so there is nothing to go back to".to_owned(),
        })?;
        if let Some(current) = self.store.current(app.id).await? {
            return Err(ServeError::Conflict {
                detail: format!(
                    "a rollout of {} is {}: abort it to stay with {stable}, or name the revision to go back to",
                    current.candidate, current.phase
                ),
            });
        }
        let filter = RolloutFilter {
            projects: Some(vec![app.project.clone()]),
            app: Some(app.name.clone()),
            phases: vec![Phase::Succeeded],
        };
        let succeeded = self.store.rollouts(&filter, None, PAGE_MAX).await?;
        // One whose candidate was stable already changed nothing.
        let last = succeeded
            .into_iter()
            .find(|it| it.candidate == stable && it.stable != Some(stable));
        last.and_then(|it| it.stable)
            .ok_or_else(|| ServeError::Conflict {
                detail: format!(
                    "{stable} is the first stable revision: nothing was stable before it"
                ),
            })
    }
}

/// A new revision of `artifact`, made with the app file as it is now.
pub(super) fn made_of(app: &App, file: &AppFile, artifact: ResolvedArtifact) -> NewRevision {
    NewRevision::New {
        artifact: artifact.artifact,
        digest: artifact.digest,
        content: artifact.content,
        document: app.document.clone(),
        config_hash: file.config_hash(),
    }
}

/// The app, as drivers know it.
pub(super) fn key_of(app: &App) -> AppKey {
    AppKey {
        project: app.project.clone(),
        app: app.name.clone(),
    }
}

impl DeployRequest {
    fn asked_to_undo(&self) -> bool {
        match self.asked {
            Asked::Undo | Asked::UndoTo(_) => true,
            Asked::Artifact(_) | Asked::Offered(_) => false,
        }
    }
}

/// Who asks for a rollout, and in which words; and where people reach this service.
#[derive(Debug, Clone)]
struct Words {
    public_url: Option<String>,
    by: String,
    comment: Option<String>,
    break_glass: Option<String>,
}

/// The new rollout's plan and state, and what happens to the rollouts that it supersedes. Runs
/// inside the store's transaction, with the app's row locked.
fn build(facts: &CreateFacts, file: &AppFile, plan: Plan, words: &Words) -> Created {
    let Words {
        public_url,
        by,
        comment,
        break_glass,
    } = words.clone();
    let now = facts.now;
    let command = Command {
        order: Order::Supersede {
            revision: facts.candidate,
        },
        by: by.clone(),
        comment: None,
        from: None,
    };
    let older = facts.pending.iter().chain(facts.active.iter());
    let key = key_of(&facts.app);
    let telling = |rollout, plan| Telling {
        bindings: &file.bindings,
        app: &key,
        rollout,
        plan,
        public_url: public_url.as_deref(),
    };
    let supersede = older.filter_map(|rollout| {
        match rollout::command(&rollout.plan, &rollout.state, &command, now) {
            Ok(Outcome::Changed(state, event)) => Some(Change {
                notices: telling(rollout.id, &rollout.plan).transition(&state, &event),
                rollout: rollout.id,
                state: *state,
                event,
            }),
            Ok(Outcome::Unchanged) | Err(_) => None,
        }
    });
    let state = State {
        break_glass: break_glass.clone().map(|reason| BreakGlass {
            by: by.clone(),
            at: now,
            reason,
        }),
        ..State::new(now)
    };
    let event = Event::Created {
        by,
        comment,
        break_glass,
    };
    Created {
        supersede: supersede.collect(),
        notices: telling(facts.id, &plan).transition(&state, &event),
        state,
        event,
        plan,
    }
}
