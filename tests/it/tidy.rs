//! House rules that a machine can check.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines of a source file before its inline tests; above this a file is more than one idea. Test
/// files are lists of cases and may be longer.
const LINES_MAX: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

fn all_files() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    rust_files(&root().join("crates"), &mut found);
    rust_files(&root().join("tests"), &mut found);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    found.into_iter().map(read).collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = all_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"));
    let silent: Vec<PathBuf> = silent.map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "no //! at the top of {silent:#?}");
}

#[test]
fn no_file_is_longer_than_one_idea() {
    let sources = all_files().into_iter().filter(|(path, _)| {
        let tests = path
            .file_stem()
            .is_some_and(|it| it.to_string_lossy().ends_with("tests"));
        path.iter().any(|it| it == "src") && !tests
    });
    let long = sources.filter_map(|(path, text)| {
        let code = text.split("mod tests {").next().unwrap_or_default();
        let lines = code.lines().count();
        (lines > LINES_MAX).then(|| format!("{} has {lines} lines", path.display()))
    });
    let long: Vec<String> = long.collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:#?}");
}

#[test]
fn the_core_depends_on_nothing_that_does_anything() {
    for (core, needs) in [
        (
            "rollout",
            &["analysis", "serde", "serde_json", "jiff", "thiserror"][..],
        ),
        ("analysis", &["libm", "serde", "thiserror"]),
    ] {
        let manifest = root().join("crates").join(core).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
        let names = dependencies
            .lines()
            .filter_map(|line| line.split(['.', ' ']).next());
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        assert_eq!(names, needs, "{core}");
    }
}

#[test]
fn the_code_map_names_every_crate() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = format!("`crates/{}`", entry.file_name().display());
        assert!(map.contains(&name), "ARCHITECTURE.md does not name {name}");
    }
}
