//! Rollouts as they stand: reading one, many, and the one that occupies an app.

mod adopt;
pub(crate) mod create;

use jiff::Timestamp;
use rollout::{Event, Phase, Plan, Revision, State, WaitingOn, gate::Gates};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Store,
    apps::{App, RevisionRow},
    error::StoreError,
    outbox::NewNotice,
    page, revision,
};

/// A rollout as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Sorts by the time of creation.
    pub id: Uuid,
    /// The app's id.
    pub app_id: Uuid,
    /// The app's project.
    pub project: String,
    /// The app's name.
    pub app: String,
    /// The revision it starts from: of the plan once it has started.
    pub stable: Option<Revision>,
    /// The revision it brings out.
    pub candidate: Revision,
    /// Back to a revision that was stable before.
    pub undo: bool,
    /// The state's phase.
    pub phase: Phase,
    /// What it is going to do.
    pub plan: Plan,
    /// Where it stands.
    pub state: State,
    /// What its gates have learnt.
    pub gates: Gates,
    /// What it waits for, as of the last pass.
    pub waiting: Option<WaitingOn>,
    /// When time alone may change that.
    pub wake_at: Option<Timestamp>,
    /// Grows with every write: what a commit compares and sets.
    pub version: i64,
    /// Who asked for it.
    pub created_by: String,
    /// In their words.
    pub comment: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What to roll out.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRollout {
    /// The app's id.
    pub app: Uuid,
    /// The candidate.
    pub revision: NewRevision,
    /// Back to a revision that was stable before.
    pub undo: bool,
    /// In the user's words.
    pub comment: Option<String>,
    /// The principal.
    pub by: String,
    /// From which address it was asked for, if anybody asked.
    pub source: Option<String>,
}

/// The candidate of a new rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum NewRevision {
    /// Numbered now, unless artifact, digest and configuration are the newest revision's: then it
    /// is that one.
    New {
        /// An image reference, a command or a directory.
        artifact: String,
        /// The artifact's digest, when it is known.
        digest: Option<String>,
        /// What the workload needs to run it again as it was.
        content: Option<Value>,
        /// The app file it is made with.
        document: Value,
        /// Tells two configurations of the same artifact apart.
        config_hash: String,
    },
    /// One that is there.
    Existing(Revision),
}

/// What is known, under the app's lock, when a rollout is created.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateFacts {
    /// The id the new rollout gets.
    pub id: Uuid,
    /// Now, by the database's clock.
    pub now: Timestamp,
    /// The app.
    pub app: App,
    /// Its project's settings, if somebody wrote any.
    pub project_settings: Option<Value>,
    /// The app's stable revision.
    pub stable: Option<Revision>,
    /// The candidate's number.
    pub candidate: Revision,
    /// The candidate.
    pub revision: RevisionRow,
    /// The rollout that has begun and not ended.
    pub active: Option<Rollout>,
    /// The rollout that waits for its turn.
    pub pending: Option<Rollout>,
}

/// What the caller made of the facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    /// The compiled plan.
    pub plan: Plan,
    /// The first state, in phase pending.
    pub state: State,
    /// The first transition's cause.
    pub event: Event,
    /// What becomes of the rollouts that are in the way. One that is pending must end here.
    pub supersede: Vec<Change>,
    /// Notices about the new rollout.
    pub notices: Vec<NewNotice>,
}

/// A change of another rollout, made together with the creation.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which.
    pub rollout: Uuid,
    /// Its next state.
    pub state: State,
    /// Why.
    pub event: Event,
    /// Notices about it.
    pub notices: Vec<NewNotice>,
}

/// Which rollouts to list. Empty means: all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RolloutFilter {
    /// Only of these projects.
    pub projects: Option<Vec<String>>,
    /// Only of apps with this name.
    pub app: Option<String>,
    /// Only in these phases; empty: in any.
    pub phases: Vec<Phase>,
}

