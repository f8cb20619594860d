//! Where the control plane's binary is: `scripts/kubernetes` builds it and keeps
//! it in the user's cache directory, with what belongs to it.
//!
//! ```text
//!   <cache>/sluice/kubernetes/1.36/       a link to what was built last
//!      controlplane                       etcd, the API server, …, kubectl
//!      kwok                               a link to the binary that holds KWOK
//!      gateway-api/*.yaml                 the Gateway API's custom resources
//! ```

use std::path::{Path, PathBuf};

/// The variable that names another binary, e.g. one of an older version.
pub const VARIABLE: &str = "SLUICE_CONTROLPLANE";

/// The version that tests run when nobody names another.
const VERSION: &str = "1.36";

/// The control plane was not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "find the Kubernetes control plane: {} is not there; build it with `scripts/kubernetes` \
     (once; several minutes), or name one by the variable {VARIABLE}",
    path.display()
)]
pub struct Missing {
    /// Where it was looked for.
    pub path: PathBuf,
}

/// The built control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    controlplane: PathBuf,
}

impl Binary {
    /// The one that [`VARIABLE`] names, else the newest that the script built.
    ///
    /// # Errors
    /// [`Missing`], with what builds it.
    pub fn find() -> Result<Self, Missing> {
        let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
        Self::at(&named.map_or_else(built, PathBuf::from))
    }

    /// The one at this path.
    ///
    /// # Errors
    /// [`Missing`], with what builds it.
    pub fn at(path: &Path) -> Result<Self, Missing> {
        // The link may point elsewhere later: what is running stays what it is.
        path.canonicalize()
            .ok()
            .filter(|path| path.is_file())
            .map(|controlplane| Self { controlplane })
            .ok_or_else(|| Missing {
                path: path.to_owned(),
            })
    }

    /// The program; its first argument says what it is, e.g. `kubectl`.
    pub fn path(&self) -> &Path {
        &self.controlplane
    }

    /// The program that runs KWOK when `kwok` is its first argument.
    pub(super) fn kwok(&self) -> PathBuf {
        self.controlplane
            .with_file_name("kwok")
            .canonicalize()
            .unwrap_or_else(|_| self.controlplane.clone())
    }

    /// The directory with the Gateway API's custom resources.
    pub(super) fn gateway_api(&self) -> PathBuf {
        self.controlplane.with_file_name("gateway-api")
    }
}

/// Where the script leaves the newest version.
fn built() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache
        .unwrap_or_default()
        .join("sluice/kubernetes")
        .join(VERSION)
        .join("controlplane")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_names_the_script_that_builds_it() {
        let error = Binary::at(Path::new("/nowhere/controlplane")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "find the Kubernetes control plane: /nowhere/controlplane is not there; build it with \
             `scripts/kubernetes` (once; several minutes), or name one by the variable \
             SLUICE_CONTROLPLANE"
        );
    }
}
