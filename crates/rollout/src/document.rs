//! Reads what a user wrote, and names every problem at once.
//!
//! serde stops at the first mistake; an app file with ten mistakes deserves ten messages. A
//! [`Reader`] is a value with its JSON pointer; each `read` notes its problem and goes on. Whoever
//! holds the text (the command line) turns pointers into lines and columns.

use std::cell::RefCell;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::weight::Weight;

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// JSON pointer (RFC 6901) to the value that is wrong, or to where one is missing.
    pub pointer: String,
    /// What is wrong and how to put it right.
    pub detail: String,
}

/// Most problems that are collected from one document; the rest would only repeat them.
const PROBLEMS_MAX: usize = 100;

/// The problems found so far.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Notes a problem at `pointer`.
    pub fn note(&self, pointer: &str, detail: impl Into<String>) {
        let mut problems = self.0.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            problems.push(Problem {
                pointer: pointer.to_owned(),
                detail: detail.into(),
            });
        }
    }

    /// `value` if nothing was noted, else all problems.
    pub fn settle<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        let mut problems = self.0.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                if problems.is_empty() {
                    let detail = "the document cannot be read".to_owned();
                    problems.push(Problem {
                        pointer: String::new(),
                        detail,
                    });
                }
                Err(problems)
            }
        }
    }
}

/// Reads a whole document with `read` and gives the value, or every problem.
pub fn read<T>(
    document: &Value,
    read: impl FnOnce(&Reader<'_>) -> Option<T>,
) -> Result<T, Vec<Problem>> {
    let problems = Problems::default();
    let value = read(&Reader {
        value: document,
        pointer: String::new(),
        problems: &problems,
    });
    problems.settle(value)
}

/// A value of the document and where it stands.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    value: &'a Value,
    pointer: String,
    problems: &'a Problems,
}

impl<'a> Reader<'a> {
    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Where it stands.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Notes a problem here; gives `None`, to be returned.
    pub fn problem<T>(&self, detail: impl Into<String>) -> Option<T> {
        self.problems.note(&self.pointer, detail);
        None
    }

    /// Notes a problem at `below`, a pointer relative to here.
    pub fn problem_at<T>(&self, below: &str, detail: impl Into<String>) -> Option<T> {
        self.problems
            .note(&format!("{}{below}", self.pointer), detail);
        None
    }

    fn wrong<T>(&self, wanted: &str) -> Option<T> {
        self.problem(format!("{} is not {wanted}", shown(self.value)))
    }

    fn child(&self, key: &str, value: &'a Value) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        Self {
            value,
            pointer: format!("{}/{key}", self.pointer),
            problems: self.problems,
        }
    }

    /// An object with no keys but `known`; each unknown key is a problem that lists the known ones.
    pub fn object(&self, known: &[&str]) -> Option<Object<'a>> {
        let Some(map) = self.value.as_object() else {
            return self.wrong(&format!("a map with {}", listed(known)));
        };
        for (key, value) in map {
            if !known.contains(&key.as_str()) {
                let hint = closest(key, known).map(|it| format!(", did you mean \"{it}\"?"));
                let hint = hint.unwrap_or_default();
                self.child(key, value).problem::<()>(format!(
                    "unknown key \"{key}\"{hint}; known here: {}",
                    listed(known)
                ));
            }
        }
        Some(Object {
            reader: self.clone(),
            map,
        })
    }

    /// An object with exactly one of the keys `known`, e.g. `{ setWeight: 5 }`.
    pub fn one_of(&self, known: &[&str]) -> Option<(&'a str, Self)> {
        let object = self.object(known)?;
        let present = object
            .map
            .iter()
            .filter(|(key, _)| known.contains(&key.as_str()));
        let mut present = present.collect::<Vec<_>>();
        match (present.pop(), present.is_empty()) {
            (Some((key, value)), true) => Some((key.as_str(), self.child(key, value))),
            (Some(_), false) => self.problem(format!("give only one of {}", listed(known))),
            (None, _) if object.map.is_empty() => {
                self.problem(format!("give one of {}", listed(known)))
            }
            (None, _) => None,
        }
    }

    /// The items of a list.
    pub fn list(&self) -> Option<Vec<Self>> {
        let Some(items) = self.value.as_array() else {
            return self.wrong("a list");
        };
        let items = items.iter().enumerate();
        Some(
            items
                .map(|(index, value)| self.child(&index.to_string(), value))
                .collect(),
        )
    }

    /// Every item read with `read`; `None` if one cannot be read (all are tried).
    pub fn each<T>(&self, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        let read: Vec<Option<T>> = self.list()?.iter().map(read).collect();
        read.into_iter().collect()
    }

    /// Every value of a map with free keys, read with `read`.
    pub fn entries<T>(&self, read: impl Fn(&str, &Self) -> Option<T>) -> Option<Vec<T>> {
        let Some(map) = self.value.as_object() else {
            return self.wrong("a map");
        };
        let read: Vec<Option<T>> = map
            .iter()
            .map(|(key, value)| read(key, &self.child(key, value)))
            .collect();
        read.into_iter().collect()
    }

    /// A text that is not empty.
    pub fn text(&self) -> Option<String> {
        match self.value.as_str() {
            Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
            Some(_) => self.problem("must not be empty"),
            None => self.wrong("a text"),
        }
    }

    /// A name: 1 to 63 of a–z, 0–9 and `-`, beginning with a letter (RFC 1123 label).
    pub fn name(&self) -> Option<String> {
        let text = self.text()?;
        if is_name(&text) {
            return Some(text);
        }
        self.problem(format!(
            "\"{text}\" is not a name: 1 to 63 of a-z, 0-9 and '-', beginning with a letter"
        ))
    }

    /// A text that is an http or https URL with a host.
    pub fn url(&self) -> Option<String> {
        let text = self.text()?;
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        let host = rest.map(|it| it.split(['/', '?', '#']).next().unwrap_or_default());
        match host {
            Some(host) if !host.is_empty() && !host.contains(['@', ' ']) => Some(text),
            Some(_) | None => self.problem(format!(
                "\"{text}\" is not a URL such as http://127.0.0.1:9090 (no user name inside)"
            )),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong("true or false"))
    }

    /// A finite number.
    pub fn number(&self) -> Option<f64> {
        self.value
            .as_f64()
            .filter(|it| it.is_finite())
            .or_else(|| self.wrong("a number"))
    }

    /// A whole number from `min` to `max`.
    pub fn whole(&self, min: u32, max: u32) -> Option<u32> {
        let number = self.value.as_u64().and_then(|it| u32::try_from(it).ok());
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            Some(_) | None => self.wrong(&format!("a whole number from {min} to {max}")),
        }
    }

    /// A share of traffic: 0 to 100, at most two decimals.
    pub fn weight(&self) -> Option<Weight> {
        let weight = self.value.as_f64().and_then(Weight::from_percent);
        weight.or_else(|| self.wrong("a weight from 0 to 100 (percent, at most two decimals)"))
    }

    /// A duration such as `30s`, `10m`, `1h 30m`; more than zero and at most a year.
    pub fn duration(&self) -> Option<SignedDuration> {
        let year = SignedDuration::from_hours(366 * 24);
        let parsed = self
            .value
            .as_str()
            .and_then(|it| it.parse::<SignedDuration>().ok());
        match parsed {
            Some(it) if it > SignedDuration::ZERO && it <= year => Some(it),
            Some(_) | None => self.wrong("a duration such as 30s, 10m or 1h 30m"),
        }
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.value.as_str();
        let found = words
            .iter()
            .find(|(word, _)| Some(*word) == text)
            .map(|(_, it)| *it);
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        found.or_else(|| self.wrong(&format!("one of {}", listed(&known))))
    }
}

