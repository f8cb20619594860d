//! One guarded child process: its log, its stop, and that it never outlives us.
//!
//! A part ends in one of three ways. [`Part::stop`] asks and waits; dropping it
//! (a failed test, an early return, Ctrl-C) kills it and all of its process
//! group at once; and if this process itself is killed, the kernel ends it
//! through the parent-death signal, which `setpriv --pdeathsig` of util-linux
//! sets before it becomes the program. Without `setpriv` the third is not to be
//! had without unsafe code, and such a part is left running.
//!
//! The parent-death signal belongs to the *thread* that started the child, so
//! all children are started from one thread that lives as long as the process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process, kill_process_group};
use tokio::sync::oneshot;

mod spec;

pub use rustix::process::Signal;
pub use spec::Spec;
pub(crate) use spec::guarded;

/// How long a dropped part may take to end by its own quick signal.
const DROP_GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at a child that is ending.
const POLL: Duration = Duration::from_millis(2);
/// How much of a log's end goes into an error message, in bytes.
const LOG_TAIL: u64 = 2_000;

/// A part could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The log file cannot be written.
    #[error("open log {path} of {name}")]
    OpenLog {
        /// The part.
        name: String,
        /// Its log file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("start {name}")]
    Start {
        /// The part.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The part cannot be signalled or waited for.
    #[error("stop {name}")]
    Stop {
        /// The part.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The part ended when it should have been running.
    #[error("{name} ended by itself ({status}); its log ends with:\n{log}")]
    Ended {
        /// The part.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
}

/// A running child process and what is needed to start it again.
#[derive(Debug)]
pub struct Part {
    spec: Spec,
    child: Option<Child>,
}

impl Part {
    /// Starts it.
    ///
    /// # Errors
    /// [`PartError::OpenLog`] or [`PartError::Start`]. A program that starts and
    /// then ends shows in [`Part::check`].
    pub async fn start(spec: Spec) -> Result<Self, PartError> {
        let child = spawn(&spec).await?;
        Ok(Self {
            spec,
            child: Some(child),
        })
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id, while it runs (or has not been stopped by us).
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The file that its output goes to, kept over restarts.
    pub fn log_path(&self) -> &Path {
        &self.spec.log
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        tail(&self.spec.log).unwrap_or_else(|error| format!("(log not readable: {error})"))
    }

    /// Fails if it is not running.
    ///
    /// # Errors
    /// [`PartError::Ended`] with the end of its log.
    pub fn check(&mut self) -> Result<(), PartError> {
        let status = match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => return Ok(()),
            Some(Ok(Some(status))) => status.to_string(),
            Some(Err(error)) => error.to_string(),
            None => String::from("stopped"),
        };
        Err(PartError::Ended {
            name: self.spec.name.clone(),
            status,
            log: self.log_tail(),
        })
    }

    /// Asks it to stop, waits up to `grace`, then kills it. Nothing happens if
    /// it has ended already. Returns how it ended.
    ///
    /// # Errors
    /// [`PartError::Stop`] when it cannot be waited for.
    pub async fn stop(&mut self, grace: Duration) -> Result<Option<ExitStatus>, PartError> {
        self.stop_with(self.spec.stop_signal, grace).await
    }

    /// [`Part::stop`] by another signal.
    ///
    /// # Errors
    /// [`PartError::Stop`] when it cannot be waited for.
    pub async fn stop_with(
        &mut self,
        signal: Signal,
        grace: Duration,
    ) -> Result<Option<ExitStatus>, PartError> {
        let deadline = Instant::now() + grace;
        self.signal(signal);
        while let Some(child) = self.child.as_mut() {
            match child.try_wait() {
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                Ok(None) => break,
                Ok(Some(status)) => {
                    self.child = None;
                    return Ok(Some(status));
                }
                Err(source) => return Err(self.stop_error(source)),
            }
        }
        self.kill9()
    }

    /// Kills it and its process group at once, and waits for its end.
    ///
    /// # Errors
    /// [`PartError::Stop`] when it cannot be waited for.
    pub fn kill9(&mut self) -> Result<Option<ExitStatus>, PartError> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        kill_group(&child, Signal::KILL);
        child
            .wait()
            .map(Some)
            .map_err(|source| self.stop_error(source))
    }

    /// Sends a signal to the part itself (not to its group), e.g. `STOP`.
    pub fn signal(&mut self, signal: Signal) {
        // A child that ended keeps its pid until it is waited for, so this never
        // reaches a stranger; and one that ended needs no signal.
        if let Some(pid) = self.child.as_ref().and_then(pid) {
            kill_process(pid, signal).unwrap_or_default();
        }
    }

    /// Starts it again, as it was started; kills it first if it runs.
    ///
    /// # Errors
    /// As [`Part::start`].
    pub async fn start_again(&mut self) -> Result<(), PartError> {
        self.kill9()?;
        self.child = Some(spawn(&self.spec).await?);
        Ok(())
    }

    fn stop_error(&self, source: io::Error) -> PartError {
        PartError::Stop {
            name: self.spec.name.clone(),
            source,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.spec.quick_signal != Signal::KILL {
            self.signal(self.spec.quick_signal);
            let deadline = Instant::now() + DROP_GRACE;
            while let Some(child) = self.child.as_mut() {
                if !matches!(child.try_wait(), Ok(None)) || Instant::now() >= deadline {
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
        if let Err(error) = self.kill9() {
            tracing::warn!(part = %self.spec.name, %error, "part could not be ended");
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Signals the child's group. Its id is the child's pid, which is ours as long
/// as the child has not been waited for.
fn kill_group(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        kill_process_group(pid, signal).unwrap_or_default();
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// A command for the starting thread, and where it sends the outcome.
type Job = (Command, oneshot::Sender<io::Result<Child>>);

async fn spawn(spec: &Spec) -> Result<Child, PartError> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let command = spec.command()?;
    let (reply, answer) = oneshot::channel();
    let starter = STARTER.get_or_init(|| Mutex::new(starting_thread()));
    let sent = starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply));
    let gone = || spec.start_error(io::Error::other("the thread that starts parts is gone"));
    sent.map_err(|_| gone())?;
    answer
        .await
        .map_err(|_| gone())?
        .map_err(|source| spec.start_error(source))
}

fn starting_thread() -> mpsc::Sender<Job> {
    let (jobs, queue) = mpsc::channel::<Job>();
    std::thread::spawn(move || {
        for (mut command, reply) in queue {
            if let Err(Ok(mut child)) = reply.send(command.spawn()) {
                // Nobody waits for it any more.
                kill_group(&child, Signal::KILL);
                drop(child.wait());
            }
        }
    });
    jobs
}
