//! Reads app files, YAML or JSON, and knows where in the text each value stands.
//!
//! The server checks documents and names problems by JSON pointer; here a pointer becomes a line,
//! a column and an excerpt. What is wrong with the text as such (syntax, keys given twice) is
//! found and shown in the same way.

mod places;
mod problems;
mod syntax;

use std::{fs::File, io::Read, path::Path};

use anyhow::Context as _;
use api::{ClientError, FieldProblem};
use serde_json::Value;

pub(crate) use problems::FileProblems;

use crate::{
    exit::Usage,
    target::{AppName, DEFAULT_PROJECT, is_name},
};
use places::Places;
use problems::Finding;

/// Most bytes of an app file: the longest sensible one is a few dozen KiB.
const BYTES_MAX: u64 = 1 << 20;

/// Stands in the path for an app without a usable name.
const UNNAMED: &str = "unnamed";

/// An app file that could be read as a document.
#[derive(Debug)]
pub(crate) struct AppDocument {
    name: String,
    text: String,
    value: Value,
    places: Places,
}

impl AppDocument {
    /// Reads the file at `path`; `-` is standard input.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let stdin = path == Path::new("-");
        let name = if stdin {
            "<stdin>".to_owned()
        } else {
            path.display().to_string()
        };
        let mut bytes = Vec::new();
        let read = match stdin {
            true => std::io::stdin()
                .lock()
                .take(BYTES_MAX + 1)
                .read_to_end(&mut bytes),
            false => {
                File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
            }
        };
        read.with_context(|| Usage(format!("read {name}")))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Usage::error(format!(
                "read {name}: longer than {BYTES_MAX} bytes"
            )));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Usage::error(format!("read {name}: not UTF-8 text")))?;
        Ok(Self::parse(&name, text)?)
    }

    /// Reads `text`; `name` is how messages call it.
    pub(crate) fn parse(name: &str, text: String) -> Result<Self, FileProblems> {
        match syntax::parse(&text) {
            Ok((value, places)) => Ok(Self {
                name: name.to_owned(),
                text,
                value,
                places,
            }),
            Err(findings) => Err(FileProblems::new(name, &text, findings)),
        }
    }

    /// The document.
    pub(crate) fn value(&self) -> &Value {
        &self.value
    }

    /// The app that the document names. One without a usable name gets a stand-in for the path of
    /// the request: the server refuses the document and names all that is wrong with it.
    pub(crate) fn app(&self) -> AppName {
        let name = |key: &str, otherwise: &str| {
            let text = self.value.get(key).and_then(Value::as_str);
            text.filter(|it| is_name(it))
                .unwrap_or(otherwise)
                .to_owned()
        };
        AppName {
            project: name("project", DEFAULT_PROJECT),
            app: name("app", UNNAMED),
        }
    }

    /// The problems, each at its place.
    pub(crate) fn problems(&self, problems: &[FieldProblem]) -> FileProblems {
        let findings = problems.iter().map(|it| Finding {
            spot: self.places.find(&it.pointer, &it.detail),
            detail: it.detail.clone(),
        });
        FileProblems::new(&self.name, &self.text, findings.collect())
    }

    /// The server's refusal, with places where it names fields of this document.
    pub(crate) fn explain(&self, error: ClientError) -> anyhow::Error {
        match error.problem() {
            Some(problem) if problem.status == 422 && !problem.errors.is_empty() => {
                self.problems(&problem.errors).into()
            }
            Some(_) | None => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
