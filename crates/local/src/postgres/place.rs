//! The directory of a Postgres server: who owns it, what is in it, and the
//! command that serves it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, anyhow, bail, ensure};

use super::USER;
use crate::part::{Signal, Spec, guarded};

/// The system user that runs the server when we are root.
const SYSTEM_USER: &str = "postgres";

/// The directory of one server and who runs it.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory, absolute.
    pub(super) dir: PathBuf,
    /// The system user and group to run as, when we are root.
    owner: Option<(u32, u32)>,
}

impl Place {
    pub(super) fn prepare(dir: &Path) -> anyhow::Result<Self> {
        let make = |path: &Path| {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .with_context(|| format!("make directory {}", path.display()))
        };
        make(dir)?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("find directory {}", dir.display()))?;
        let place = Self {
            dir,
            owner: system_user()?,
        };
        // Postgres writes `/.s.PGSQL.<port>.lock` behind it; the kernel's limit is 107.
        let socket = place.socket();
        ensure!(
            socket.as_os_str().len() <= 85,
            "start Postgres: the path {} is too long for a Unix socket; choose a shorter directory",
            socket.display()
        );
        make(&socket)?;
        if let Some((user, group)) = place.owner {
            for path in [&place.dir, &socket] {
                chown(path, Some(user), Some(group))
                    .with_context(|| format!("give {} to {SYSTEM_USER}", path.display()))?;
            }
            place.let_in(user, group)?;
        }
        Ok(place)
    }

    /// Sees to it that the system user can reach the directory. Temporary
    /// directories of ours on the way are opened for passing through (not for
    /// listing); anything else is left as it is and named.
    fn let_in(&self, user: u32, group: u32) -> anyhow::Result<()> {
        let temporary = std::env::temp_dir();
        for above in self.dir.ancestors().skip(1) {
            let meta = above
                .metadata()
                .with_context(|| format!("look at {}", above.display()))?;
            let bit = if meta.uid() == user {
                0o100
            } else if meta.gid() == group {
                0o010
            } else {
                0o001
            };
            if meta.mode() & bit != 0 {
                continue;
            }
            ensure!(
                above.starts_with(&temporary) && above != temporary && meta.uid() == 0,
                "start Postgres: as root it runs as the user {SYSTEM_USER}, who cannot enter {}; \
                 choose a data directory elsewhere or run as an ordinary user",
                above.display()
            );
            std::fs::set_permissions(
                above,
                Permissions::from_mode((meta.mode() & 0o7777) | 0o011),
            )
            .with_context(|| format!("let {SYSTEM_USER} pass through {}", above.display()))?;
        }
        Ok(())
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Takes the directory for this process; the kernel gives it back however
    /// the process ends.
    pub(super) fn lock(&self) -> anyhow::Result<File> {
        let path = self.dir.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: without it the message is still right.
                lock.read_to_string(&mut holder).unwrap_or_default();
                bail!(
                    "start Postgres: {} is in use by another running instance (process {})",
                    self.dir.display(),
                    holder.trim()
                );
            }
            Err(TryLockError::Error(source)) => {
                return Err(anyhow!(source).context(format!("lock {}", path.display())));
            }
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .with_context(|| format!("write {}", path.display()))?;
        Ok(lock)
    }

    /// The major version of the cluster in the directory, if there is one.
    pub(super) fn major(&self) -> anyhow::Result<Option<u32>> {
        let path = self.data().join("PG_VERSION");
        match std::fs::read_to_string(&path) {
            Ok(text) => text
                .trim()
                .parse()
                .map(Some)
                .with_context(|| format!("read {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow!(error).context(format!("read {}", path.display()))),
        }
    }

    /// The superuser's password, made on first use.
    pub(super) fn password(&self) -> anyhow::Result<String> {
        let path = self.dir.join("password");
        if let Ok(password) = std::fs::read_to_string(&path)
            && !password.is_empty()
        {
            return Ok(password);
        }
        let mut random = [0_u8; 24];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut random))
            .context("read random bytes")?;
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        file.write_all(password.as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
        if let Some((user, group)) = self.owner {
            // initdb, run as that user, reads it.
            chown(&path, Some(user), Some(group)).context("give the password file to Postgres")?;
        }
        Ok(password)
    }

    /// Makes the cluster: beside its final place first, so that a crash halfway
    /// leaves nothing that looks like one.
    pub(super) async fn initialise(&self, bin: &Path) -> anyhow::Result<()> {
        let fresh = self.dir.join("data.new");
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).context("remove a half-made cluster")?;
        }
        let mut initdb = tokio::process::Command::from(guarded(
            &bin.join("initdb"),
            self.owner.map(|_| SYSTEM_USER),
            None,
        )?);
        initdb
            .args([
                "--no-sync",
                "--no-locale",
                "--encoding=UTF8",
                "--auth-local=trust",
            ])
            .args(["--auth-host=scram-sha-256", "--username", USER])
            .arg("--pwfile")
            .arg(self.dir.join("password"))
            .arg("--pgdata")
            .arg(&fresh)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = initdb.output().await.context("run initdb")?;
        ensure!(
            output.status.success(),
            "run initdb: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        std::fs::rename(&fresh, self.data()).context("put the new cluster in its place")
    }

    pub(super) fn spec(&self, bin: &Path, port: u16, durable: bool) -> Spec {
        let mut settings = vec![
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.socket().display()),
            "shared_buffers=32MB".to_owned(),
            "max_connections=200".to_owned(),
            "jit=off".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            "cluster_name=sluice".to_owned(),
        ];
        if !durable {
            // synchronous_commit stays on: the service refuses to run without
            // it, and without fsync it costs nothing.
            settings.extend(["fsync=off".to_owned(), "full_page_writes=off".to_owned()]);
        }
        let mut spec = Spec::new("Postgres", bin.join("postgres"), self.dir.join("log"))
            .arguments(["-D"])
            .arguments([self.data()])
            .arguments(
                settings
                    .into_iter()
                    .flat_map(|setting| ["-c".to_owned(), setting]),
            );
        spec.directory = Some(self.dir.clone());
        spec.user = self.owner.map(|_| SYSTEM_USER.to_owned());
        // Fast shutdown: do not wait for clients to leave by themselves.
        spec.stop_signal = Signal::INT;
        // Immediate shutdown ends the whole family and frees shared memory.
        spec.quick_signal = Signal::QUIT;
        spec
    }

    /// What the server `pid` says of itself in its pid file: `ready` on line 8
    /// once it accepts connections. This is what `pg_ctl` goes by too.
    pub(super) fn status(&self, pid: Option<u32>) -> String {
        let Ok(text) = std::fs::read_to_string(self.data().join("postmaster.pid")) else {
            return "no postmaster.pid".to_owned();
        };
        let mut lines = text.lines();
        let first = lines
            .next()
            .and_then(|line| line.trim().parse::<u32>().ok());
        if first != pid {
            return "postmaster.pid of another server".to_owned();
        }
        lines.nth(6).unwrap_or("starting").trim().to_owned()
    }
}

/// The user and group to run as: none unless we are root.
fn system_user() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    users
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let user = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            (name == SYSTEM_USER).then_some((user, group))
        })
        .map(Some)
        .with_context(|| {
            format!("start Postgres: it does not run as root, and there is no user {SYSTEM_USER} to run it as")
        })
}
