//! Starts an instance: program, arguments, environment, port, log.
//!
//! First everything is checked that can be, so that a start fails with a sentence and not with an
//! exit code. Then the process is started by `setsid`, which makes it a session of its own and
//! keeps its pid, and waits for a word on its standard input; its pid and start time are recorded;
//! then it gets the word and becomes the command. Should Sluice die in between, at any
//! instruction, the input ends without the word and so does the process: nothing ever runs that
//! is not on record. All of it blocks and runs on a thread for that.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rollout::observation::ProblemKind;
use tokio::process::Command;

use super::{
    artifact::is_executable,
    child::Handle,
    instance::{Instance, Trouble},
    log_file,
    record::{self, Record},
    supervisor::Shared,
};

/// Variables of Sluice's own environment that instances get; everything else may be a secret.
const PASSED_ON: [&str; 8] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR",
];

/// What the shell does before it becomes the command: it waits for the word, or ends.
const WAIT_FOR_WORD: &str = r#"read -r word && exec "$@" </dev/null"#;

/// What the shell calls itself in what it logs when it cannot become the command.
const SHELL_NAME: &str = "sluice";

/// Where programs are searched when Sluice itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Starts `instance`. The port is the instance's own from here until it is forgotten, also when
/// the start fails.
pub(super) fn launch(shared: &Shared, instance: &Instance) -> Result<Handle, Trouble> {
    let directory = &instance.directory;
    record::make_directory(directory).map_err(|it| not_writable(directory, &it))?;
    let working = instance.settings.directory.as_deref().unwrap_or(directory);
    if !working.is_dir() {
        let working = working.display();
        let detail = format!("working directory {working} is not there; make it or correct it");
        return Err((ProblemKind::StartFailed, detail));
    }
    check_program(instance, working)?;
    let range = instance.settings.ports;
    let state = instance.state();
    let port = shared.ports.take(range, state.port).ok_or_else(|| {
        let (from, to) = (range.from, range.to);
        let detail = format!("no port from {from} to {to} is free; widen ports in the app file");
        (ProblemKind::NoFreePort, detail)
    })?;
    instance.update(|it| it.port = Some(port));
    start(shared, instance, working, port, state.restarts)
}

fn start(
    shared: &Shared,
    instance: &Instance,
    working: &Path,
    port: u16,
    restarts: u32,
) -> Result<Handle, Trouble> {
    let directory = &instance.directory;
    let log_path = log_file::path(directory);
    let log = log_file::open(directory).map_err(|it| not_writable(&log_path, &it))?;
    let errors = log.try_clone().map_err(|it| not_writable(&log_path, &it))?;
    let argv = argv(instance, port);
    let (input, mut word) = io::pipe().map_err(|it| not_started(instance, &it))?;
    let mut command = Command::new("setsid");
    command
        .args(["--", "/bin/sh", "-c", WAIT_FOR_WORD, SHELL_NAME])
        .args(&argv);
    command.current_dir(working).env_clear();
    command.envs(
        PASSED_ON
            .iter()
            .filter_map(|it| Some((it, std::env::var_os(it)?))),
    );
    command.envs(&instance.settings.env);
    command.env("PORT", port.to_string());
    command.env("SLUICE_APP", &instance.app.app);
    command.env("SLUICE_REVISION", instance.revision.to_string());
    command.env("SLUICE_INSTANCE", &instance.name);
    command.stdin(input).stdout(log).stderr(errors);
    let handle = command
        .spawn()
        .and_then(Handle::own)
        .map_err(|it| not_started(instance, &it))?;
    let record = Record {
        project: instance.app.project.clone(),
        app: instance.app.app.clone(),
        revision: instance.revision,
        number: instance.number,
        pid: handle.pid(),
        start_time: handle.start_time(),
        boot_id: shared.boot_id.clone(),
        port,
        artifact: instance.artifact.clone(),
        argv,
        settings: instance.settings.clone(),
        restarts,
        started_at: Timestamp::now(),
        stopping: false,
    };
    let recorded = record
        .write(directory)
        .map_err(|it| not_writable(directory, &it));
    let told = recorded.and_then(|()| {
        word.write_all(b"go\n")
            .map_err(|it| not_started(instance, &it))
    });
    if told.is_err() {
        // It would end by itself as soon as its input does.
        handle.kill();
    }
    told.map(|()| handle)
}

fn not_writable(path: &Path, error: &io::Error) -> Trouble {
    let path = path.display();
    let detail =
        format!("{path} cannot be written ({error}); give Sluice's user the right, or free space");
    (ProblemKind::NotWritable, detail)
}

