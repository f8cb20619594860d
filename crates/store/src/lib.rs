//! # What do we store, and why
//!
//! Postgres is the only place where Sluice remembers. A replica of the service holds nothing that a
//! crash may lose: each pass begins with one read and ends with one write.
//!
//! | table | one row is | written by | growth |
//! |---|---|---|---|
//! | `app` | what people own: their document, the stable revision | people; the commit that ends a rollout | apps; deleted ones are kept |
//! | `revision` | a version of an app, numbered in the app | the first rollout that asks for it | deploys |
//! | `rollout` | where a rollout stands: plan, state, gates, what it waits for | the lease's holder and people, by compare-and-set on `version` | deploys |
//! | `transition` | one change of a rollout's state, and its cause | the write that changes the state | about 10 a rollout, for ever |
//! | `measurement` | one answer to a gate's question | the lease's holder | one an interval a gate while measured |
//! | `shard` | the lease on 1/64 of the apps | each replica every two seconds | 64 rows |
//! | `replica` | a living replica | itself | replicas |
//! | `outbox` | a notice to the outside world | with the transition that causes it | kept 7 days once closed |
//! | `api_token` | a token's hash and rights | people | tokens |
//! | `session` | a signed-in browser: a hash, and whom it stands for | people who sign in | kept a day after its end |
//! | `sign_in` | what must come back from the identity provider | who begins to sign in | kept 10 minutes |
//! | `id_token_seen` | an ID token that a CI job exchanged | the exchange | kept a day after its end |
//! | `idempotency_key` | the answer to a request | with what the request did | kept 24 h |
//! | `alert_seen` | an alert acted on | with what it caused | kept 30 days |
//! | `audit` | something asked for that is no order to a rollout, and what became of it | people and machines, before and after | about 2 a change, for ever |
//! | `audit_seal` | the chain over `transition` and `audit` | any replica, every few seconds | one a busy moment |
//! | `freeze_window` | a time in which nothing new begins | people | windows; those taken away are kept |
//! | `calibration` | what a gate's past says of it | people | gates |
//!
//! - **One write.** A rollout's state, its history row, measurements and notices are one statement
//!   ([`Store::commit`]): one round trip and one fsync, which is what a commit costs.
//! - **History is append-only** (invariant I6). The service's role has no right to change it, a
//!   trigger refuses everybody, the database numbers the rows and chains them by hash, and
//!   [`Store::verify_history`] finds what got past all that.
//! - **Leases are fenced** (I7). The write itself checks that the lease is held under its epoch, by
//!   the database's clock. A replica that lost it writes nothing, however long it slept.
//! - **NOTIFY wakes, looking finds.** Notifications are hints; [`Store::due`] is the truth.
//! - Nothing polls an app: one that is at rest costs a row and no queries.

mod apps;
mod audit;
mod calibrations;
mod claims;
mod commit;
mod error;
mod events;
mod freezes;
mod history;
mod idempotency;
mod listen;
mod measurements;
mod outbox;
mod outcomes;
mod people;
mod projects;
mod rollouts;
mod seals;
mod session;
mod tokens;
mod verify;

pub mod alerts;

use std::{str::FromStr, time::Duration};

use rollout::Revision;
use sqlx::{
    Connection,
    migrate::{Migrate, Migrator},
    postgres::{PgConnectOptions, PgConnection, PgPool},
};

pub use alerts::{AlertKey, AlertRules};
pub use apps::{App, AppSummary, RevisionRow, RolloutSummary};
pub use audit::{AuditAbout, AuditFilter, AuditLine, AuditPlace, NewAudit};
pub use calibrations::CalibrationRow;
pub use claims::{AppRef, Fence, LEASE_TTL, Lease, PassInput, SHARDS};
pub use commit::{Commit, MeasurementRow};
pub use error::{Lost, StoreError};
pub use events::EventCursor;
pub use freezes::{FreezeRow, FreezeRule};
pub use history::TransitionRow;
pub use idempotency::Idempotency;
pub use listen::{Listener, Notification};
pub use measurements::StoredMeasurement;
pub use outbox::{NewNotice, Notice};
pub use outcomes::Outcomes;
pub use people::{SessionOf, SessionRow, SignInRow};
pub use projects::ProjectSettings;
pub use rollouts::{Change, CreateFacts, Created, NewRevision, NewRollout, Rollout, RolloutFilter};
pub use seals::{AuditChecked, AuditHead, AuditProblem};
pub use tokens::{Token, TokenRow};
pub use verify::HistoryProblem;

