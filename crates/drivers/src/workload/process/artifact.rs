//! Checks what is deployed: that it is there, that it can be run, what its digest is.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustix::fs::Access;
use sha2::{Digest, Sha256};

use super::super::ResolvedArtifact;

/// Files above this size get no digest: reading them would hold up the deploy for seconds.
const DIGEST_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// The artifact as an absolute path with its links followed, so that a link that is moved later
/// does not change a revision. A relative path starts at `directory`, else where Sluice runs.
/// Whether it is `program`, what is run, decides whether it must be an executable file.
pub(super) async fn resolve(
    program: bool,
    directory: Option<PathBuf>,
    artifact: String,
) -> Result<ResolvedArtifact, String> {
    let shown = artifact.clone();
    let checked = tokio::task::spawn_blocking(move || check(program, directory, &artifact)).await;
    checked.unwrap_or_else(|it| {
        Err(format!(
            "\"{shown}\" could not be checked ({it}); try again"
        ))
    })
}

fn check(
    program: bool,
    directory: Option<PathBuf>,
    artifact: &str,
) -> Result<ResolvedArtifact, String> {
    let from = directory.unwrap_or_default().join(artifact);
    let path = match from.canonicalize() {
        Ok(path) => path,
        Err(it) if it.kind() == io::ErrorKind::NotFound => {
            let kind = if program {
                "an executable file"
            } else {
                "a file or directory"
            };
            return Err(format!(
                "\"{artifact}\" is not there; give the path of {kind} on this host"
            ));
        }
        Err(it) => {
            return Err(format!(
                "\"{artifact}\" cannot be read ({it}); correct the path or its rights"
            ));
        }
    };
    let metadata = path
        .metadata()
        .map_err(|it| format!("\"{artifact}\" cannot be read ({it}); correct its rights"))?;
    if metadata.is_dir() && program {
        return Err(format!(
            "\"{artifact}\" is a directory; give an executable file, or name the program in the app file's command"
        ));
    }
    if program && !is_executable(&path) {
        return Err(format!(
            "\"{artifact}\" is not executable; chmod +x it, or name its interpreter in the app file's command"
        ));
    }
    let digest =
        match metadata.is_file() && metadata.len() <= DIGEST_MAX_BYTES {
            true => Some(digest(&path).map_err(|it| {
                format!("\"{artifact}\" cannot be read ({it}); correct its rights")
            })?),
            false => None,
        };
    match path.to_str() {
        Some(path) => Ok(ResolvedArtifact {
            artifact: path.to_owned(),
            digest,
            content: None,
        }),
        None => Err(format!(
            "the path of \"{artifact}\" is not UTF-8; rename it"
        )),
    }
}

/// Whether `path` is a file that this process may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?.take(DIGEST_MAX_BYTES);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    let hex: String = hash
        .finalize()
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    Ok(format!("sha256:{hex}"))
}