fn not_started(instance: &Instance, error: &io::Error) -> Trouble {
    let name = &instance.name;
    match error.kind() {
        io::ErrorKind::NotFound => {
            let detail = format!(
                "{name} cannot be started: the program setsid (package util-linux) is not in PATH"
            );
            (ProblemKind::StartFailed, detail)
        }
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => (
            ProblemKind::StartFailed,
            format!("{name} cannot be started: {error} (Linux 5.3 or newer is needed)"),
        ),
        // Out of processes, memory or descriptors: passes, so it must not fail the step at once.
        _ => (
            ProblemKind::Exited,
            format!("{name} cannot be started now: {error}; trying again"),
        ),
    }
}

/// The program and its arguments for `port`.
fn argv(instance: &Instance, port: u16) -> Vec<String> {
    let port = port.to_string();
    let revision = instance.revision.0.to_string();
    let values = [
        ("artifact", instance.artifact.as_str()),
        ("port", port.as_str()),
        ("revision", revision.as_str()),
        ("instance", instance.name.as_str()),
    ];
    instance
        .settings
        .command
        .iter()
        .map(|it| filled(it, &values))
        .collect()
}

/// `text` with each `{{name}}` replaced, in one go: a value that looks like a placeholder stays.
fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        result.push_str(before);
        let named = after.split_once("}}").and_then(|(name, after)| {
            values
                .iter()
                .find(|(it, _)| *it == name)
                .map(|(_, value)| (*value, after))
        });
        match named {
            Some((value, after)) => {
                result.push_str(value);
                rest = after;
            }
            None => {
                result.push_str("{{");
                rest = after;
            }
        }
    }
    result + rest
}

/// Checks that what is to be run is there and can be executed.
fn check_program(instance: &Instance, working: &Path) -> Result<(), Trouble> {
    let artifact = Path::new(&instance.artifact);
    let used = instance
        .settings
        .command
        .iter()
        .any(|it| it.contains(super::ARTIFACT));
    if used && artifact.is_absolute() && !artifact.exists() {
        let detail = format!(
            "{} is not there any more; put it back or deploy another",
            artifact.display()
        );
        return Err((ProblemKind::ArtifactMissing, detail));
    }
    // The port does not matter here: nothing is run yet.
    let program = argv(instance, 0).into_iter().next().unwrap_or_default();
    let found = candidates(&program, working);
    if found.iter().any(|it| is_executable(it)) {
        return Ok(());
    }
    let what = match found.iter().any(|it| it.exists()) {
        true => "is not an executable file; chmod +x it",
        false if program.contains('/') => {
            "is not there; install it or correct the app file's command"
        }
        false => "is not in PATH; install it or give its whole path in the app file's command",
    };
    Err((ProblemKind::StartFailed, format!("{program} {what}")))
}

/// Where `program` may be.
fn candidates(program: &str, working: &Path) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![working.join(program)];
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    std::env::split_paths(&path)
        .map(|it| it.join(program))
        .collect()
}

/// Whether the end of `instance` was a failure to run the program; its words if so.
/// Happens when the program's own interpreter is missing, or its format is foreign.
pub(super) fn exec_failure(instance: &Instance, code: i32) -> Option<String> {
    let line = log_file::last_line(&instance.directory);
    (matches!(code, 126 | 127) && line.starts_with("sluice: ")).then_some(line)
}

/// Notes in its record that `instance` is to end and not to be started again.
pub(super) fn note_stopping(directory: &Path) -> io::Result<()> {
    let Some(record) = Record::read(directory)? else {
        return Ok(());
    };
    Record {
        stopping: true,
        ..record
    }
    .write(directory)
}

/// Moves a log that has grown too large away; a failure is only worth a line in our own log.
pub(super) fn rotate_log(directory: &Path) {
    if let Err(error) = log_file::rotate(directory)
        && fs::exists(directory).unwrap_or_default()
    {
        tracing::warn!(directory = %directory.display(), %error, "rotate the log of an instance");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let values = [("artifact", "/bin/{{port}}"), ("port", "8080")];
        for (text, expected) in [
            ("{{artifact}}", "/bin/{{port}}"),
            ("--listen=127.0.0.1:{{port}}", "--listen=127.0.0.1:8080"),
            ("{{port}}{{port}}", "80808080"),
            ("{{other}} {{", "{{other}} {{"),
            ("", ""),
        ] {
            assert_eq!(filled(text, &values), expected);
        }
    }
}
