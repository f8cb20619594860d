//! Finds the installed programs, or says which package holds a missing one.

use std::path::{Path, PathBuf};

/// A program that is not installed, and how to install it on Debian or Ubuntu.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "find program {name}: it is not installed; install the package {package} with `apt-get install {package}`"
)]
pub struct Missing {
    /// The program looked for, e.g. `haproxy`.
    pub name: String,
    /// The Debian package that holds it.
    pub package: String,
}

/// The programs this crate runs, with the Debian package of each.
const PACKAGES: [(&str, &str); 9] = [
    ("postgres", "postgresql"),
    ("initdb", "postgresql"),
    ("psql", "postgresql"),
    ("haproxy", "haproxy"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("amtool", "prometheus-alertmanager"),
    ("setpriv", "util-linux"),
];

/// The programs that only a Kubernetes node needs.
const NODE_PACKAGES: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("strip", "binutils"),
    ("sha256sum", "coreutils"),
    ("sleep", "coreutils"),
    ("ldd", "libc-bin"),
];

/// The programs that only tests of mail need.
const MAIL_PACKAGES: [(&str, &str); 2] = [("aiosmtpd", "python3-aiosmtpd"), ("openssl", "openssl")];

/// Where system services live that an ordinary user's PATH leaves out.
const SERVICE_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// Where Debian keeps Postgres' programs, one directory a major version.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// The path of a program: from PATH, the service directories, or, for Postgres'
/// own programs, the newest version's directory.
///
/// # Errors
/// [`Missing`], with the package to install.
pub fn find(name: &str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SERVICE_DIRECTORIES.iter().map(PathBuf::from))
        .chain(
            postgres_directories()
                .into_iter()
                .map(|(_, directory)| directory),
        )
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| missing(name))
}

/// The directory of Postgres' programs: of one major version, or the newest.
///
/// # Errors
/// [`Missing`]; for a version that is not there its package is the versioned one.
pub fn postgres_directory(major: Option<u32>) -> Result<PathBuf, Missing> {
    let versions = postgres_directories();
    match major {
        Some(wanted) => versions
            .into_iter()
            .find(|(version, _)| *version == wanted)
            .map(|(_, directory)| directory)
            .ok_or_else(|| Missing {
                name: format!("postgres {wanted}"),
                package: format!("postgresql-{wanted}"),
            }),
        None => match versions.into_iter().next() {
            Some((_, directory)) => Ok(directory),
            // Not laid out as Debian does: take the directory on PATH.
            None => find("initdb")?
                .parent()
                .map(Path::to_path_buf)
                .ok_or_else(|| missing("initdb")),
        },
    }
}

/// Debian's Postgres program directories, newest first.
fn postgres_directories() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(POSTGRES_VERSIONS) else {
        return Vec::new();
    };
    let mut versions: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse::<u32>().ok()?;
            let directory = entry.path().join("bin");
            is_executable(&directory.join("initdb")).then_some((major, directory))
        })
        .collect();
    versions.sort_unstable_by_key(|(major, _)| std::cmp::Reverse(*major));
    versions
}

fn missing(name: &str) -> Missing {
    let package = PACKAGES
        .iter()
        .chain(&NODE_PACKAGES)
        .chain(&MAIL_PACKAGES)
        .find(|(program, _)| *program == name)
        .map_or(name, |(_, package)| package);
    Missing {
        name: name.to_owned(),
        package: package.to_owned(),
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package_and_the_command() {
        let error = find("no-such-program").unwrap_err();
        assert_eq!(
            error.to_string(),
            "find program no-such-program: it is not installed; \
             install the package no-such-program with `apt-get install no-such-program`"
        );
        assert_eq!(missing("initdb").package, "postgresql");
        assert_eq!(
            postgres_directory(Some(1)).unwrap_err().package,
            "postgresql-1"
        );
    }

    #[test]
    fn every_program_of_this_crate_is_found() {
        for (name, _) in PACKAGES {
            assert!(find(name).unwrap().is_absolute(), "{name}");
        }
    }
}
