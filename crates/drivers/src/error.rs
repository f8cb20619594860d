//! Why a driver could not do its work.

/// A driver call that failed. Nothing may be concluded about the world from it.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {detail}")]
pub struct DriverError {
    /// What was being done, e.g. `connect to /run/haproxy.sock`.
    pub operation: String,
    /// What came back, in one sentence with the way out where there is one.
    pub detail: String,
    /// Whether the same call may succeed later without anybody changing anything.
    pub transient: bool,
    /// Whether nothing is wrong: it goes on when somebody else has done what is under way.
    pub pending: bool,
}

impl DriverError {
    /// A failure that may pass by itself.
    pub fn transient(operation: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self {
            operation: operation.into(),
            detail: detail.to_string(),
            transient: true,
            pending: false,
        }
    }

    /// Nothing is wrong; it waits until somebody else has done what is under way.
    pub fn pending(operation: impl Into<String>, until: impl std::fmt::Display) -> Self {
        Self {
            operation: operation.into(),
            detail: format!("waits until {until}"),
            transient: true,
            pending: true,
        }
    }

    /// A failure that stays until somebody changes something.
    pub fn permanent(operation: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self {
            operation: operation.into(),
            detail: detail.to_string(),
            transient: false,
            pending: false,
        }
    }
}
