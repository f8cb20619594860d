//! All problems of one file: place, text and excerpt of each.

use std::fmt;

use super::places::Spot;
use crate::output::clean;

/// Most characters of a line that an excerpt shows.
const EXCERPT_MAX: usize = 120;

/// One problem.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// Where; `None` when the text has no place for it.
    pub(super) spot: Option<Spot>,
    /// What is wrong and how to put it right.
    pub(super) detail: String,
}

/// Everything that is wrong with a file, in the order of the text.
#[derive(Debug)]
pub(crate) struct FileProblems {
    name: String,
    findings: Vec<(Finding, Option<String>)>,
}

impl FileProblems {
    pub(super) fn new(name: &str, text: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|it| it.spot.map(|spot| (spot.line, spot.column)));
        let lines: Vec<&str> = text.lines().collect();
        let line = |spot: Spot| lines.get(spot.line.checked_sub(1)?).copied();
        let findings = findings.into_iter().map(|it| {
            let excerpt = it.spot.and_then(|spot| Some(excerpt(line(spot)?, spot)));
            (it, excerpt)
        });
        Self {
            name: clean(name),
            findings: findings.collect(),
        }
    }
}

impl std::error::Error for FileProblems {}

impl fmt::Display for FileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.findings.len() {
            1 => write!(f, "one problem in {}", self.name)?,
            count => write!(f, "{count} problems in {}", self.name)?,
        }
        for (finding, excerpt) in &self.findings {
            let detail = clean(&finding.detail);
            match finding.spot {
                Some(Spot { line, column, .. }) => {
                    write!(f, "\n\n{}:{line}:{column}: {detail}", self.name)?;
                }
                None => write!(f, "\n\n{}: {detail}", self.name)?,
            }
            if let Some(excerpt) = excerpt {
                write!(f, "\n{excerpt}")?;
            }
        }
        Ok(())
    }
}

/// The line with a mark under the spot:
///
/// ```text
///   12 |       - setWieght: 5
///      |         ^^^^^^^^^
/// ```
fn excerpt(line: &str, spot: Spot) -> String {
    let characters: Vec<char> = clean(line).chars().collect();
    let at = spot.column.saturating_sub(1).min(characters.len());
    // A very long line is shown from a little before the spot.
    let from = if at >= EXCERPT_MAX {
        at.saturating_sub(20)
    } else {
        0
    };
    let shown: String = characters.iter().skip(from).take(EXCERPT_MAX).collect();
    let room = characters.len().saturating_sub(at).clamp(1, EXCERPT_MAX);
    let mark = "^".repeat(spot.length.clamp(1, room));
    let number = spot.line.to_string();
    let (margin, indent) = (
        " ".repeat(number.len()),
        " ".repeat(at.saturating_sub(from)),
    );
    format!(
        "  {number} | {}\n  {margin} | {indent}{mark}",
        shown.trim_end()
    )
}
