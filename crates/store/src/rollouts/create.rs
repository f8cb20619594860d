//! Creating a rollout: one transaction under the app's lock, so that of two at once each sees what
//! the other did.

use jiff::Timestamp;
use rollout::{Phase, WaitingOn, gate::Gates};
use serde_json::Value;
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{Change, CreateFacts, Created, NewRevision, NewRollout, Rollout, select_rollouts};
use crate::{
    Store,
    apps::{App, AppRecord, RevisionRecord, RevisionRow},
    error::{StoreError, retrying, violated},
    idempotency::{self, Idempotency},
    number,
    outbox::notices,
};

const DURING: &str = "create a rollout";

impl Store {
    /// Creates a rollout in one transaction: locks the app, numbers the revision, asks `build` what
    /// to make of the facts, and writes the rollout (pending), its first transition, the changes to
    /// the rollouts it supersedes, and all notices. Then wakes the app's owner.
    ///
    /// `build` is pure: it may be asked again when the transaction met another one. With an
    /// idempotency key that was answered before, nothing is done and the same answer is returned.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] (app or revision), [`StoreError::RolloutActive`] when one is pending
    /// and `build` does not end it, [`StoreError::KeyReused`], [`StoreError::KeyInFlight`].
    pub async fn create_rollout(
        &self,
        new: &NewRollout,
        build: impl Fn(&CreateFacts) -> Created + Send + Sync,
        idempotency: Option<&Idempotency>,
    ) -> Result<Rollout, StoreError> {
        retrying!(self.try_create(new, &build, idempotency))
    }

    async fn try_create(
        &self,
        new: &NewRollout,
        build: &(impl Fn(&CreateFacts) -> Created + Send + Sync),
        idempotency: Option<&Idempotency>,
    ) -> Result<Rollout, StoreError> {
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(StoreError::during(DURING))?;
        if let Some(request) = idempotency {
            let claimed = idempotency::claim(&mut tx, request).await;
            if !matches!(claimed, Ok(None)) {
                // Ended here and not when it is dropped, which is some time later: until then the
                // next request with this key would be told that it is in flight.
                tx.rollback().await.map_err(StoreError::during(DURING))?;
                let answer = claimed?.unwrap_or_default();
                return serde_json::from_value(answer).map_err(StoreError::value(DURING));
            }
        }
        // Before the first write: a transaction that waits here has no number yet, so the order of
        // numbers is the order of the lock, and events come in the order in which things happened.
        let app = lock_app(&mut tx, new.app).await?;
        let (active, pending) = occupants(&mut tx, app.id).await?;
        let revision = settle_revision(&mut tx, &app, &new.revision, &new.by).await?;
        let (now, project_settings) = now_and_settings(&mut tx, &app.project).await?;
        let facts = CreateFacts {
            id: Uuid::now_v7(),
            now,
            project_settings,
            stable: app.stable,
            candidate: revision.revision,
            app,
            revision,
            active,
            pending,
        };
        let created = build(&facts);
        for change in &created.supersede {
            apply(&mut tx, &facts.app, change, new).await?;
        }
        let rollout = insert(&mut tx, new, &facts, &created).await?;
        if let Some(request) = idempotency {
            let answer = serde_json::to_value(&rollout).map_err(StoreError::value(DURING))?;
            idempotency::answer(&mut tx, request, &answer).await?;
        }
        tx.commit().await.map_err(StoreError::committing(DURING))?;
        Ok(rollout)
    }
}

pub(super) async fn lock_app(tx: &mut PgConnection, id: Uuid) -> Result<App, StoreError> {
    sqlx::query_as!(
        AppRecord,
        "SELECT id, project, name, document, version, stable, shard, created_at, updated_at
         FROM app WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",
        id
    )
    .fetch_optional(tx)
    .await
    .map_err(StoreError::during(DURING))?
    .map(App::from)
    .ok_or(StoreError::NotFound { what: "app" })
}

/// The active and the pending rollout, locked: nobody commits to them meanwhile.
async fn occupants(
    tx: &mut PgConnection,
    app: Uuid,
) -> Result<(Option<Rollout>, Option<Rollout>), StoreError> {
    let rows = select_rollouts!(
        "WHERE app_id = $1
           AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
         FOR UPDATE",
        app
    )
    .fetch_all(tx)
    .await
    .map_err(StoreError::during(DURING))?;
    let (mut pending, mut active): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .map(Rollout::from)
        .partition(|it| it.phase == Phase::Pending);
    Ok((active.pop(), pending.pop()))
}

async fn now_and_settings(
    tx: &mut PgConnection,
    project: &str,
) -> Result<(Timestamp, Option<Value>), StoreError> {
    let row = sqlx::query!(
        r#"SELECT clock_timestamp() AS "now!",
             (SELECT document FROM project_settings WHERE project = $1) AS settings"#,
        project
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during(DURING))?;
    Ok((row.now.into(), row.settings))
}

