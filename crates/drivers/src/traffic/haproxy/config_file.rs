//! Keeps the servers in HAProxy's configuration file, between two marks, so that a HAProxy that is
//! restarted begins with what it had. Nothing outside the marks is touched.
//!
//! ```text
//! backend shop
//!     # sluice servers begin shop        (the backend's name, needed when a file has several blocks)
//!     server r3-1 127.0.0.1:9101 weight 95 check inter 1s
//!     # sluice servers end
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use crate::DriverError;

const BEGIN: &str = "# sluice servers begin";
const END: &str = "# sluice servers end";

/// Largest configuration that is read; real ones have some kilobytes.
const FILE_MAX: u64 = 16 << 20;

/// Writes `servers` between the marks of `backend`. `Ok(false)`: they stood there already, and
/// nothing was written. Blocking.
pub(super) fn rewrite(path: &Path, backend: &str, servers: &[String]) -> Result<bool, DriverError> {
    let operation = || format!("keep the servers of {backend} in {}", path.display());
    let cannot = |why: io::Error| {
        let way_out =
            "the file and its directory must be writable for Sluice, or leave out `configFile`";
        DriverError::permanent(operation(), format!("{why}; {way_out}"))
    };
    // A symbolic link stays one: what it points to is replaced.
    let path = fs::canonicalize(path).map_err(cannot)?;
    let size = fs::metadata(&path).map_err(cannot)?.len();
    if size > FILE_MAX {
        return Err(DriverError::permanent(
            operation(),
            "the file is larger than 16 MiB",
        ));
    }
    let text = fs::read_to_string(&path).map_err(cannot)?;
    let changed = replaced(&text, backend, servers)
        .map_err(|why| DriverError::permanent(operation(), why))?;
    if changed == text {
        return Ok(false);
    }
    replace_file(&path, &changed).map_err(cannot)?;
    Ok(true)
}

/// The marked blocks of a file: the lines of both marks, and the backend that the first one names.
struct Block<'a> {
    begin: usize,
    end: usize,
    backend: Option<&'a str>,
}

fn blocks(text: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open: Option<(usize, Option<&str>)> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix(BEGIN) {
            if let Some((begin, _)) = open {
                return Err(format!("line {}: the block has no `{END}`", begin + 1));
            }
            let word = rest
                .split_whitespace()
                .next()
                .filter(|it| !it.starts_with('('));
            open = Some((at, word));
        } else if line.starts_with(END) {
            let (begin, backend) = open
                .take()
                .ok_or_else(|| format!("line {}: `{END}` without `{BEGIN}`", at + 1))?;
            blocks.push(Block {
                begin,
                end: at,
                backend,
            });
        }
    }
    match open {
        Some((begin, _)) => Err(format!("line {}: the block has no `{END}`", begin + 1)),
        None => Ok(blocks),
    }
}

fn replaced(text: &str, backend: &str, servers: &[String]) -> Result<String, String> {
    let blocks = blocks(text)?;
    let named: Vec<&Block<'_>> = blocks
        .iter()
        .filter(|it| it.backend == Some(backend))
        .collect();
    let block = match (named.as_slice(), blocks.as_slice()) {
        ([one], _) => *one,
        ([], [one]) if one.backend.is_none() => one,
        ([], _) => {
            return Err(format!(
                "there is no block for it; put the lines `{BEGIN} {backend}` and `{END}` into that backend"
            ));
        }
        (_, _) => return Err(format!("`{BEGIN} {backend}` is there more than once")),
    };
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if at > block.begin && at < block.end {
            continue;
        }
        out.push_str(line);
        if at == block.begin {
            let indent: String = line.chars().take_while(|it| it.is_whitespace()).collect();
            let indent = indent.trim_end_matches('\n');
            for server in servers {
                out.push_str(&format!("{indent}{server}\n"));
            }
        }
    }
    Ok(out)
}

/// Temporary file in the same directory, fsync, rename, fsync of the directory: a reader sees the
/// old file or the new one, also after a power cut.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it has no directory"));
    };
    let before = fs::metadata(path)?;
    let temporary = dir.join(format!(
        ".{}.sluice-{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = write_like(&temporary, text, &before)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(dir)?.sync_all());
    if written.is_err() {
        // It may not exist; the first error is the one to tell.
        fs::remove_file(&temporary).ok();
    }
    written
}

fn write_like(temporary: &Path, text: &str, before: &fs::Metadata) -> io::Result<()> {
    // Private until it has the owner and the mode of the old one: it may hold passwords.
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(text.as_bytes())?;
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        std::os::unix::fs::chown(temporary, Some(before.uid()), Some(before.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "backend shop\n    balance roundrobin\n    # sluice servers begin (managed)\n    server old 1.2.3.4:5\n    # sluice servers end\nlisten x\n";

    fn check(text: &str, backend: &str, expect: Result<&str, &str>) {
        let servers = ["server r1-1 127.0.0.1:1 weight 5".to_owned()];
        match (replaced(text, backend, &servers), expect) {
            (Ok(got), Ok(expect)) => assert_eq!(got, expect),
            (Err(got), Err(expect)) => assert!(got.contains(expect), "{got}"),
            (got, expect) => panic!("{got:?} is not {expect:?}"),
        }
    }

    #[test]
    fn only_the_lines_between_the_marks_change() {
        let expect = ONE.replace("server old 1.2.3.4:5", "server r1-1 127.0.0.1:1 weight 5");
        check(ONE, "shop", Ok(&expect));
        check(&expect, "shop", Ok(&expect));
    }

    #[test]
    fn among_several_blocks_the_name_decides() {
        let two = "#\n# sluice servers begin a\n# sluice servers end\n  # sluice servers begin b\nx\n# sluice servers end";
        let expect = two.replace(
            "begin b\nx\n",
            "begin b\n  server r1-1 127.0.0.1:1 weight 5\n",
        );
        check(two, "b", Ok(&expect));
        check(two, "c", Err("put the lines `# sluice servers begin c`"));
        let unnamed = two
            .replace(" begin a", " begin")
            .replace(" begin b", " begin");
        check(&unnamed, "a", Err("there is no block"));
        check(
            &two.replace(" begin b", " begin a"),
            "a",
            Err("more than once"),
        );
    }

    #[test]
    fn broken_marks_are_refused_with_their_line() {
        check(
            "# sluice servers begin\nx\n",
            "a",
            Err("line 1: the block has no"),
        );
        check("x\n# sluice servers end\n", "a", Err("line 2"));
        check("x\n", "a", Err("there is no block"));
    }

    #[test]
    fn the_file_keeps_its_mode_and_is_written_only_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, ONE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let servers = ["server r1-1 127.0.0.1:1".to_owned()];
        assert!(rewrite(&path, "shop", &servers).unwrap());
        let inode = fs::metadata(&path).unwrap().ino();
        assert!(!rewrite(&path, "shop", &servers).unwrap());
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.mode() & 0o777), (inode, 0o640));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        let missing = rewrite(&dir.path().join("nowhere.cfg"), "shop", &servers).unwrap_err();
        assert!(
            !missing.transient && missing.to_string().contains("configFile"),
            "{missing}"
        );
    }
}
