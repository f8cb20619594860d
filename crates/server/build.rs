//! Puts the dashboard where it is embedded from: what `make web` has built, or else a page that says
//! how to build it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sluice</title>\
    <h1>The dashboard is not in this binary</h1>\
    <p>Run <code>make build</code>: it builds the dashboard (Node 20 or newer) and then the binary.</p>";

fn main() -> io::Result<()> {
    let built = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?)
        .join("../../web/dist");
    let embedded = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("dashboard");
    if embedded.exists() {
        fs::remove_dir_all(&embedded)?;
    }
    fs::create_dir_all(&embedded)?;
    // Where it is not there, cargo runs this at every build, until it is.
    println!(
        "cargo::rerun-if-changed={}",
        built.join("index.html").display()
    );
    match built.join("index.html").exists() {
        true => copy(&built, &embedded),
        false => fs::write(embedded.join("index.html"), PLACEHOLDER),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
