//! House rules of this crate that a machine can check.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[test]
fn the_statistics_depend_on_nothing_that_does_anything() {
    let manifest = include_str!("../Cargo.toml");
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
    let names = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    assert_eq!(names, ["libm", "serde", "thiserror"]);
}
