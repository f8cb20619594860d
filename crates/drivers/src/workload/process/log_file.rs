//! An instance's output: one file that is appended to, and one older file.
//!
//! The instance writes to the file itself, so that it goes on while Sluice is down. Rotation is
//! therefore copy and truncate: lines written between the two are lost, which is the price for
//! not standing between the instance and its log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A log above this size is rotated.
const ROTATE_ABOVE_BYTES: u64 = 10 * 1024 * 1024;

/// How much of the end of a log is searched for its last line.
const TAIL_BYTES: u64 = 4096;

/// Longest last line that is shown.
const LINE_MAX_CHARS: usize = 200;

/// The log inside an instance's directory.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// Opens it for appending, readable by its owner only: services log secrets more often than one
/// would like.
pub(super) fn open(directory: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path(directory))
}

/// Moves a log that has grown too large into `log.1`.
pub(super) fn rotate(directory: &Path) -> io::Result<()> {
    let log = path(directory);
    let size = log.metadata()?.len();
    if size <= ROTATE_ABOVE_BYTES {
        return Ok(());
    }
    // Only the newest part is kept, should it have grown far beyond the limit in between.
    let mut from = File::open(&log)?;
    from.seek(SeekFrom::Start(size - ROTATE_ABOVE_BYTES))?;
    let older = directory.join("log.1");
    let mut to = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(older)?;
    io::copy(&mut from.take(ROTATE_ABOVE_BYTES), &mut to)?;
    OpenOptions::new().write(true).open(&log)?.set_len(0)
}

/// The last line that says something, shortened; empty when there is none.
pub(super) fn last_line(directory: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path(directory))?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    let line = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|it| !it.is_empty())
        .unwrap_or_default();
    line.chars()
        .filter(|it| !it.is_control())
        .take(LINE_MAX_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn a_large_log_is_rotated_and_keeps_being_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path()).unwrap();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..11 {
            log.write_all(&line).unwrap();
        }
        rotate(directory.path()).unwrap();
        let size = || fs::metadata(path(directory.path())).unwrap().len();
        assert_eq!(size(), 0);
        assert_eq!(
            fs::metadata(directory.path().join("log.1")).unwrap().len(),
            ROTATE_ABOVE_BYTES
        );
        log.write_all(b"first\nlast \n\n").unwrap();
        assert_eq!(last_line(directory.path()), "last");
        assert_eq!(size(), 13, "no hole is left in front");
        rotate(directory.path()).unwrap();
        assert_eq!(
            last_line(directory.path()),
            "last",
            "a small one is left alone"
        );
    }
}
