//! Who works on what: leases on shards, and what a pass begins with. Time is the database's clock.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Store,
    apps::{App, RevisionRow},
    error::{StoreError, retrying},
    freezes::FreezeRow,
    revision,
    rollouts::Rollout,
};

/// Apps are spread over this many shards: enough for even shares among a dozen replicas, few enough
/// that renewing all of them is one small write.
pub const SHARDS: u32 = 64;
/// How long a lease lives without being renewed: takeover after a crash takes no longer. Renew every
/// third of it; cause no effects once half of it has passed since the last renewal.
pub const LEASE_TTL: Duration = Duration::from_secs(6);
/// Most apps that one look returns; far above what one replica can work on.
const DUE_MAX: u32 = 20_000;

/// The lease on one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The shard, from 0.
    pub shard: i32,
    /// Grows whenever the shard changes hands.
    pub epoch: i64,
}

/// The lease under which something was decided; every write of the loop carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The app's shard.
    pub shard: i32,
    /// Its epoch when it was read.
    pub epoch: i64,
    /// Who held it. Also tells two epochs apart that a failover gave out twice.
    pub owner: Uuid,
}

/// What a pass begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct PassInput {
    /// The app.
    pub app: App,
    /// For the commit.
    pub fence: Fence,
    /// The active rollout, else the pending one.
    pub current: Option<Rollout>,
    /// The app's stable revision, the rollout's two, and any other that its state names.
    pub revisions: Vec<RevisionRow>,
    /// The freeze windows that concern the app, whether or not they are on now.
    pub freezes: Vec<FreezeRow>,
    /// The project's settings, if somebody wrote any.
    pub project_settings: Option<Value>,
}

/// An app that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRef {
    /// The app.
    pub app_id: Uuid,
    /// Its project.
    pub project: String,
    /// Its name.
    pub name: String,
    /// It has a rollout that has not ended; else it is to be kept at rest.
    pub unfinished: bool,
    /// The rollout is taking traffic back: first in every queue.
    pub urgent: bool,
    /// When time alone may change something.
    pub wake_at: Option<Timestamp>,
    /// The rollout's version: whoever knows it has missed nothing.
    pub version: Option<i64>,
}

/// An app's shard: the low bits of its id, which are random.
pub(crate) fn shard_of(app: Uuid) -> i32 {
    let shard = app.as_u128() % u128::from(SHARDS);
    i32::try_from(shard).unwrap_or_default()
}

impl Store {
    /// Tells that this replica lives, prolongs its leases, takes free ones up to its fair share and
    /// gives up what it has beyond that. Returns all leases it holds now. To be called every
    /// [`LEASE_TTL`]` / 3`.
    ///
    /// # Errors
    /// That the database does not answer: then the leases run out by themselves.
    pub async fn renew(&self, owner: Uuid) -> Result<Vec<Lease>, StoreError> {
        retrying!(self.try_renew(owner))
    }

    async fn try_renew(&self, owner: Uuid) -> Result<Vec<Lease>, StoreError> {
        sqlx::query_as!(
            Lease,
            r#"SELECT shard_number AS "shard!", shard_epoch AS "epoch!"
               FROM renew_leases($1, make_interval(secs => $2))"#,
            owner,
            LEASE_TTL.as_secs_f64()
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("renew leases"))
    }

