//! What holds for all apps of a project: kept here, understood by the service.

use jiff::Timestamp;
use rollout::Revision;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Store,
    apps::{RevisionRecord, RevisionRow},
    error::StoreError,
    number,
};

/// A project's settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectSettings {
    /// The project.
    pub project: String,
    /// What somebody wrote, as JSON.
    pub document: Value,
    /// Grows with each edit: the ETag.
    pub version: i64,
    /// When it was last written.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

struct Record {
    project: String,
    document: Value,
    version: i64,
    updated_at: Timestamp,
    updated_by: String,
}

impl From<Record> for ProjectSettings {
    fn from(it: Record) -> Self {
        Self {
            project: it.project,
            document: it.document,
            version: it.version,
            updated_at: it.updated_at,
            updated_by: it.updated_by,
        }
    }
}

impl Store {
    /// A project's settings; `None`: nobody ever wrote any.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn project_settings(
        &self,
        project: &str,
    ) -> Result<Option<ProjectSettings>, StoreError> {
        sqlx::query_as!(
            Record,
            "SELECT project, document, version, updated_at, updated_by
             FROM project_settings WHERE project = $1",
            project
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("read a project's settings"))
        .map(|it| it.map(ProjectSettings::from))
    }

    /// Writes a project's settings. `expected_version` is `If-Match`: `None` writes in any case,
    /// `Some(0)` only if nobody ever wrote any. An unchanged document keeps its version.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`], [`StoreError::Unstorable`].
    pub async fn put_project_settings(
        &self,
        project: &str,
        document: &Value,
        expected_version: Option<i64>,
        by: &str,
    ) -> Result<ProjectSettings, StoreError> {
        let written = sqlx::query_as!(
            Record,
            "INSERT INTO project_settings AS s (project, document, updated_by)
             SELECT $1, $2, $4 WHERE $3::bigint IS NULL OR $3 = 0 OR EXISTS (
                 SELECT FROM project_settings WHERE project = $1 AND version = $3)
             ON CONFLICT (project) DO UPDATE SET document = excluded.document,
                 updated_by = excluded.updated_by, updated_at = clock_timestamp(),
                 version = s.version + (s.document IS DISTINCT FROM excluded.document)::int
             WHERE $3::bigint IS NULL OR s.version = $3
             RETURNING project, document, version, updated_at, updated_by",
            project,
            document,
            expected_version,
            by
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::committing("write a project's settings"))?;
        match written {
            Some(settings) => Ok(settings.into()),
            None => Err(StoreError::VersionConflict {
                current: self.project_settings(project).await?.map(|it| it.version),
            }),
        }
    }

    /// One revision of an app, and its project's settings, in one round trip.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn revision_and_settings(
        &self,
        app_id: Uuid,
        revision: Revision,
    ) -> Result<Option<(RevisionRow, Option<Value>)>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT r.app_id, r.number, r.artifact, r.digest, r.document, r.config_hash, r.content,
                      r.created_at, r.created_by, s.document AS "settings?"
               FROM revision r JOIN app a ON a.id = r.app_id
                 LEFT JOIN project_settings s ON s.project = a.project
               WHERE r.app_id = $1 AND r.number = $2"#,
            app_id,
            number(revision)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("read a revision and its project's settings"))?;
        Ok(row.map(|it| {
            let record = RevisionRecord {
                app_id: it.app_id,
                number: it.number,
                artifact: it.artifact,
                digest: it.digest,
                document: it.document,
                config_hash: it.config_hash,
                content: it.content,
                created_at: it.created_at.into(),
                created_by: it.created_by,
            };
            (record.into(), it.settings)
        }))
    }
}
