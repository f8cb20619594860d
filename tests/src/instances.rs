//! The processes of a world's instances, found by a mark in their environment: what really runs,
//! whatever Sluice believes.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// The variable that marks a world's instances.
pub const MARK: &str = "E2E_WORLD";

/// One running instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The revision it belongs to, e.g. `r2`.
    pub revision: String,
    /// Its name, e.g. `r2-1`.
    pub name: String,
    /// Its process id.
    pub pid: i32,
}

/// The instances of the world `mark` that run now, in order.
pub fn running(mark: &str) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<Process> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| process(pid, mark))
        .collect();
    found.sort();
    found
}

fn process(pid: i32, mark: &str) -> Option<Process> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = |name: &str| {
        let variables = environment.split(|byte| *byte == 0);
        let mut texts = variables.filter_map(|it| std::str::from_utf8(it).ok());
        texts.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    };
    // A zombie has an empty environment.
    (value(MARK)? == mark).then(|| Process {
        revision: value("SLUICE_REVISION").unwrap_or_default().to_owned(),
        name: value("SLUICE_INSTANCE").unwrap_or_default().to_owned(),
        pid,
    })
}

/// The processes that were told to end, by the records below a server's directory.
pub fn told_to_end(directory: &Path) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut pids = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            pids.extend(told_to_end(&path));
        } else if path.file_name().is_some_and(|it| it == "instance.json") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let pid = record.get("pid").and_then(serde_json::Value::as_i64);
            if record.get("stopping") == Some(&true.into()) {
                pids.extend(pid.and_then(|it| i32::try_from(it).ok()));
            }
        }
    }
    pids
}

/// Kills one process at once.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // One that has just ended needs no signal.
        kill_process(pid, Signal::KILL).unwrap_or_default();
    }
}

/// Kills all instances of the world `mark`.
pub fn kill_all(mark: &str) {
    // The second look is for a child of the first ones.
    for _ in 0..2 {
        for process in running(mark) {
            kill(process.pid);
        }
    }
}