/// An object of the document.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    reader: Reader<'a>,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The reader of `key`, when it is there and not null.
    pub fn get(&self, key: &str) -> Option<Reader<'a>> {
        let value = self.map.get(key).filter(|it| !it.is_null())?;
        Some(self.reader.child(key, value))
    }

    /// Whether `key` stands there, even with nothing behind it (`canary:`).
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Notes a problem with the object as a whole.
    pub fn problem<T>(&self, detail: impl Into<String>) -> Option<T> {
        self.reader.problem(detail)
    }

    /// A value that must be there.
    pub fn required<T>(&self, key: &str, read: impl FnOnce(&Reader<'a>) -> Option<T>) -> Option<T> {
        match self.get(key) {
            Some(reader) => read(&reader),
            None => self.reader.problem(format!("\"{key}\" is missing")),
        }
    }

    /// A value that may be absent: `Some(None)` when absent, `None` when it is wrong.
    pub fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Reader<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.get(key) {
            Some(reader) => read(&reader).map(Some),
            None => Some(None),
        }
    }

    /// A value with a default.
    pub fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&Reader<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(reader) => read(&reader),
            None => Some(default),
        }
    }
}

/// Whether `text` is a name: 1 to 63 of a–z, 0–9 and `-`, beginning with a letter and not ending
/// with `-`.
pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    begins && text.len() <= 63 && text.chars().all(allowed) && !text.ends_with('-')
}

fn listed(words: &[&str]) -> String {
    words.join(", ")
}

/// How a value is shown in a message: short, so that a huge one does not drown the message.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let text = value.to_string();
            match text.char_indices().nth(40) {
                Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
                None => text,
            }
        }
    }
}

/// The known word that `word` was probably meant to be: equal but for case, or one edit away.
fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = word.to_lowercase();
    let near = |it: &&&'k str| {
        let other = it.to_lowercase();
        other == lower || edits(&other, &lower) <= 1 + lower.len() / 6
    };
    known.iter().find(near).copied()
}

/// Levenshtein distance, for short words.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        let mut next = vec![left];
        for (cb, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(ca != *cb))
                .min(left + 1)
                .min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_is_named_at_its_place() {
        let document = json!({ "setWieght": 5, "for": "soon", "share": 120, "name": "Bad Name" });
        let problems = read(&document, |it| {
            let object = it.object(&["setWeight", "for", "share", "name", "url"])?;
            let duration = object.required("for", Reader::duration);
            let share = object.required("share", Reader::weight);
            let name = object.required("name", Reader::name);
            let url = object.required("url", Reader::url);
            Some((duration?, share?, name?, url?))
        });
        let pointers: Vec<String> = problems
            .unwrap_err()
            .into_iter()
            .map(|it| it.pointer + " " + &it.detail)
            .collect();
        assert_eq!(pointers.len(), 5, "{pointers:#?}");
        assert!(
            pointers[0].contains("did you mean \"setWeight\"?"),
            "{pointers:#?}"
        );
    }

    #[test]
    fn edit_distance_is_levenshtein() {
        for (a, b, distance) in [
            ("", "", 0),
            ("kitten", "sitting", 3),
            ("ab", "", 2),
            ("abc", "abd", 1),
        ] {
            assert_eq!(edits(a, b), distance, "{a} {b}");
        }
    }
}
