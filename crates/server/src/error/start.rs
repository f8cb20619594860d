//! Why the server did not start, each with the way out.

use std::{io, net::SocketAddr, path::PathBuf};

use store::StoreError;

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error("use the database in DATABASE_URL")]
    Database {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The database is not as this version needs it.
    #[error("the database lacks migration {missing}: run `sluice migrate` first")]
    MigrationsMissing {
        /// The first one that is missing.
        missing: String,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}{}", way_out(address, source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The directory for drivers' files cannot be written.
    #[error("write to the data directory {}: make it writable or choose another one", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The client for outgoing calls cannot be made.
    #[error("make the HTTP client")]
    Http {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The processes of earlier runs cannot be taken over.
    #[error("take over the processes: {detail}")]
    Processes {
        /// Why.
        detail: String,
    },
    /// The thread that renews leases cannot be started.
    #[error("start the thread that renews leases")]
    Thread {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Connections cannot be accepted any more.
    #[error("accept connections")]
    Serve {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What to do about an address that cannot be listened on.
fn way_out(address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            ": port {} is taken; stop what listens there or set PORT to another one",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => {
            ": this port is for privileged users; set PORT to one above 1023".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address".to_owned(),
        _ => String::new(),
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotMigrated { missing } => Self::MigrationsMissing { missing },
            source => Self::Database { source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let address = "127.0.0.1:8080".parse().unwrap();
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        let error = StartError::Bind { address, source };
        assert_eq!(
            error.to_string(),
            "listen on 127.0.0.1:8080: port 8080 is taken; stop what listens there or set PORT to another one"
        );
    }
}
