//! A process by pid *and* start time, so that a pid that was used again is never taken for it.

use std::{
    fmt, fs, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::{io::unix::AsyncFd, process::Child};

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    /// Ended, but not yet waited for by its parent.
    pub(super) zombie: bool,
    /// When it started, in clock ticks since boot (field 22): with the pid, its identity.
    pub(super) start_time: u64,
}

/// Reads `/proc/PID/stat`; `None` when there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the program's name in parentheses and may hold anything, also parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?; // field 3
    let start_time = fields.nth(18)?.parse().ok()?; // field 22
    Some(Stat {
        zombie: matches!(state, "Z" | "X" | "x"),
        start_time,
    })
}

/// A name of this boot of the machine: pids and start times mean nothing after the next one.
pub(super) fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|it| it.trim().to_owned())
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Not known: it was not a child of this process.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::Unknown => {
                f.write_str("ended (how is not known: a Sluice that is gone started it)")
            }
        }
    }
}

/// A running process. Dropping it leaves the process alone.
#[derive(Debug)]
pub(super) struct Handle {
    pid: Pid,
    start_time: u64,
    /// Refers to this very process for as long as it is held, whatever becomes of the pid.
    fd: AsyncFd<OwnedFd>,
    /// Ours to wait for; `None` when it was adopted.
    child: Option<Child>,
}

impl Handle {
    /// A child that was just started. When it cannot be held it is killed, so that nothing runs
    /// that nobody watches.
    pub(super) fn own(mut child: Child) -> io::Result<Self> {
        // The pid cannot be used again before the child is waited for, so there is no race here.
        let held = child
            .id()
            .ok_or_else(|| io::Error::other("it ended at once"))
            .and_then(open);
        match held {
            Ok((pid, start_time, fd)) => Ok(Self {
                pid,
                start_time,
                fd,
                child: Some(child),
            }),
            Err(error) => {
                child.start_kill().ok();
                Err(error)
            }
        }
    }

    /// The process that runs under `pid` since `start_time`, if it still does.
    pub(super) fn adopt(pid: u32, start_time: u64) -> Option<Self> {
        // First hold, then compare: the other way round the pid could change hands in between.
        let (held, started, fd) = open(pid).ok()?;
        let alive = stat(pid).is_some_and(|it| !it.zombie);
        (alive && started == start_time).then_some(Self {
            pid: held,
            start_time,
            fd,
            child: None,
        })
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// When it started, in clock ticks since boot.
    pub(super) fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Waits for its end. What it started and left behind in its process group is ended too.
    /// May be called again after it was cancelled.
    pub(super) async fn exited(&mut self) -> Exit {
        if self.fd.readable().await.is_err() {
            // Only when the runtime shuts down: then nobody asks any more.
            std::future::pending::<()>().await;
        }
        let Some(child) = &mut self.child else {
            return Exit::Unknown;
        };
        // It has ended but was not waited for: its pid, and so its group, cannot be anybody
        // else's. That does not hold for an adopted one, whose group is therefore left alone.
        kill_process_group(self.pid, Signal::KILL).ok();
        match child.wait().await {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            Err(_) => Exit::Unknown,
        }
    }

    /// Asks it to end (SIGTERM).
    pub(super) fn terminate(&self) {
        pidfd_send_signal(&self.fd, Signal::TERM).ok();
    }

    /// Ends it and its process group (SIGKILL).
    pub(super) fn kill(&self) {
        let same = |it: &Stat| it.start_time == self.start_time;
        if stat(self.pid()).as_ref().is_some_and(same) {
            kill_process_group(self.pid, Signal::KILL).ok();
        }
        pidfd_send_signal(&self.fd, Signal::KILL).ok();
    }
}

fn open(pid: u32) -> io::Result<(Pid, u64, AsyncFd<OwnedFd>)> {
    let gone = || io::Error::other("it is gone");
    let held = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(gone)?;
    let fd = pidfd_open(held, PidfdFlags::NONBLOCK)?;
    let started = stat(pid).ok_or_else(gone)?.start_time;
    #[expect(
        deprecated,
        reason = "its replacement is unsafe; what that asks for, an OwnedFd gives: it stays open and the same"
    )]
    let fd = AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?;
    Ok((held, started, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_start_time() {
        let own = stat(std::process::id()).unwrap();
        assert!(!own.zombie && own.start_time > 0);
        assert!(stat(u32::MAX).is_none());
    }
}
