//! What goes to the terminal: tables for people, JSON or YAML for programs on stdout; messages and
//! errors on stderr. Colour only on a terminal, and not where `NO_COLOR` is set.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

/// In which form data is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Comments, not documentation: as help they would blow up every `--help`.
    // For people.
    Table,
    // For programs.
    Json,
    // For programs whose data people read.
    Yaml,
}

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// In which form.
    pub(crate) format: Format,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Ended well.
    Good,
    /// Went wrong, or was taken back.
    Bad,
    /// Somebody should look.
    Attention,
}

impl Output {
    /// Gives `value` as data, or what `text` makes of it for people.
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(&text(value)),
            Format::Json => print(&serde_json::to_string_pretty(value)?),
            Format::Yaml => print(serde_yaml::to_string(value)?.trim_end()),
        }
    }

    /// Gives one item of a stream: one line of JSON, one YAML document, one line of text.
    pub(crate) fn stream<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(&text(value)),
            Format::Json => print(&serde_json::to_string(value)?),
            Format::Yaml => print(&format!(
                "---\n{}",
                serde_yaml::to_string(value)?.trim_end()
            )),
        }
    }

    /// A line about what goes on: part of the text for people, a message beside data.
    pub(crate) fn progress(self, line: &str) -> anyhow::Result<()> {
        match self.format {
            Format::Table => print(line),
            Format::Json | Format::Yaml => {
                message(line);
                Ok(())
            }
        }
    }
}

/// Writes to stdout. Unlike `println!` it gives an error when nobody reads any more.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes raw text to stdout: a schema, a completion script.
pub(crate) fn print_raw(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Writes a message to stderr. Nothing can be done when that fails.
pub(crate) fn message(text: &str) {
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// How an error begins.
pub(crate) fn error_word() -> &'static str {
    match wants_colour(io::stderr().is_terminal()) {
        true => "\u{1b}[1;31merror:\u{1b}[0m",
        false => "error:",
    }
}

/// Whether a stream that is a terminal or not gets colour (no-color.org).
pub(crate) fn wants_colour(terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|it| it == "dumb");
    terminal && !dumb && !set("NO_COLOR")
}

/// `text` for stdout in the colour of its meaning.
pub(crate) fn toned(text: &str, tone: Option<Tone>) -> String {
    let code = match tone {
        Some(Tone::Good) => "32",
        Some(Tone::Bad) => "31",
        Some(Tone::Attention) => "33",
        None => return text.to_owned(),
    };
    match wants_colour(io::stdout().is_terminal()) {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    }
}

/// Rows under a header, columns lined up, no lines around.
pub(crate) fn table<R, C>(header: &[&str], rows: R) -> String
where
    R: IntoIterator<Item = C>,
    C: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.into_iter().map(|it| clean(&it)).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// `text` without control characters: what others wrote (comments, instance output) must not steer
/// the terminal of whoever looks.
pub(crate) fn clean(text: &str) -> String {
    let fits = |it: char| if it.is_control() { ' ' } else { it };
    text.chars().map(fits).collect()
}

/// A moment, to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `text`, or a dash where there is none.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_lines() {
        let rows = [["shop", "r7"], ["a-longer-name", "r12\u{1b}[2J"]];
        let text = table(&["APP", "STABLE"], rows.map(|it| it.map(str::to_owned)));
        let expected = "APP            STABLE\nshop           r7\na-longer-name  r12 [2J";
        assert_eq!(text, expected);
    }
}