    /// The time, by the database's clock.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn now(&self) -> Result<Timestamp, StoreError> {
        sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::during("read the clock"))
            .map(Timestamp::from)
    }

    /// Gives up all leases, so that the other replicas take over at once instead of after
    /// [`LEASE_TTL`].
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn release_all(&self, owner: Uuid) -> Result<(), StoreError> {
        sqlx::query!(
            r#"WITH left_ AS (DELETE FROM replica WHERE id = $1),
               freed AS (
                 UPDATE shard SET owner = NULL, expires_at = NULL WHERE owner = $1
                 RETURNING number)
               SELECT pg_notify('sluice', '{"kind":"leasesFreed"}')::text AS "notified!"
               WHERE EXISTS (SELECT FROM freed)"#,
            owner
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("release leases"))
        .map(|_| ())
    }

    /// All that a pass over an app needs, in one round trip. `None` when this replica does not hold
    /// the app's shard, or the app is gone.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn load(&self, app_id: Uuid, owner: Uuid) -> Result<Option<PassInput>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT a.id, a.project, a.name, a.document, a.version, a.stable, a.shard,
                      a.created_at, a.updated_at, s.epoch,
                      CASE WHEN r.id IS NOT NULL THEN to_jsonb(r) END AS "rollout: Json<Rollout>",
                      coalesce((SELECT jsonb_agg(to_jsonb(v) ORDER BY v.number) FROM revision v
                         WHERE v.app_id = a.id AND (
                           v.number IN (a.stable, r.stable, r.candidate,
                                        (r.plan ->> 'stable')::int)
                           OR r.state #> '{base,scales}' ? v.number::text
                           OR r.state #> '{base,weights}' ? v.number::text)), '[]')
                        AS "revisions!: Json<Vec<RevisionRow>>",
                      coalesce((SELECT jsonb_agg(to_jsonb(f)) FROM freeze_window f
                         WHERE r.id IS NOT NULL AND f.removed_at IS NULL
                           AND (f.ends_at IS NULL OR f.ends_at > clock_timestamp())
                           AND (f.project IS NULL OR f.project = a.project)
                           AND (f.app IS NULL OR f.app = a.name)), '[]')
                        AS "freezes!: Json<Vec<FreezeRow>>",
                      (SELECT document FROM project_settings p
                         WHERE r.id IS NOT NULL AND p.project = a.project)
                        AS project_settings
               FROM app a
                 JOIN shard s ON s.number = a.shard AND s.owner = $2
                   AND s.expires_at > clock_timestamp()
                 LEFT JOIN LATERAL (
                   SELECT * FROM rollout WHERE app_id = a.id
                     AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
                   ORDER BY phase = 'pending' LIMIT 1) r ON true
               WHERE a.id = $1 AND a.deleted_at IS NULL"#,
            app_id,
            owner
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::during("load an app"))?;
        Ok(row.map(|it| PassInput {
            fence: Fence {
                shard: it.shard,
                epoch: it.epoch,
                owner,
            },
            current: it.rollout.map(|it| it.0),
            revisions: it.revisions.0,
            freezes: it.freezes.0,
            project_settings: it.project_settings,
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
        }))
    }

    /// All apps in this replica's shards that have an unfinished rollout or a stable revision to be
    /// kept at rest; rollbacks first, then rollouts, then apps at rest. For the start and after
    /// gaining shards; the safety net in between is [`Store::unfinished`].
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn due(&self, owner: Uuid, limit: u32) -> Result<Vec<AppRef>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT a.id, a.project, a.name, r.phase AS "phase?", r.wake_at AS "wake_at?",
                      r.version AS "version?"
               FROM shard s JOIN app a ON a.shard = s.number
                 LEFT JOIN LATERAL (
                   SELECT phase, wake_at, version FROM rollout WHERE app_id = a.id
                     AND phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
                   ORDER BY phase = 'pending' LIMIT 1) r ON true
               WHERE s.owner = $1 AND s.expires_at > clock_timestamp() AND a.deleted_at IS NULL
                 AND (a.stable IS NOT NULL OR r.phase IS NOT NULL)
               ORDER BY r.phase IS NULL, r.phase <> 'aborting', r.wake_at NULLS FIRST, a.id
               LIMIT $2"#,
            owner,
            i64::from(limit.min(DUE_MAX))
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("look for due apps"))?;
        Ok(rows
            .into_iter()
            .map(|it| AppRef {
                app_id: it.id,
                project: it.project,
                name: it.name,
                unfinished: it.phase.is_some(),
                urgent: it.phase.as_deref() == Some("aborting"),
                wake_at: it.wake_at.map(Timestamp::from),
                version: it.version,
            })
            .collect())
    }

    /// The apps in this replica's shards whose unfinished rollout is due by now, or has no time set.
    /// Costs nothing for apps at rest, so it may be asked every second.
    ///
    /// # Errors
    /// That the database does not answer.
    pub async fn unfinished(&self, owner: Uuid, limit: u32) -> Result<Vec<AppRef>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT r.app_id, r.project, r.app, r.phase, r.wake_at, r.version
               FROM shard s JOIN rollout r ON r.shard = s.number
               WHERE s.owner = $1 AND s.expires_at > clock_timestamp()
                 AND r.phase IN ('pending', 'progressing', 'paused', 'promoting', 'aborting')
                 AND (r.wake_at IS NULL OR r.wake_at <= clock_timestamp())
               ORDER BY r.phase <> 'aborting', r.wake_at NULLS FIRST, r.app_id LIMIT $2"#,
            owner,
            i64::from(limit.min(DUE_MAX))
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::during("look for unfinished rollouts"))?;
        Ok(rows
            .into_iter()
            .map(|it| AppRef {
                app_id: it.app_id,
                project: it.project,
                name: it.app,
                unfinished: true,
                urgent: it.phase == "aborting",
                wake_at: it.wake_at.map(Timestamp::from),
                version: Some(it.version),
            })
            .collect())
    }
}