/// The candidate's row: found, or numbered and written.
pub(super) async fn settle_revision(
    tx: &mut PgConnection,
    app: &App,
    wanted: &NewRevision,
    by: &str,
) -> Result<RevisionRow, StoreError> {
    let existing = match wanted {
        NewRevision::Existing(it) => Some(number(*it)),
        NewRevision::New { .. } => None,
    };
    let found = sqlx::query_as!(
        RevisionRecord,
        "SELECT app_id, number, artifact, digest, document, config_hash, content, created_at,
                created_by
         FROM revision WHERE app_id = $1 AND ($2::int IS NULL OR number = $2)
         ORDER BY number DESC LIMIT 1",
        app.id,
        existing
    )
    .fetch_optional(&mut *tx)
    .await
    .map_err(StoreError::during(DURING))?
    .map(RevisionRow::from);
    let NewRevision::New {
        artifact,
        digest,
        content,
        document,
        config_hash,
    } = wanted
    else {
        return found.ok_or(StoreError::NotFound { what: "revision" });
    };
    if let Some(newest) = found
        && newest.artifact == *artifact
        && newest.digest == *digest
        && newest.config_hash == *config_hash
        && newest.content == *content
        // Steps, gates and alerts of a rollout are those of its revision's app file.
        && newest.document == *document
    {
        return Ok(newest);
    }
    sqlx::query_as!(
        RevisionRecord,
        "WITH numbered AS (
           UPDATE app SET last_revision = last_revision + 1 WHERE id = $1
           RETURNING last_revision)
         INSERT INTO revision (app_id, number, artifact, digest, document, config_hash, content,
                               created_by)
         SELECT $1, last_revision, $2, $3, $4, $5, $6, $7 FROM numbered
         RETURNING app_id, number, artifact, digest, document, config_hash, content, created_at,
                   created_by",
        app.id,
        artifact,
        digest.as_deref(),
        document,
        config_hash,
        content.as_ref(),
        by
    )
    .fetch_one(tx)
    .await
    .map_err(StoreError::during(DURING))
    .map(RevisionRow::from)
}

/// Changes a rollout that is in the way, with its history row and notices.
async fn apply(
    tx: &mut PgConnection,
    app: &App,
    change: &Change,
    new: &NewRollout,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"WITH changed AS (
             UPDATE rollout SET state = $3, phase = $4, version = version + 1, waiting = NULL,
                 wake_at = CASE WHEN $5 THEN NULL ELSE clock_timestamp() END,
                 updated_at = clock_timestamp(),
                 ended_at = CASE WHEN $5 THEN clock_timestamp() END
             WHERE id = $1 AND app_id = $2 RETURNING *),
           recorded AS (
             INSERT INTO transition (rollout_id, project, app, candidate, by, source, event, state)
             SELECT id, project, app, candidate, $7, $9, $6::jsonb, state FROM changed),
           noticed AS (
             INSERT INTO outbox (id, rollout_id, target, kind, payload)
             SELECT n.id, c.id, coalesce(n.target, 'null'), n.kind, coalesce(n.payload, 'null') FROM changed c,
               jsonb_to_recordset($8::jsonb) AS n(id uuid, target jsonb, kind text, payload jsonb))
           SELECT notify_change(app_id, project, app, id, phase = 'aborting', NULL) AS "notified!"
           FROM changed"#,
        change.rollout,
        app.id,
        Json(&change.state) as _,
        change.state.phase.word(),
        change.state.phase.is_terminal(),
        Json(&change.event) as _,
        new.by,
        notices(&change.notices),
        new.source
    )
    .fetch_optional(tx)
    .await
    .map_err(StoreError::during("supersede a rollout"))?
    .map(|_| ())
    .ok_or(StoreError::NotFound { what: "rollout" })
}

/// Writes the new rollout, its first history row and its notices.
async fn insert(
    tx: &mut PgConnection,
    new: &NewRollout,
    facts: &CreateFacts,
    created: &Created,
) -> Result<Rollout, StoreError> {
    // What it waits for is told from the first moment on (invariant I10).
    let waiting = match facts.active {
        Some(_) => WaitingOn::Predecessor,
        None => WaitingOn::FirstPass,
    };
    sqlx::query_scalar!(
        r#"WITH created AS (
             INSERT INTO rollout (id, app_id, project, app, shard, stable, candidate, undo, phase,
                 plan, state, gates, waiting, wake_at, created_by, comment)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, clock_timestamp(),
                 $14, $15)
             RETURNING *),
           recorded AS (
             INSERT INTO transition (rollout_id, project, app, candidate, by, source, event, state)
             SELECT id, project, app, candidate, $14, $18, $16::jsonb, state FROM created),
           noticed AS (
             INSERT INTO outbox (id, rollout_id, target, kind, payload)
             SELECT n.id, c.id, coalesce(n.target, 'null'), n.kind, coalesce(n.payload, 'null') FROM created c,
               jsonb_to_recordset($17::jsonb) AS n(id uuid, target jsonb, kind text, payload jsonb))
           SELECT to_jsonb(c) AS "rollout!: Json<Rollout>" FROM created c
           WHERE notify_change(app_id, project, app, id, false, NULL)"#,
        facts.id,
        facts.app.id,
        facts.app.project,
        facts.app.name,
        facts.app.shard,
        facts.stable.map(number),
        number(facts.candidate),
        new.undo,
        created.state.phase.word(),
        Json(&created.plan) as _,
        Json(&created.state) as _,
        Json(Gates::default()) as _,
        Json(&waiting) as _,
        new.by,
        new.comment,
        Json(&created.event) as _,
        notices(&created.notices),
        new.source
    )
    .fetch_one(tx)
    .await
    .map_err(
        |error| match (violated(&error), &facts.pending, &facts.active) {
            (Some("rollout_one_pending"), Some(it), _)
            | (Some("rollout_one_active"), _, Some(it)) => StoreError::RolloutActive { id: it.id },
            _ => StoreError::during(DURING)(error),
        },
    )
    .map(|it| it.0)
}
