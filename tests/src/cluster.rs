//! A Kubernetes control plane for the tests of one process: they share it, and each works in a
//! namespace of its own. A test that is going to hurt it starts one for itself.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use local::kubernetes::{ControlPlane, Options};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// A running control plane and its directory; the control plane goes first.
#[derive(Debug)]
pub struct Cluster {
    plane: ControlPlane,
    _directory: TempDir,
}

impl Cluster {
    /// One for the caller alone.
    ///
    /// # Errors
    /// When it was not built or does not start.
    pub async fn own(options: Options) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("sluice-e2e-kubernetes-")
            .tempdir()?;
        Ok(Self {
            plane: ControlPlane::start(directory.path(), options).await?,
            _directory: directory,
        })
    }

    /// The one that all tests of this process use, with the Gateway API; started when nobody
    /// uses it yet. It ends with its last user.
    ///
    /// # Errors
    /// When it was not built or does not start.
    pub async fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return Ok(cluster);
        }
        let options = Options {
            gateway_api: true,
            ..Options::default()
        };
        let cluster = Arc::new(Self::own(options).await?);
        *shared = Arc::downgrade(&cluster);
        Ok(cluster)
    }

    /// For what breaks it.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        &self.plane
    }
}
