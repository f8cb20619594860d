//! What can go wrong, told apart by what the caller can do about it.

use std::time::Duration;

use uuid::Uuid;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("no such {what}")]
    NotFound {
        /// `app`, `revision`, `rollout` or `token`.
        what: &'static str,
    },
    /// The app is not at the version the caller expected (`If-Match`).
    #[error("version conflict: now at {current:?}")]
    VersionConflict {
        /// The version now; `None`: the app does not exist.
        current: Option<i64>,
    },
    /// Something else has this name.
    #[error("the name is taken")]
    NameTaken,
    /// Somebody else was faster or holds the lease now; nothing was written. Drop what was decided
    /// and load again.
    #[error("lost: {what}")]
    Lost {
        /// Which of the two.
        what: Lost,
    },
    /// The app's state changed in the commit, but no transition says why. A bug of the caller.
    #[error("state changed without a transition")]
    Unrecorded,
    /// Refused while this rollout has not ended.
    #[error("rollout {id} is active")]
    RolloutActive {
        /// The one in the way.
        id: Uuid,
    },
    /// The idempotency key was used for another request.
    #[error("idempotency key was used with another body")]
    KeyReused,
    /// The request with this idempotency key is being worked on.
    #[error("a request with this idempotency key is in flight")]
    KeyInFlight,
    /// This alert was acted on before; nothing was written.
    #[error("alert was acted on before")]
    Duplicate,
    /// Not a cursor of ours.
    #[error("not a cursor: {cursor:?}")]
    BadCursor {
        /// As given.
        cursor: String,
    },
    /// A text holds a NUL character, which Postgres cannot keep.
    #[error("a text holds a NUL character")]
    Unstorable,
    /// The database would lose or fork what we commit; says how to set it right.
    #[error("unsafe database: {problem}")]
    UnsafeDatabase {
        /// One sentence with the way out.
        problem: String,
    },
    /// The database's schema is older than this program.
    #[error("database lacks migration {missing}; run `sluice migrate`")]
    NotMigrated {
        /// The first one that is missing.
        missing: String,
    },
    /// The URL cannot be understood.
    #[error("read the database URL")]
    Url {
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed; earlier ones stay applied.
    #[error("migrate the database")]
    Migrate {
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Transactions got in each other's way more often than we try again. Nothing was written.
    #[error("{operation}: too much contention")]
    Contention {
        /// What was being done.
        operation: &'static str,
        /// The last refusal.
        #[source]
        source: sqlx::Error,
    },
    /// Postgres cannot be reached or refuses work for now. Nothing was written.
    #[error("{operation}: Postgres is unavailable")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The connection was lost while committing: it may or may not have been written. Read again
    /// before anything else.
    #[error("{operation}: outcome unknown")]
    CommitUnknown {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A row or a value cannot be turned into the other's form.
    #[error("{operation}: convert a stored value")]
    Value {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Postgres refused the query. A bug, or a schema that is not ours.
    #[error("{operation}")]
    Query {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

/// What was lost to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The rollout was written since it was read.
    #[error("the rollout changed meanwhile")]
    VersionConflict,
    /// The shard's lease is not held under this epoch any more.
    #[error("the lease is not held any more")]
    LeaseLost,
}

impl StoreError {
    /// Whether trying the same again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Contention { .. } | Self::Unavailable { .. } | Self::KeyInFlight => true,
            Self::NotFound { .. }
            | Self::VersionConflict { .. }
            | Self::Lost { .. }
            | Self::Unrecorded
            | Self::RolloutActive { .. }
            | Self::KeyReused
            | Self::Duplicate
            | Self::NameTaken
            | Self::BadCursor { .. }
            | Self::Unstorable
            | Self::UnsafeDatabase { .. }
            | Self::NotMigrated { .. }
            | Self::Url { .. }
            | Self::Migrate { .. }
            | Self::CommitUnknown { .. }
            | Self::Value { .. }
            | Self::Query { .. } => false,
        }
    }

    /// An error before or without a commit: nothing was written.
    pub(crate) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match kind(&source) {
            Kind::Contention => Self::Contention { operation, source },
            Kind::Gone | Kind::Busy => Self::Unavailable { operation, source },
            Kind::Nul => Self::Unstorable,
            Kind::Other => Self::Query { operation, source },
        }
    }

    /// An error of the statement that commits: if the connection is gone, nobody knows.
    pub(crate) fn committing(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| match kind(&source) {
            Kind::Gone => Self::CommitUnknown { operation, source },
            Kind::Contention | Kind::Busy | Kind::Nul | Kind::Other => {
                Self::during(operation)(source)
            }
        }
    }

    pub(crate) fn value(operation: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Value { operation, source }
    }
}

/// What an error of the database driver means to us.
enum Kind {
    /// The transaction met another one; a new attempt may succeed.
    Contention,
    /// The connection is lost.
    Gone,
    /// The connection is fine or was never made; the database cannot work now.
    Busy,
    /// A NUL character in a text.
    Nul,
    Other,
}

fn kind(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => Kind::Gone,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::BeginFailed => {
            Kind::Busy
        }
        sqlx::Error::Database(error) => error.code().map_or(Kind::Other, |code| of_code(&code)),
        _ => Kind::Other,
    }
}

/// By SQLSTATE, from the table in Postgres' documentation (appendix A).
fn of_code(code: &str) -> Kind {
    match code {
        // serialization_failure, deadlock_detected
        "40001" | "40P01" => Kind::Contention,
        // admin_shutdown, crash_shutdown; idle_in_transaction_session_timeout
        "57P01" | "57P02" | "25P03" => Kind::Gone,
        // cannot_connect_now (starting up), query_canceled (statement timeout),
        // lock_not_available (lock timeout), read_only_sql_transaction (a standby)
        "57P03" | "57014" | "55P03" | "25006" => Kind::Busy,
        // untranslatable_character (\u0000 in jsonb), character_not_in_repertoire (0x00 in text)
        "22P05" | "22021" => Kind::Nul,
        // connection_exception
        code if code.starts_with("08") => Kind::Gone,
        // insufficient_resources: disk full, out of memory, too many connections
        code if code.starts_with("53") => Kind::Busy,
        _ => Kind::Other,
    }
}

/// Name of the constraint that was violated, if that is what happened.
pub(crate) fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|it| it.constraint())
}

/// Attempts after the first one: enough for a burst, few enough to stay below a second.
const RETRIES_MAX: u32 = 5;
/// The first pause; doubled each time and jittered between half and whole.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Counts the attempts at one whole transaction.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    made: u32,
}

impl Retries {
    /// Whether to try again after `error`; if so, some time has passed on return.
    pub(crate) async fn again(&mut self, error: &StoreError) -> bool {
        if !matches!(error, StoreError::Contention { .. }) || self.made >= RETRIES_MAX {
            return false;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.made);
        self.made += 1;
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        true
    }
}

/// Runs a whole transaction, again if it met another one. Only contention is tried again: an
/// unknown outcome never is.
macro_rules! retrying {
    ($transaction:expr) => {{
        let mut retries = $crate::error::Retries::default();
        loop {
            match $transaction.await {
                Err(error) if retries.again(&error).await => {}
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use retrying;
