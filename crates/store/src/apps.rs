//! Apps and their revisions.

use jiff::Timestamp;
use rollout::{Phase, Revision, State, WaitingOn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Store, claims::shard_of, error::StoreError, number, page, revision};

/// An app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Given once; a deleted app's name may be used again, its id never is.
    pub id: Uuid,
    /// The scope of rights.
    pub project: String,
    /// Unique within the project.
    pub name: String,
    /// What the user wrote, as JSON.
    pub document: Value,
    /// Grows with each edit: the ETag.
    pub version: i64,
    /// The revision that has the traffic; `None` before the first rollout succeeded.
    pub stable: Option<Revision>,
    /// Whose lease is needed to work on it.
    pub shard: i32,
    /// When it was first written.
    pub created_at: Timestamp,
    /// When the document was last written, or the stable revision changed.
    pub updated_at: Timestamp,
}

/// A revision of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Whose.
    pub app_id: Uuid,
    /// Its number.
    #[serde(rename = "number")]
    pub revision: Revision,
    /// An image reference, a command or a directory.
    pub artifact: String,
    /// The artifact's digest, when it is known.
    pub digest: Option<String>,
    /// What the workload needs to run it again as it was, where the artifact does not say it all.
    pub content: Option<Value>,
    /// The app file it was made with.
    pub document: Value,
    /// Tells two configurations of the same artifact apart.
    pub config_hash: String,
    /// When it was first asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// An app in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct AppSummary {
    /// The app.
    pub app: App,
    /// Its rollout that has not ended: the active one, else the pending one.
    pub active: Option<RolloutSummary>,
}

/// A rollout in a list of apps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct RolloutSummary {
    /// The rollout.
    pub id: Uuid,
    /// What it brings out.
    pub candidate: Revision,
    /// Its phase.
    pub phase: Phase,
    /// What it waits for.
    pub waiting: Option<WaitingOn>,
    /// Where it stands.
    pub state: State,
}

/// `app` as the queries below return it.
pub(crate) struct AppRecord {
    pub(crate) id: Uuid,
    pub(crate) project: String,
    pub(crate) name: String,
    pub(crate) document: Value,
    pub(crate) version: i64,
    pub(crate) stable: Option<i32>,
    pub(crate) shard: i32,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

impl From<AppRecord> for App {
    fn from(it: AppRecord) -> Self {
        Self {
            id: it.id,
            project: it.project,
            name: it.name,
            document: it.document,
            version: it.version,
            stable: it.stable.map(revision),
            shard: it.shard,
            created_at: it.created_at,
            updated_at: it.updated_at,
        }
    }
}

/// `revision` as the queries return it.
pub(crate) struct RevisionRecord {
    pub(crate) app_id: Uuid,
    pub(crate) number: i32,
    pub(crate) artifact: String,
    pub(crate) digest: Option<String>,
    pub(crate) document: Value,
    pub(crate) config_hash: String,
    pub(crate) content: Option<Value>,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
}

impl From<RevisionRecord> for RevisionRow {
    fn from(it: RevisionRecord) -> Self {
        Self {
            app_id: it.app_id,
            revision: revision(it.number),
            artifact: it.artifact,
            digest: it.digest,
            document: it.document,
            config_hash: it.config_hash,
            content: it.content,
            created_at: it.created_at,
            created_by: it.created_by,
        }
    }
}

impl Store {
    /// Writes an app's document. `expected_version` is `If-Match`: `None` writes in any case,
    /// `Some(0)` only if there is no such app. An unchanged document keeps its version. Returns the
    /// app and whether it is new.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`], [`StoreError::Unstorable`].
    pub async fn put_app(
        &self,
        project: &str,
        name: &str,
        document: &Value,
        expected_version: Option<i64>,
        by: &str,
    ) -> Result<(App, bool), StoreError> {
        if matches!(expected_version, None | Some(0))
            && let Some(app) = self.insert_app(project, name, document, by).await?
        {
            return Ok((app, true));
        }
        let updated = sqlx::query_as!(
            AppRecord,
            r#"WITH app AS (
                 UPDATE app SET document = $3, updated_by = $5, updated_at = clock_timestamp(),
                     version = version + (document IS DISTINCT FROM $3)::int
                 WHERE project = $1 AND name = $2 AND deleted_at IS NULL
                   AND ($4::bigint IS NULL OR version = $4)
                 RETURNING *)
               SELECT id, project, name, document, version, stable, shard, created_at, updated_at
               FROM app WHERE notify_change(id, project, name, NULL, false, NULL)"#,
            project,
            name,
            document,
            expected_version,
            by
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::committing("write an app"))?;
        match updated {
            Some(app) => Ok((app.into(), false)),
            None => Err(StoreError::VersionConflict {
                current: self.get_app(project, name).await?.map(|it| it.version),
            }),
        }
    }

