//! The binary under test, as it was built beside this test binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;

/// How long one command may take; a hung one must not hang the suite.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// The path of the `sluice` binary.
///
/// # Errors
/// When it has not been built: cargo builds the binaries of a test's own package only.
pub fn sluice() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find the test binary")?;
    // target/debug/deps/it-0123456789abcdef
    let directory = own.parent().and_then(Path::parent);
    let path = directory
        .context("find the build directory")?
        .join("sluice");
    ensure!(
        path.is_file(),
        "there is no {}: cargo build -p cli first",
        path.display()
    );
    Ok(path)
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// Itself, if it ended with `code`.
    ///
    /// # Errors
    /// With both outputs.
    pub fn expect(self, code: i32) -> anyhow::Result<Self> {
        ensure!(
            self.code == code,
            "exit code {} instead of {code}\nstdout:\n{}\nstderr:\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Its standard output as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}

/// Runs `sluice` with these arguments, in an environment that holds nothing of Sluice's but `environment`.
///
/// # Errors
/// When it cannot be run or does not end in time.
pub async fn run<A: AsRef<str>>(
    arguments: &[A],
    environment: &[(&str, &str)],
    input: &str,
) -> anyhow::Result<Ran> {
    let mut command = tokio::process::Command::new(sluice()?);
    command
        .args(arguments.iter().map(AsRef::as_ref))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().context("run sluice")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input closes it.
        stdin.write_all(input.as_bytes()).await.unwrap_or_default();
    }
    let output = tokio::time::timeout(COMMAND_WITHIN, child.wait_with_output())
        .await
        .with_context(|| format!("run sluice: not done within {COMMAND_WITHIN:?}"))?
        .context("run sluice")?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
