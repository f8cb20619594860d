//! Container images made here, without a registry and without Docker: one layer of programs of this
//! machine and the libraries they need, and any number of images that differ in what they run.
//!
//! An archive is an OCI image layout in a tar file. Only the first one brings the layer along: an
//! image on a layer that the node already has is three small documents.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::archive::Archive;
use crate::programs;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// By which containerd names an image.
const NAME: &str = "io.containerd.image.name";

/// An image on the shared layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its full name, e.g. `sluice.test/shop:v2`.
    pub name: String,
    /// What it runs: a program of the layer, then its arguments.
    pub command: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

/// The file system that all images share: `/bin/NAME` for each program, the libraries where the
/// programs look for them, and `/tmp`.
#[derive(Debug)]
pub(super) struct Layer {
    content: Vec<u8>,
    digest: String,
}

/// A document of an archive, with what refers to it.
struct Blob {
    descriptor: Value,
    path: String,
    content: Vec<u8>,
}

impl Layer {
    /// Packs programs, without their debug information, which is most of a debug build.
    pub(super) fn of(programs: &[(&str, &Path)], scratch: &Path) -> anyhow::Result<Self> {
        let mut archive = Archive::new(Vec::new());
        archive.directory("tmp", 0o1777)?;
        let mut libraries = Vec::new();
        for (name, program) in programs {
            let content = stripped(program, &scratch.join(name))?;
            archive.file(&format!("bin/{name}"), 0o755, &content)?;
            libraries.extend(libraries_of(program)?);
        }
        libraries.sort_unstable();
        libraries.dedup();
        for library in libraries {
            let path = library.to_string_lossy();
            let content = std::fs::read(&library).with_context(|| format!("read {path}"))?;
            archive.file(path.trim_start_matches('/'), 0o755, &content)?;
        }
        let content = archive.finish()?;
        let digest = digest(&content)?;
        Ok(Self { content, digest })
    }
}

/// Writes the archive of `images` to `path`, with their layer or without.
pub(super) fn write_archive(
    path: &Path,
    layer: &Layer,
    with_layer: bool,
    images: &[Image],
) -> anyhow::Result<()> {
    let writing = || format!("write image archive {}", path.display());
    let mut archive = Archive::new(BufWriter::new(File::create(path).with_context(writing)?));
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    archive.file("oci-layout", 0o644, version.to_string().as_bytes())?;
    if with_layer {
        let path = blob_path(&layer.digest);
        archive
            .file(&path, 0o644, &layer.content)
            .with_context(writing)?;
    }
    let mut manifests = Vec::new();
    for image in images {
        let config = Blob::new(CONFIG, &config(image, layer))?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor,
            "layers": [{ "mediaType": LAYER, "digest": layer.digest, "size": layer.content.len() }],
        });
        let mut manifest = Blob::new(MANIFEST, &manifest)?;
        archive.file(&config.path, 0o644, &config.content)?;
        archive.file(&manifest.path, 0o644, &manifest.content)?;
        if let Some(descriptor) = manifest.descriptor.as_object_mut() {
            descriptor.insert("annotations".to_owned(), json!({ NAME: image.name }));
        }
        manifests.push(manifest.descriptor);
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    archive.file("index.json", 0o644, index.to_string().as_bytes())?;
    archive.finish().with_context(writing)?;
    Ok(())
}

fn config(image: &Image, layer: &Layer) -> Value {
    let environment = image
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": image.command,
            "Env": environment.collect::<Vec<_>>(),
        },
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
    })
}

impl Blob {
    fn new(media_type: &str, document: &Value) -> anyhow::Result<Self> {
        let content = document.to_string().into_bytes();
        let digest = digest(&content)?;
        Ok(Self {
            path: blob_path(&digest),
            descriptor: json!({
                "mediaType": media_type, "digest": digest, "size": content.len(),
            }),
            content,
        })
    }
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// By the program, which takes a tenth of the time that a debug build of ours would take.
fn digest(content: &[u8]) -> anyhow::Result<String> {
    let mut child = Command::new(programs::find("sha256sum")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run sha256sum")?;
    let written = child.stdin.take().map(|mut it| it.write_all(content));
    let ran = child.wait_with_output().context("wait for sha256sum")?;
    written.transpose().context("write to sha256sum")?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let hex = text.split_whitespace().next().unwrap_or_default();
    ensure!(hex.len() == 64, "sha256sum answers {text:?}");
    Ok(format!("sha256:{hex}"))
}

/// This machine's architecture, in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn stripped(program: &Path, copy: &Path) -> anyhow::Result<Vec<u8>> {
    let ran = Command::new(programs::find("strip")?)
        .arg("-o")
        .args([copy, program])
        .output()
        .with_context(|| format!("strip {}", program.display()))?;
    ensure!(
        ran.status.success(),
        "strip {}: {}",
        program.display(),
        String::from_utf8_lossy(&ran.stderr)
    );
    let content = std::fs::read(copy).with_context(|| format!("read {}", copy.display()))?;
    std::fs::remove_file(copy).with_context(|| format!("remove {}", copy.display()))?;
    Ok(content)
}

/// The libraries that a program is linked with, the loader among them.
fn libraries_of(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let ran = Command::new(programs::find("ldd")?)
        .arg(program)
        .output()
        .with_context(|| format!("list the libraries of {}", program.display()))?;
    // A static program has none; ldd calls that a failure.
    let text = String::from_utf8_lossy(&ran.stdout);
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`
    let paths = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .filter(|word| !word.ends_with(':'));
    Ok(paths.map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_holds_the_program_and_its_loader() {
        let place = tempfile::tempdir().unwrap();
        let sleep = programs::find("sleep").unwrap();
        let layer = Layer::of(&[("sleep", &sleep)], place.path()).unwrap();
        let again = Layer::of(&[("sleep", &sleep)], place.path()).unwrap();
        assert_eq!(layer.digest, again.digest);
        let text = String::from_utf8_lossy(&layer.content);
        assert!(text.contains("bin/sleep\0") && text.contains("/libc.so.6\0"));
        assert!(text.contains("lib64/ld-linux") || text.contains("lib/ld-linux"));
    }

    #[test]
    fn an_archive_without_the_layer_is_small_and_names_its_images() {
        let place = tempfile::tempdir().unwrap();
        let layer = Layer {
            content: vec![b'x'; 100_000],
            digest: digest(&[b'x'; 100_000]).unwrap(),
        };
        let image = |name: &str| Image {
            name: format!("sluice.test/{name}:1"),
            command: vec!["/bin/sleep".to_owned(), name.to_owned()],
            environment: vec![("PORT".to_owned(), "8080".to_owned())],
        };
        let path = place.path().join("it.tar");
        write_archive(&path, &layer, true, &[image("a")]).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 100_000);
        write_archive(&path, &layer, false, &[image("a"), image("b")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < 20_000, "{}", text.len());
        for part in [
            "sluice.test/a:1",
            "sluice.test/b:1",
            "PORT=8080",
            &layer.digest,
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
