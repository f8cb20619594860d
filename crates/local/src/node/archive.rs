//! Writes tar archives: regular files and directories of root, without times, so that the same
//! content gives the same bytes and the same digest.

use std::io::{self, Write};

/// Bytes of a header, and what each file is filled up to.
const BLOCK: usize = 512;
/// Where the header's checksum stands; it is summed as if these were spaces.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// An archive being written.
#[derive(Debug)]
pub(super) struct Archive<W> {
    to: W,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to }
    }

    /// Adds a file. `path` is relative, at most 100 bytes.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.to
            .write_all(&header(path, b'0', mode, content.len())?)?;
        self.to.write_all(content)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        self.to.write_all(&vec![0; rest])
    }

    /// Adds an empty directory.
    pub(super) fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.to
            .write_all(&header(&format!("{path}/"), b'5', mode, 0)?)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// A header of the format that POSIX calls ustar.
fn header(path: &str, kind: u8, mode: u32, size: usize) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::other(format!("archive {path}: its path or size is too long"));
    let mut header = Vec::with_capacity(BLOCK);
    let mut field = |value: &[u8], width: usize| {
        let rest = width.checked_sub(value.len()).ok_or_else(too_long)?;
        header.extend_from_slice(value);
        header.resize(header.len() + rest, 0);
        Ok::<(), io::Error>(())
    };
    field(path.as_bytes(), 100)?;
    field(format!("{mode:07o}").as_bytes(), 8)?;
    field(b"0000000", 8)?; // user
    field(b"0000000", 8)?; // group
    field(format!("{size:011o}").as_bytes(), 12)?;
    field(b"00000000000", 12)?; // time
    field(b"        ", 8)?; // checksum
    field(&[kind], 1)?;
    field(b"", 100)?; // target of a link
    field(b"ustar\x0000", 8)?;
    field(b"", BLOCK - 265)?;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header.splice(CHECKSUM, sum.bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let place = tempfile::tempdir().unwrap();
        let mut archive = Archive::new(Vec::new());
        archive.directory("tmp", 0o1777).unwrap();
        archive.file("bin/hello", 0o755, b"hello\n").unwrap();
        archive.file("full", 0o644, &[b'x'; 1024]).unwrap();
        let path = place.path().join("it.tar");
        std::fs::write(&path, archive.finish().unwrap()).unwrap();
        let listed = Command::new("tar")
            .args(["--list", "--verbose", "--numeric-owner", "--utc", "--file"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(listed.status.success(), "{listed:?}");
        let text = String::from_utf8(listed.stdout).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
                "-rwxr-xr-x 0/0 6 1970-01-01 00:00 bin/hello",
                "-rw-r--r-- 0/0 1024 1970-01-01 00:00 full",
            ]
        );
        let hello = Command::new("tar")
            .args(["--extract", "--to-stdout", "--file"])
            .args([path.as_os_str(), "bin/hello".as_ref()])
            .output()
            .unwrap();
        assert_eq!(hello.stdout, b"hello\n");
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        let mut archive = Archive::new(Vec::new());
        assert!(archive.file(&"x".repeat(101), 0o644, b"").is_err());
    }
}