/// The schema, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Most rows that one call returns, whatever is asked for: keeps memory and answers bounded.
pub const PAGE_MAX: u32 = 1000;

/// The store: a pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    /// For connections outside the pool, which must not count against its limit.
    options: PgConnectOptions,
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections at a time.
    pub max_connections: u32,
    /// How many are kept open though nobody uses them.
    pub min_connections: u32,
    /// How long a call waits for a free connection before it fails as unavailable.
    pub acquire_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 10,
            min_connections: 0,
            acquire_timeout: Duration::from_secs(1),
        }
    }
}

impl Store {
    /// Connects, and makes sure that the database keeps what it is told and has our schema.
    ///
    /// # Errors
    /// [`StoreError::UnsafeDatabase`], [`StoreError::NotMigrated`], or that it cannot be reached.
    pub async fn connect(url: &str, options: Options) -> Result<Self, StoreError> {
        let target = parse(url)?;
        let mut first = PgConnection::connect_with(&target)
            .await
            .map_err(StoreError::during("connect to Postgres"))?;
        session::check(&mut first).await?;
        session::check_migrated(&mut first).await?;
        first
            .close()
            .await
            .map_err(StoreError::during("connect to Postgres"))?;
        Ok(Self {
            pool: session::pool(&target, &options),
            options: target,
        })
    }

    /// Brings the database's schema up to date, as the user in `url`, who will own it. Returns the
    /// names of the migrations that were applied. Safe to run on several replicas at once.
    ///
    /// # Errors
    /// [`StoreError::UnsafeDatabase`] for a server older than 13, [`StoreError::Migrate`] when a
    /// migration fails, or that it cannot be reached.
    pub async fn migrate(url: &str) -> Result<Vec<String>, StoreError> {
        let during = "connect to Postgres";
        let mut connection = PgConnection::connect_with(&parse(url)?)
            .await
            .map_err(StoreError::during(during))?;
        session::check(&mut connection).await?;
        // Held over the look before and the work, so that of two replicas each tells what it did.
        // Released with the connection, however this ends; `run` takes it once more.
        connection
            .lock()
            .await
            .map_err(|source| StoreError::Migrate { source })?;
        let before = session::applied(&mut connection).await?;
        MIGRATIONS
            .run(&mut connection)
            .await
            .map_err(|source| match source {
                sqlx::migrate::MigrateError::Execute(source) => {
                    StoreError::during("migrate the database")(source)
                }
                source => StoreError::Migrate { source },
            })?;
        session::set_event_clock(&mut connection).await?;
        connection
            .close()
            .await
            .map_err(StoreError::during(during))?;
        Ok(MIGRATIONS
            .iter()
            .filter(|it| !before.contains(&it.version))
            .map(|it| format!("{:04} {}", it.version, it.description))
            .collect())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// That it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("SELECT 1 AS one")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::during("ping"))
            .map(|_| ())
    }

    /// Closes all connections; calls after this fail as unavailable.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    PgConnectOptions::from_str(url)
        .map(|it| it.application_name("sluice"))
        .map_err(|source| StoreError::Url { source })
}

/// A revision's number as Postgres keeps it. The database holds none above `i32::MAX`, so the
/// largest stands for all those that cannot be there.
fn number(revision: Revision) -> i32 {
    i32::try_from(revision.0).unwrap_or(i32::MAX)
}

/// A stored number as a revision. The schema allows only positive ones.
fn revision(number: i32) -> Revision {
    Revision(number.unsigned_abs())
}

/// `limit`, within what one call may return.
fn page(limit: u32) -> i64 {
    i64::from(limit.clamp(1, PAGE_MAX))
}