    /// The app, unless the name is taken. Revisions are numbered on from a deleted app of that name:
    /// instances that it left running must not be taken for the new app's own.
    async fn insert_app(
        &self,
        project: &str,
        name: &str,
        document: &Value,
        by: &str,
    ) -> Result<Option<App>, StoreError> {
        let id = Uuid::now_v7();
        sqlx::query_as!(
            AppRecord,
            r#"WITH app AS (
                 INSERT INTO app (id, project, name, document, shard, created_by, updated_by,
                                  last_revision)
                 VALUES ($1, $2, $3, $4, $5, $6, $6, coalesce((
                   SELECT max(last_revision) FROM app WHERE project = $2 AND name = $3), 0))
                 ON CONFLICT (project, name) WHERE deleted_at IS NULL DO NOTHING
                 RETURNING *)
               SELECT id, project, name, document, version, stable, shard, created_at, updated_at
               FROM app WHERE notify_change(id, project, name, NULL, false, NULL)"#,
            id,
            project,
            name,
            document,
            shard_of(id),
            by
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::committing("write a new app"))
        .map(|it| it.map(App::from))
    }

    /// The app of that name.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn get_app(&self, project: &str, name: &str) -> Result<Option<App>, StoreError> {
        sqlx::query_as!(
            AppRecord,
            "SELECT id, project, name, document, version, stable, shard, created_at, updated_at
             FROM app WHERE project = $1 AND name = $2 AND deleted_at IS NULL",
            project,
            name
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("read an app"))
        .map(|it| it.map(App::from))
    }

    /// Apps by project and name, `None`: of all projects; those after `after` (project, name).
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn list_apps(
        &self,
        projects: Option<&[String]>,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<AppSummary>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT a.id, a.project, a.name, a.document, a.version, a.stable, a.shard,
                      a.created_at, a.updated_at, r.summary AS "summary: Json<RolloutSummary>"
               FROM app a LEFT JOIN LATERAL (
                   SELECT jsonb_build_object('id', id, 'candidate', candidate, 'phase', phase,
                                             'waiting', waiting, 'state', state) AS summary
                   FROM rollout WHERE app_id = a.id
                     AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
                   ORDER BY phase = 'pending' LIMIT 1) r ON true
               WHERE a.deleted_at IS NULL
                 AND ($1::text[] IS NULL OR a.project = ANY ($1))
                 AND ($2::text IS NULL OR (a.project, a.name) > ($2, $3))
               ORDER BY a.project, a.name LIMIT $4"#,
            projects,
            after.map(|it| it.0),
            after.map(|it| it.1),
            page(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("list apps"))?;
        Ok(rows
            .into_iter()
            .map(|it| AppSummary {
                app: App {
                    id: it.id,
                    project: it.project,
                    name: it.name,
                    document: it.document,
                    version: it.version,
                    stable: it.stable.map(revision),
                    shard: it.shard,
                    created_at: it.created_at.into(),
                    updated_at: it.updated_at.into(),
                },
                active: it.summary.map(|it| it.0),
            })
            .collect())
    }

    /// Deletes an app that has no unfinished rollout. Its history stays; its name is free again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::VersionConflict`], [`StoreError::RolloutActive`].
    pub async fn delete_app(
        &self,
        project: &str,
        name: &str,
        expected_version: Option<i64>,
    ) -> Result<(), StoreError> {
        let during = "delete an app";
        let mut tx = self
            .pool
            .begin()
            .await
            .map_err(StoreError::during(during))?;
        let app = sqlx::query!(
            "SELECT id, version FROM app
             WHERE project = $1 AND name = $2 AND deleted_at IS NULL FOR UPDATE",
            project,
            name
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::during(during))?
        .ok_or(StoreError::NotFound { what: "app" })?;
        if expected_version.is_some_and(|it| it != app.version) {
            return Err(StoreError::VersionConflict {
                current: Some(app.version),
            });
        }
        // Rollouts begin under the same lock, so none begins meanwhile.
        let unfinished = sqlx::query_scalar!(
            "SELECT id FROM rollout WHERE app_id = $1
               AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
             ORDER BY phase = 'pending' LIMIT 1",
            app.id
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(StoreError::during(during))?;
        if let Some(id) = unfinished {
            return Err(StoreError::RolloutActive { id });
        }
        sqlx::query!(
            r#"WITH gone AS (
                 UPDATE app SET deleted_at = clock_timestamp() WHERE id = $1 RETURNING *)
               SELECT notify_change(id, project, name, NULL, false, NULL) AS "notified!" FROM gone"#,
            app.id
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::during(during))?;
        tx.commit().await.map_err(StoreError::committing(during))
    }

    /// One revision of an app.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn revision(
        &self,
        app_id: Uuid,
        revision: Revision,
    ) -> Result<Option<RevisionRow>, StoreError> {
        sqlx::query_as!(
            RevisionRecord,
            "SELECT app_id, number, artifact, digest, document, config_hash, content, created_at,
                    created_by
             FROM revision WHERE app_id = $1 AND number = $2",
            app_id,
            number(revision)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("read a revision"))
        .map(|it| it.map(RevisionRow::from))
    }

    /// An app's revisions, newest first.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn revisions(
        &self,
        app_id: Uuid,
        limit: u32,
    ) -> Result<Vec<RevisionRow>, StoreError> {
        let rows = sqlx::query_as!(
            RevisionRecord,
            "SELECT app_id, number, artifact, digest, document, config_hash, content, created_at,
                    created_by
             FROM revision WHERE app_id = $1 ORDER BY number DESC LIMIT $2",
            app_id,
            page(limit)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("list revisions"))?;
        Ok(rows.into_iter().map(RevisionRow::from).collect())
    }
}
