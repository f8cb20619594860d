//! Reads a small file that a user named: a token, a secret, a certificate.
//!
//! What can be read here may leave this host in a header or a signature, so messages name the file
//! and never its content, and devices, pipes and big files are refused.

use tokio::io::AsyncReadExt;

/// The content of the regular file at `path`, at most `bytes_max` bytes. `Err` is a sentence.
pub(crate) async fn read(path: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("read {path}: {error}");
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("read {path}: it is not a regular file"));
    }
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut content = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut content)
        .await
        .map_err(failed)?;
    if u64::try_from(content.len()).is_ok_and(|it| it <= bytes_max) {
        return Ok(content);
    }
    Err(format!("read {path}: it is larger than {bytes_max} bytes"))
}

/// `read`, as text.
pub async fn read_text(path: &str, bytes_max: u64) -> Result<String, String> {
    let content = read(path, bytes_max).await?;
    String::from_utf8(content).map_err(|_| format!("read {path}: it is not UTF-8 text"))
}
