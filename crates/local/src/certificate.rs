//! Certificates for servers that tests run.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::programs;

/// Makes a certificate for 127.0.0.1 and its key in `dir`, signed by itself.
///
/// # Errors
/// When openssl is not installed or fails.
pub fn self_signed(dir: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    let made = std::process::Command::new(programs::find("openssl")?)
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .context("run openssl")?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "openssl: {said}");
    Ok((certificate, key))
}
