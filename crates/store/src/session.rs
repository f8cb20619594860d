//! What every connection is like: the role it takes, how long it may hang, and what a database must
//! be so that a commit means something.

use std::time::Duration;

use sqlx::{
    Connection,
    postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions},
};

use crate::{MIGRATIONS, Options, error::StoreError};

/// `xid8`, which orders the events, came with Postgres 13.
const OLDEST_SERVER: i32 = 130_000;
/// A connection that rested for longer is tried before use; a fresh one is not, which saves a round
/// trip where it matters: in the passes of a running rollout.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How long a connection may take to become free again: a statement that was given up runs to its
/// end first, or until `statement_timeout`.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// The limits keep a stopped replica or a wild query from holding a row for ever: 5 s idle within a
/// transaction, 3 s waiting for a lock, 10 s a statement.
const SETUP: &str = "SELECT set_config('idle_in_transaction_session_timeout', '5s', false),
    set_config('lock_timeout', '3s', false), set_config('statement_timeout', '10s', false),
    (SELECT set_config('role', rolname, false) FROM pg_roles
     WHERE rolname = 'sluice_service' AND pg_has_role(session_user, oid, 'MEMBER'))";

/// A pool whose connections are set up. It connects when first used.
pub(crate) fn pool(target: &PgConnectOptions, options: &Options) -> PgPool {
    PgPoolOptions::new()
        .max_connections(options.max_connections)
        .min_connections(options.min_connections)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                // Of a database that went away without a word nothing comes any more: a connection
                // whose query was given up must not be lost to the pool for as long as the kernel
                // waits, which is minutes.
                match tokio::time::timeout(ANSWER_WITHIN, connection.ping()).await {
                    Ok(answered) => answered.map(|()| true),
                    Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
                }
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                // After a failover the same address may be another server.
                if let Some(problem) = problem(connection).await? {
                    tracing::error!(problem, "unsafe database");
                    return Err(sqlx::Error::Configuration(problem.into()));
                }
                sqlx::query(SETUP).execute(connection).await.map(|_| ())
            })
        })
        .connect_lazy_with(target.clone())
}

/// Refuses a database that cannot be trusted with our commits.
pub(crate) async fn check(connection: &mut PgConnection) -> Result<(), StoreError> {
    let problem = problem(connection)
        .await
        .map_err(StoreError::during("check the database"))?;
    match problem {
        Some(problem) => Err(StoreError::UnsafeDatabase { problem }),
        None => Ok(()),
    }
}

async fn problem(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let facts = sqlx::query!(
        r#"SELECT current_setting('synchronous_commit') AS "synchronous_commit!",
                  current_setting('server_version_num')::int AS "version!",
                  current_setting('server_version') AS "version_name!",
                  pg_is_in_recovery() AS "standby!""#
    )
    .fetch_one(connection)
    .await?;
    if facts.version < OLDEST_SERVER {
        return Ok(Some(format!(
            "it runs Postgres {}; use version 13 or newer",
            facts.version_name
        )));
    }
    if facts.synchronous_commit == "off" {
        let problem = "synchronous_commit is off, so a crash loses what was already answered; \
                       run `ALTER SYSTEM SET synchronous_commit = on` and reload, or set it for \
                       this database or user";
        return Ok(Some(problem.to_owned()));
    }
    if facts.standby {
        let problem = "it is a standby, which cannot be written; point the URL at the primary";
        return Ok(Some(problem.to_owned()));
    }
    Ok(None)
}

/// Versions of the migrations that the database has.
pub(crate) async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
    let during = "read the applied migrations";
    let there =
        sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "there!""#)
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::during(during))?;
    if !there {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!("SELECT version FROM _sqlx_migrations ORDER BY version")
        .fetch_all(connection)
        .await
        .map_err(StoreError::during(during))
}

/// Refuses a database that is older than this program. A newer one is fine: migrations first add,
/// and take away only a release later.
pub(crate) async fn check_migrated(connection: &mut PgConnection) -> Result<(), StoreError> {
    let applied = applied(connection).await?;
    match MIGRATIONS.iter().find(|it| !applied.contains(&it.version)) {
        Some(missing) => Err(StoreError::NotMigrated {
            missing: format!("{:04} {}", missing.version, missing.description),
        }),
        None => Ok(()),
    }
}

/// In a cluster restored from a dump, transaction numbers begin again below those in the history;
/// events would then stay invisible until the numbers catch up. Moves the clock past them.
pub(crate) async fn set_event_clock(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE event_clock SET base = newest.txid + 1 - pg_current_xact_id()::text::bigint
         FROM (SELECT txid FROM transition ORDER BY txid DESC, number DESC LIMIT 1) newest
         WHERE newest.txid > pg_current_xact_id()::text::bigint + base"
    )
    .execute(connection)
    .await
    .map_err(StoreError::during("set the event clock"))
    .map(|_| ())
}