/// `rollout` as the queries return it.
pub(crate) struct RolloutRecord {
    pub(crate) id: Uuid,
    pub(crate) app_id: Uuid,
    pub(crate) project: String,
    pub(crate) app: String,
    pub(crate) stable: Option<i32>,
    pub(crate) candidate: i32,
    pub(crate) undo: bool,
    pub(crate) plan: Json<Plan>,
    pub(crate) state: Json<State>,
    pub(crate) gates: Json<Gates>,
    pub(crate) waiting: Option<Json<WaitingOn>>,
    pub(crate) wake_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) version: i64,
    pub(crate) created_by: String,
    pub(crate) comment: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) ended_at: Option<jiff_sqlx::Timestamp>,
}

impl From<RolloutRecord> for Rollout {
    fn from(it: RolloutRecord) -> Self {
        Self {
            id: it.id,
            app_id: it.app_id,
            project: it.project,
            app: it.app,
            stable: it.stable.map(revision),
            candidate: revision(it.candidate),
            undo: it.undo,
            phase: it.state.phase,
            plan: it.plan.0,
            state: it.state.0,
            gates: it.gates.0,
            waiting: it.waiting.map(|it| it.0),
            wake_at: it.wake_at.map(Timestamp::from),
            version: it.version,
            created_by: it.created_by,
            comment: it.comment,
            created_at: it.created_at,
            updated_at: it.updated_at,
            ended_at: it.ended_at.map(Timestamp::from),
        }
    }
}

/// A checked query for rollouts: what follows `FROM rollout`, and its parameters.
macro_rules! select_rollouts {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            $crate::rollouts::RolloutRecord,
            r#"SELECT id, app_id, project, app, stable, candidate, undo,
                      plan AS "plan: Json<rollout::Plan>", state AS "state: Json<rollout::State>",
                      gates AS "gates: Json<rollout::gate::Gates>",
                      waiting AS "waiting: Json<rollout::WaitingOn>", wake_at, version, created_by,
                      comment, created_at, updated_at, ended_at
               FROM rollout "# + $tail
            $(, $argument)*
        )
    };
}
pub(crate) use select_rollouts;

impl Store {
    /// One rollout.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn rollout(&self, id: Uuid) -> Result<Option<Rollout>, StoreError> {
        select_rollouts!("WHERE id = $1", id)
            .fetch_optional(&self.pool)
            .await
            .map_err(StoreError::during("read a rollout"))
            .map(|it| it.map(Rollout::from))
    }

    /// Rollouts, newest first; those older than `before`.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn rollouts(
        &self,
        filter: &RolloutFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Rollout>, StoreError> {
        let phases: Vec<String> = filter
            .phases
            .iter()
            .map(|it| it.word().to_owned())
            .collect();
        let rows = select_rollouts!(
            "WHERE ($1::text[] IS NULL OR project = ANY ($1))
               AND ($2::text IS NULL OR app = $2)
               AND (cardinality($3::text[]) = 0 OR phase = ANY ($3))
               AND ($4::uuid IS NULL OR id < $4)
             ORDER BY id DESC LIMIT $5",
            filter.projects.as_deref(),
            filter.app.as_deref(),
            &phases,
            before,
            page(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("list rollouts"))?;
        Ok(rows.into_iter().map(Rollout::from).collect())
    }

    /// The rollout that occupies an app: the active one, else the pending one.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn current(&self, app_id: Uuid) -> Result<Option<Rollout>, StoreError> {
        select_rollouts!(
            "WHERE app_id = $1
               AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
             ORDER BY phase = 'pending' LIMIT 1",
            app_id
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("read an app's rollout"))
        .map(|it| it.map(Rollout::from))
    }

    /// How many rollouts have not ended, by phase; phases without any are left out. For gauges.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn unfinished_counts(&self) -> Result<Vec<(Phase, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT phase, count(*) AS "count!" FROM rollout
               WHERE phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
               GROUP BY phase"#
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("count rollouts"))?;
        Ok(Phase::ALL
            .into_iter()
            .filter_map(|phase| {
                let row = rows.iter().find(|it| it.phase == phase.word())?;
                Some((phase, row.count))
            })
            .collect())
    }
}
