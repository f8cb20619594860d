//! Where a local Sluice keeps its files.
//!
//! ```text
//!   DIR/admin-token   the admin token of `sluice up`, mode 600
//!   DIR/postgres      the managed Postgres of `sluice up`
//!   DIR/server        instance records and logs of the drivers
//! ```

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::exit::Usage;

/// A data directory; it need not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// `given`, or the place where the system wants such files: `$XDG_DATA_HOME/sluice`,
    /// `~/.local/share/sluice`, and for root `/var/lib/sluice`, because Postgres, which does not
    /// run as root, cannot enter root's home.
    pub(crate) fn find(given: Option<&Path>) -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name).filter(|it| !it.is_empty());
        let path = match (given, variable("XDG_DATA_HOME"), variable("HOME")) {
            (Some(path), _, _) => std::path::absolute(path)?,
            (None, Some(xdg), _) => PathBuf::from(xdg).join("sluice"),
            (None, None, _) if is_root() => PathBuf::from("/var/lib/sluice"),
            (None, None, Some(home)) => PathBuf::from(home).join(".local/share/sluice"),
            (None, None, None) => {
                return Err(Usage::error(
                    "no place for data: set SLUICE_DATA to a directory (HOME is not set either)",
                ));
            }
        };
        Ok(Self(path))
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The admin token's file.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.0.join("admin-token")
    }

    /// The managed Postgres' directory.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// The drivers' directory.
    pub(crate) fn server(&self) -> PathBuf {
        self.0.join("server")
    }

    /// Makes it where it is missing: only its owner may list it. Root's may be passed through, so
    /// that the managed Postgres, which runs as another user, reaches its part.
    pub(crate) fn make(&self) -> anyhow::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(if is_root() { 0o711 } else { 0o700 })
            .create(&self.0)
            .with_context(|| format!("make the data directory {}", self.0.display()))
    }

    /// Opens the place for an admin token before one is made: a token that cannot be kept must
    /// not be made, because its text is given only once.
    pub(crate) fn token_place(&self) -> anyhow::Result<TokenPlace> {
        let path = self.admin_token();
        let fresh = path.with_extension("new");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&fresh)
            .with_context(|| format!("write {}", fresh.display()))?;
        Ok(TokenPlace { file, fresh, path })
    }
}

/// An open file that becomes the admin token's, whole or not at all.
#[derive(Debug)]
pub(crate) struct TokenPlace {
    file: File,
    fresh: PathBuf,
    path: PathBuf,
}

impl TokenPlace {
    /// Writes the token and puts the file in its place.
    pub(crate) fn keep(mut self, token: &SecretString) -> anyhow::Result<()> {
        writeln!(self.file, "{}", token.expose_secret())
            .and_then(|()| self.file.sync_all())
            .and_then(|()| std::fs::rename(&self.fresh, &self.path))
            .with_context(|| format!("write {}", self.path.display()))
    }

    /// Takes the empty file away again.
    pub(crate) fn give_up(self) -> anyhow::Result<()> {
        std::fs::remove_file(&self.fresh)
            .with_context(|| format!("remove {}", self.fresh.display()))
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn admin_token_is_readable_by_its_owner_only() {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataDir::find(Some(&temporary.path().join("data"))).unwrap();
        data.make().unwrap();
        let token = SecretString::from("sluice_admin_x");
        data.token_place().unwrap().keep(&token).unwrap();
        let path = data.admin_token();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "sluice_admin_x\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        data.token_place().unwrap().give_up().unwrap();
        let names = std::fs::read_dir(data.path()).unwrap().count();
        assert_eq!(names, 1, "nothing else is left");
    }
}
