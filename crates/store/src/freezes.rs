//! Freeze windows: kept here, understood by the service.

use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx as _;
use rollout::Running;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Store,
    error::{StoreError, violated},
};

/// Most windows that a list shows.
const LIST_MAX: i64 = 1000;

/// When a window comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FreezeRule {
    /// Again and again.
    #[serde(rename_all = "camelCase")]
    Recurring {
        /// When it begins, as a cron pattern.
        cron: String,
        /// How long it lasts, by the clock on the wall.
        duration: SignedDuration,
        /// The IANA time zone of that clock.
        time_zone: String,
    },
    /// Once.
    Once {
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
}

/// A freeze window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeRow {
    /// Its id.
    pub id: Uuid,
    /// Its name, one of a kind in its scope.
    pub name: String,
    /// For which project; `None`: for all.
    pub project: Option<String>,
    /// For which app of the project; `None`: for all.
    pub app: Option<String>,
    /// Why there is one.
    pub reason: String,
    /// When it comes.
    pub rule: FreezeRule,
    /// What it asks of rollouts that run.
    pub running: Running,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

fn word(running: Running) -> &'static str {
    match running {
        Running::Hold => "hold",
        Running::Finish => "finish",
    }
}

fn read(rows: Vec<Json<FreezeRow>>) -> Vec<FreezeRow> {
    rows.into_iter().map(|it| it.0).collect()
}

impl Store {
    /// Keeps a new window and wakes the rollouts that it may concern.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], or that the database does not answer.
    pub async fn add_freeze(&self, row: &FreezeRow) -> Result<(), StoreError> {
        let during = "keep a freeze window";
        let ends_at = match &row.rule {
            FreezeRule::Once { until, .. } => Some(*until),
            FreezeRule::Recurring { .. } => None,
        };
        let written = sqlx::query!(
            r#"WITH new AS (
                 INSERT INTO freeze_window (id, name, project, app, reason, rule, running, ends_at,
                                     created_at, created_by)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *)
               SELECT notify_freeze(ROW(new.*)::freeze_window) AS "woken!" FROM new"#,
            row.id,
            row.name,
            row.project,
            row.app,
            row.reason,
            Json(&row.rule) as _,
            word(row.running),
            ends_at.map(|it| it.to_sqlx()) as _,
            row.created_at.to_sqlx() as _,
            row.created_by
        )
        .fetch_one(&self.pool)
        .await;
        match written {
            Ok(_) => Ok(()),
            Err(source) if violated(&source) == Some("freeze_window_name") => {
                Err(StoreError::NameTaken)
            }
            Err(source) => Err(StoreError::committing(during)(source)),
        }
    }

    /// Takes a window away and wakes the rollouts that it held.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or that the database does not answer.
    pub async fn remove_freeze(&self, id: Uuid, by: &str) -> Result<(), StoreError> {
        let gone = sqlx::query!(
            r#"WITH gone AS (
                 UPDATE freeze_window SET removed_at = clock_timestamp(), removed_by = $2
                 WHERE id = $1 AND removed_at IS NULL RETURNING *)
               SELECT notify_freeze(ROW(gone.*)::freeze_window) AS "woken!" FROM gone"#,
            id,
            by
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::committing("take a freeze window away"))?;
        gone.map(drop).ok_or(StoreError::NotFound {
            what: "freeze window",
        })
    }

    /// The windows that concern `projects` (`None`: any), those for all projects included, by name.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn freezes(&self, projects: Option<&[String]>) -> Result<Vec<FreezeRow>, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT to_jsonb(f) AS "row!: Json<FreezeRow>" FROM freeze_window f
               WHERE removed_at IS NULL
                 AND ($1::text[] IS NULL OR project IS NULL OR project = ANY ($1))
               ORDER BY name, id LIMIT $2"#,
            projects,
            LIST_MAX
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("list freeze windows"))
        .map(read)
    }

    /// The windows that concern one app and are not over for good.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn freezes_of(&self, project: &str, app: &str) -> Result<Vec<FreezeRow>, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT to_jsonb(f) AS "row!: Json<FreezeRow>" FROM freeze_window f
               WHERE removed_at IS NULL AND (ends_at IS NULL OR ends_at > clock_timestamp())
                 AND (project IS NULL OR project = $1) AND (app IS NULL OR app = $2)
               ORDER BY name, id LIMIT $3"#,
            project,
            app,
            LIST_MAX
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("read an app's freeze windows"))
        .map(read)
    }

    /// One window.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn freeze(&self, id: Uuid) -> Result<Option<FreezeRow>, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT to_jsonb(f) AS "row!: Json<FreezeRow>" FROM freeze_window f
               WHERE id = $1 AND removed_at IS NULL"#,
            id
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("find a freeze window"))
        .map(|it| it.map(|it| it.0))
    }
}
