//! `kubectl`, of the same version as the server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;

use super::binary::Binary;

/// How long a command may take; waiting commands bring their own `--timeout`.
const WITHIN: Duration = Duration::from_secs(120);

/// What a command printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that succeeded.
    ///
    /// # Errors
    /// When it failed, with what it said.
    pub fn success(self) -> anyhow::Result<String> {
        ensure!(
            self.code == Some(0),
            "kubectl ended with {:?}: {}",
            self.code,
            self.stderr.trim_end()
        );
        Ok(self.stdout)
    }
}

/// Runs it with `stdin` as its input.
pub(super) async fn run(
    binary: &Binary,
    kubeconfig: &Path,
    directory: &Path,
    arguments: &[&str],
    stdin: &str,
) -> anyhow::Result<Output> {
    let context = || format!("run kubectl {}", arguments.join(" "));
    let mut child = tokio::process::Command::new(binary.path())
        .arg("kubectl")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        // What it caches, and what the user has set for it, stay out of this.
        .env("KUBECACHEDIR", directory.join("kubectl-cache"))
        .env("KUBERC", "off")
        .env("NO_PROXY", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(context)?;
    let input = child.stdin.take();
    let feed = async {
        if let Some(mut input) = input {
            // A command that does not read its input closes it.
            input.write_all(stdin.as_bytes()).await.unwrap_or_default();
        }
    };
    let ended = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(WITHIN, ended)
        .await
        .with_context(context)?
        .with_context(context)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    })
}
