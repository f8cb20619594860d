//! `instance.json`: by it a new Sluice finds the instances that an old one started.
//!
//! It is written between the spawn and the word that lets the process go on (see `launch`), so
//! that nothing ever runs without being on record.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;
use rollout::Revision;
use serde::{Deserialize, Serialize};

use super::Process;
use crate::AppKey;

/// Directories of instances that are gone are kept for their logs, this many an app.
const GONE_KEPT: usize = 10;

const FILE: &str = "instance.json";

/// What is known of a process that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) project: String,
    pub(super) app: String,
    pub(super) revision: Revision,
    /// The `n` of its name `rR-n`.
    pub(super) number: u32,
    pub(super) pid: u32,
    /// In clock ticks since boot: with the pid, the identity of the process.
    pub(super) start_time: u64,
    pub(super) boot_id: String,
    pub(super) port: u16,
    pub(super) artifact: String,
    pub(super) argv: Vec<String>,
    pub(super) settings: Process,
    pub(super) restarts: u32,
    pub(super) started_at: Timestamp,
    /// It was told to end and is not to be started again.
    pub(super) stopping: bool,
}

impl Record {
    /// The app it belongs to.
    pub(super) fn key(&self) -> AppKey {
        AppKey {
            project: self.project.clone(),
            app: self.app.clone(),
        }
    }

    /// Writes it into `directory`, whole or not at all. There is no fsync: what it describes does
    /// not outlive a power failure either.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let temporary = directory.join("instance.json.new");
        let mut options = OpenOptions::new();
        // Settings may hold secrets in their environment.
        let mut file = options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(temporary, directory.join(FILE))
    }

    /// Reads the one in `directory`, when there is one.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Self>> {
        match fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where the instance `name` of `app` keeps its files.
pub(super) fn directory(root: &Path, app: &AppKey, name: &str) -> PathBuf {
    root.join(&app.project).join(&app.app).join(name)
}

/// Makes a directory and those above it, for their owner only.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Every record below `root`. One that cannot be read is reported and left where it is.
pub(super) fn all(root: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    for directory in subdirectories(root).flat_map(|it| subdirectories(&it).collect::<Vec<_>>()) {
        for instance in subdirectories(&directory) {
            match Record::read(&instance) {
                Ok(record) => records.extend(record),
                Err(error) => {
                    let directory = instance.display();
                    tracing::error!(%directory, %error, "read the record of an instance");
                }
            }
        }
    }
    records
}

/// Removes the record in `directory`, and the oldest leftovers of instances beside it.
pub(super) fn forget(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let Some(app) = directory.parent() else {
        return Ok(());
    };
    let gone = subdirectories(app).filter(|it| !it.join(FILE).exists());
    let age = |it: PathBuf| {
        // Without a log it may be one that is being made right now: then its own age counts.
        let file = it.join("log").metadata().or_else(|_| it.metadata());
        (
            file.and_then(|it| it.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            it,
        )
    };
    let mut gone: Vec<(SystemTime, PathBuf)> = gone.map(age).collect();
    gone.sort();
    let surplus = gone.len().saturating_sub(GONE_KEPT);
    for (_, directory) in gone.into_iter().take(surplus) {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

fn subdirectories(path: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|it| it.file_type().is_ok_and(|it| it.is_dir()))
        .map(|it| it.path())
}
