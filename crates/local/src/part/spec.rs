//! What a part is: its program, its arguments, and how it ends.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::PartError;
use crate::programs;

/// What to run and how to end it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What errors call the part.
    pub name: String,
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to the environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The working directory; ours if `None`.
    pub directory: Option<PathBuf>,
    /// The file that standard output and error are appended to.
    pub log: PathBuf,
    /// The user to run as. Only root can ask for another one.
    pub user: Option<String>,
    /// What asks the part to stop: `TERM`, for most.
    pub stop_signal: Signal,
    /// What ends the part at once when dropped or orphaned. Anything but `KILL`
    /// is followed by `KILL` if the part is still there soon after.
    pub quick_signal: Signal,
}

impl Spec {
    /// A part that stops on SIGTERM, runs as this user and logs to `log`.
    pub fn new(name: &str, program: PathBuf, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            log,
            user: None,
            stop_signal: Signal::TERM,
            quick_signal: Signal::KILL,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command, with its log open and its guards set.
    pub(super) fn command(&self) -> Result<Command, PartError> {
        let signal = if self.quick_signal == Signal::QUIT {
            "QUIT"
        } else {
            "KILL"
        };
        let mut command = guarded(&self.program, self.user.as_deref(), Some(signal))
            .map_err(|missing| self.start_error(io::Error::other(missing)))?;
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(|source| self.log_error(source))?;
        // Some programs (HAProxy) drop the append mode of what they inherit: they
        // go on from here, not from the file's beginning.
        log.seek(SeekFrom::End(0))
            .map_err(|source| self.log_error(source))?;
        let errors = log.try_clone().map_err(|source| self.log_error(source))?;
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // A group of its own: Ctrl-C in the terminal reaches us only, and we
            // can end whatever the part has started.
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        Ok(command)
    }

    fn log_error(&self, source: io::Error) -> PartError {
        PartError::OpenLog {
            name: self.name.clone(),
            path: self.log.clone(),
            source,
        }
    }

    pub(super) fn start_error(&self, source: io::Error) -> PartError {
        PartError::Start {
            name: self.name.clone(),
            source,
        }
    }
}

/// Goes on to the program only if the process that has started it is still there: the kernel says
/// nothing of an owner that ended before it was asked to.
const UNLESS_ORPHANED: &str = r#"[ "$PPID" = "$0" ] && exec "$@""#;

/// A command for `program`, run as `user` if one is named, that gets `signal`
/// when the thread that starts it ends.
pub(crate) fn guarded(
    program: &Path,
    user: Option<&str>,
    signal: Option<&str>,
) -> Result<Command, programs::Missing> {
    let setpriv = match (programs::find("setpriv"), user) {
        (Ok(setpriv), _) => setpriv,
        (Err(_), None) => return Ok(Command::new(program)),
        (Err(missing), Some(_)) => return Err(missing),
    };
    let mut command = Command::new(setpriv);
    if let Some(user) = user {
        // setpriv becomes the program, where runuser would stay as its parent.
        command.args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--init-groups".to_owned(),
        ]);
    }
    match signal {
        Some(signal) => {
            let owner = std::process::id().to_string();
            command.args(["--pdeathsig", signal, "--"]);
            command.args(["/bin/sh", "-c", UNLESS_ORPHANED, &owner]);
        }
        None => {
            command.arg("--");
        }
    }
    command.arg(program);
    Ok(command)
}
