//! `sluice schema`: the JSON Schema of the app file.

use crate::{exit::Exit, output};

/// JSON Schema 2020-12, written by hand; a test holds it against what the readers accept.
const SCHEMA: &str = include_str!("../app_schema.json");

/// Prints it.
pub(crate) fn run() -> anyhow::Result<Exit> {
    output::print_raw(SCHEMA.as_bytes())?;
    Ok(Exit::Succeeded)
}

#[cfg(test)]
mod tests;
