//! Who may talk to the API server, by static tokens, and the files that say so.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::json;

/// May do everything, and no limit of requests holds for it.
pub const ADMIN: &str = "admin";
/// May do nothing until a role is bound to it.
pub const SLUICE: &str = "sluice";
/// The controller manager, as the built-in roles know it.
pub(super) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The scheduler, as the built-in roles know it.
pub(super) const SCHEDULER: &str = "system:kube-scheduler";

/// A user with a token of its own.
#[derive(Debug, Clone)]
pub struct User {
    /// Its name, as roles are bound to it.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
}

impl User {
    /// A user without groups: it may do what is bound to its name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            groups: Vec::new(),
        }
    }

    /// Puts it into a group, e.g. `system:nodes`.
    #[must_use]
    pub fn group(mut self, name: &str) -> Self {
        self.groups.push(name.to_owned());
        self
    }
}

/// The users of one control plane.
#[derive(Debug)]
pub(super) struct Users {
    users: Vec<(User, String)>,
    directory: PathBuf,
}

impl Users {
    /// Gives those that are always there and `more` a token each, and writes the
    /// file that the API server reads.
    pub(super) fn write(directory: &Path, more: &[User]) -> anyhow::Result<Self> {
        let always = [
            User::new(ADMIN).group("system:masters"),
            User::new(SLUICE),
            User::new(CONTROLLER_MANAGER),
            User::new(SCHEDULER),
        ];
        let users: Vec<(User, String)> = always
            .into_iter()
            .chain(more.iter().cloned())
            .map(|user| (user, token()))
            .collect();
        let mut text = String::new();
        for (number, (user, token)) in users.iter().enumerate() {
            let strange = |text: &str| text.contains([',', '"', '\n']);
            ensure!(
                !strange(&user.name) && !user.groups.iter().any(|name| strange(name)),
                "write tokens: the name or a group of {user:?} cannot be written"
            );
            let groups = match user.groups.as_slice() {
                [] => String::new(),
                groups => format!(",\"{}\"", groups.join(",")),
            };
            text.push_str(&format!("{token},{},{number}{groups}\n", user.name));
        }
        let users = Self {
            users,
            directory: directory.to_owned(),
        };
        write_private(&users.tokens_path(), &text)?;
        Ok(users)
    }

    /// The file that the API server reads.
    pub(super) fn tokens_path(&self) -> PathBuf {
        self.directory.join("tokens.csv")
    }

    /// A user's token.
    pub(super) fn token(&self, name: &str) -> anyhow::Result<&str> {
        self.users
            .iter()
            .find(|(user, _)| user.name == name)
            .map(|(_, token)| token.as_str())
            .with_context(|| format!("find user {name}: the control plane was not told of it"))
    }

    /// Where a user's kubeconfig is.
    pub(super) fn kubeconfig_path(&self, name: &str) -> PathBuf {
        let name = name.replace([':', '/'], "-");
        self.directory.join(format!("{name}.kubeconfig"))
    }

    /// Writes each user's kubeconfig. JSON is YAML, and needs no quoting rules.
    pub(super) fn write_kubeconfigs(&self, url: &str, authority: &Path) -> anyhow::Result<()> {
        for (user, token) in &self.users {
            write_kubeconfig(&self.kubeconfig_path(&user.name), url, authority, token)?;
        }
        Ok(())
    }
}

/// Writes the kubeconfig of whoever has `token`.
pub(super) fn write_kubeconfig(
    path: &Path,
    url: &str,
    authority: &Path,
    token: &str,
) -> anyhow::Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    write_private(path, &config.to_string())
}

/// A token that nobody on this machine guesses: two hashes with fresh random keys.
fn token() -> String {
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("write {}", path.display());
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_break_the_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = Users::write(directory.path(), &[User::new("a,b")]).unwrap_err();
        assert!(error.to_string().contains("cannot be written"), "{error:#}");
    }

    #[test]
    fn every_user_has_a_token_of_its_own_and_strangers_have_none() {
        let directory = tempfile::tempdir().unwrap();
        let node = User::new("system:node:a").group("system:nodes");
        let users = Users::write(directory.path(), &[node]).unwrap();
        assert_ne!(users.token(ADMIN).unwrap(), users.token(SLUICE).unwrap());
        assert!(users.token("stranger").is_err());
        let written = std::fs::read_to_string(users.tokens_path()).unwrap();
        assert!(
            written.ends_with(",system:node:a,4,\"system:nodes\"\n"),
            "{written}"
        );
    }
}
