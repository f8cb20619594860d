//! Filling `{{candidate.revision}}` and the like into a gate's query, safely.
//!
//! A name stands inside a quoted text of the query (a label matcher, mostly) and its value never
//! leaves that text: values are escaped for a regular expression (RE2) and then for a PromQL text,
//! quotes of both kinds and backticks included. Outside quotes, and in backticks, where nothing can
//! be escaped, names are refused.
//!
//! | name | value |
//! |---|---|
//! | `candidate.revision`, `stable.revision` | `r7` |
//! | `candidate.instances`, `stable.instances` | a regular expression for the instances' names, for `=~` or `!~`; matches nothing while there are none |
//! | `app`, `project` | their names |

use std::fmt::Write;

use rollout::Revision;

use crate::{
    AppKey,
    exchange::shortened,
    metrics::prometheus::tokens::{Kind, Token, tokens},
};

/// A regular expression that matches no text, not even the empty one (which a label that is
/// absent has).
const NOTHING: &str = r"[^\x00-\x{10FFFF}]";

/// Characters of an unknown name that are shown.
const NAME_CHARS: usize = 40;

/// What a query may name.
#[derive(Debug, Clone)]
pub struct Substitution {
    /// The app.
    pub app: AppKey,
    /// The revision being rolled out, and its instances' names.
    pub candidate: (Revision, Vec<String>),
    /// The revision it is compared with.
    pub stable: Option<(Revision, Vec<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    CandidateRevision,
    CandidateInstances,
    StableRevision,
    StableInstances,
    App,
    Project,
}

const NAMES: [(&str, Name); 6] = [
    ("candidate.revision", Name::CandidateRevision),
    ("candidate.instances", Name::CandidateInstances),
    ("stable.revision", Name::StableRevision),
    ("stable.instances", Name::StableInstances),
    ("app", Name::App),
    ("project", Name::Project),
];

impl Substitution {
    /// `query` with every name replaced.
    ///
    /// # Errors
    /// A sentence that says which name cannot be replaced and why.
    pub fn apply(&self, query: &str) -> Result<String, String> {
        fill(query, |name| self.value(name))
    }

    /// Checks the names in `query` without values, as can be done when an app file is applied.
    ///
    /// # Errors
    /// A sentence: an unknown name (with the known ones), braces that do not close, a name outside
    /// a quoted text, a quoted text that does not end.
    pub fn check(query: &str) -> Result<(), String> {
        fill(query, |_| Ok(String::new())).map(drop)
    }

    /// `selector` with the names of `app` replaced. A revision cannot be named in it: whoever compares
    /// two revisions asks the same of both, and tells them apart by a label that is added.
    ///
    /// # Errors
    /// As [`Substitution::check`], and a sentence about a name of a revision.
    pub(crate) fn name_app(selector: &str, app: &AppKey) -> Result<String, String> {
        fill(selector, |name| match name {
            Name::App => Ok(regex_literal(&app.app)),
            Name::Project => Ok(regex_literal(&app.project)),
            Name::CandidateRevision
            | Name::CandidateInstances
            | Name::StableRevision
            | Name::StableInstances => Err(
                "only {{app}} and {{project}} can be used here; the gate itself adds what tells \
                 revisions apart"
                    .to_owned(),
            ),
        })
    }

    /// The value, as a regular expression.
    fn value(&self, name: Name) -> Result<String, String> {
        let stable = || {
            self.stable
                .as_ref()
                .ok_or_else(|| "there is no stable revision to name yet".to_owned())
        };
        Ok(match name {
            Name::CandidateRevision => self.candidate.0.to_string(),
            Name::StableRevision => stable()?.0.to_string(),
            Name::CandidateInstances => alternation(&self.candidate.1),
            Name::StableInstances => alternation(&stable()?.1),
            Name::App => regex_literal(&self.app.app),
            Name::Project => regex_literal(&self.app.project),
        })
    }
}

/// Replaces the names in `query`'s quoted texts by what `value` says.
fn fill(query: &str, value: impl Fn(Name) -> Result<String, String>) -> Result<String, String> {
    let mut filled = String::with_capacity(query.len());
    let mut copied = 0;
    let mut before: Option<Token<'_>> = None;
    for token in tokens(query)? {
        filled.push_str(query.get(copied..token.start).unwrap_or_default());
        copied = token.end();
        match token.kind {
            Kind::Text => {
                let equals = before.is_some_and(|it| it.kind == Kind::Symbol('='));
                fill_text(&mut filled, token.text, equals, &value)?;
            }
            Kind::RawText if token.text.contains("{{") => {
                return Err("{{…}} cannot be used in `…`, use \"…\"".to_owned());
            }
            Kind::Symbol('{') if before.is_some_and(|it| opens_name(&it, &token)) => {
                return Err("{{…}} can only be used inside quotes, e.g. \
                     {revision=\"{{candidate.revision}}\"}"
                    .to_owned());
            }
            Kind::Word | Kind::Number | Kind::RawText | Kind::Symbol(_) => {
                filled.push_str(token.text);
            }
        }
        before = Some(token);
    }
    filled.push_str(query.get(copied..).unwrap_or_default());
    Ok(filled)
}

fn opens_name(before: &Token<'_>, token: &Token<'_>) -> bool {
    before.kind == Kind::Symbol('{') && before.end() == token.start
}

/// Replaces the names in one quoted text. `equals`: it stands behind `=` or `!=`.
fn fill_text(
    filled: &mut String,
    text: &str,
    equals: bool,
    value: impl Fn(Name) -> Result<String, String>,
) -> Result<(), String> {
    let mut rest = text;
    while let Some((before, opened)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((written, after)) = opened.split_once("}}") else {
            return Err("\"{{\" is not closed by \"}}\"".to_owned());
        };
        let name = known(written.trim())?;
        if equals && matches!(name, Name::CandidateInstances | Name::StableInstances) {
            let written = written.trim();
            return Err(format!(
                "{{{{{written}}}}} is a regular expression: use =~ or !~ for it"
            ));
        }
        push_escaped(filled, &value(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(())
}

fn known(written: &str) -> Result<Name, String> {
    let found = NAMES
        .iter()
        .find(|(it, _)| *it == written)
        .map(|(_, name)| *name);
    found.ok_or_else(|| {
        let known: Vec<&str> = NAMES.iter().map(|(it, _)| *it).collect();
        let written = shortened(written, NAME_CHARS);
        format!(
            "unknown name {{{{{written}}}}}; known here: {}",
            known.join(", ")
        )
    })
}

/// A regular expression for exactly these names; grouped, so that text may stand around it.
pub(crate) fn alternation(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|it| regex_literal(it)).collect();
    match names.as_slice() {
        [] => NOTHING.to_owned(),
        [only] => only.clone(),
        several => format!("(?:{})", several.join("|")),
    }
}

/// `text` as a regular expression (RE2) that matches exactly it.
pub(crate) fn regex_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for it in text.chars() {
        if r"\.+*?()|[]{}^$".contains(it) {
            literal.push('\\');
        }
        literal.push(it);
    }
    literal
}

/// Appends `text` as it is written inside a PromQL text, whichever quotes it is in.
pub(crate) fn push_escaped(filled: &mut String, text: &str) {
    for it in text.chars() {
        match it {
            '\\' => filled.push_str(r"\\"),
            // By number, since `\'` is not allowed in "…", nor `\"` in '…'.
            '"' => filled.push_str(r"\x22"),
            '\'' => filled.push_str(r"\x27"),
            '`' => filled.push_str(r"\x60"),
            it if it.is_control() => {
                // Writing to a String cannot fail.
                write!(filled, "\\u{:04x}", u32::from(it)).unwrap_or_default();
            }
            it => filled.push(it),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn substitution(app: &str, instances: &[&str]) -> Substitution {
        Substitution {
            app: AppKey {
                project: "shop".to_owned(),
                app: app.to_owned(),
            },
            candidate: (
                Revision(7),
                instances.iter().map(|it| (*it).to_owned()).collect(),
            ),
            stable: None,
        }
    }

    #[test]
    fn names_are_replaced() {
        let mut it = substitution("checkout", &["127.0.0.1:8080", "b"]);
        it.stable = Some((Revision(6), vec!["c".to_owned()]));
        let query = r#"a{app="{{app}}",p='{{ project }}',r="{{candidate.revision}}|{{stable.revision}}",i=~"{{candidate.instances}}"} / b{i!~"x{{stable.instances}}"} # {{nothing}}"#;
        insta::assert_snapshot!(
            it.apply(query).unwrap(),
            @r#"a{app="checkout",p='shop',r="r7|r6",i=~"(?:127\\.0\\.0\\.1:8080|b)"} / b{i!~"xc"} # {{nothing}}"#
        );
        Substitution::check(query).unwrap();
    }

    #[test]
    fn no_instances_match_nothing() {
        let query = substitution("a", &[])
            .apply(r#"up{i=~"{{candidate.instances}}"}"#)
            .unwrap();
        assert_eq!(query, r#"up{i=~"[^\\x00-\\x{10FFFF}]"}"#);
    }

    #[test]
    fn what_cannot_be_replaced_is_said() {
        for (query, part) in [
            (
                r#"up{i="{{candidat.revision}}"}"#,
                "known here: candidate.revision",
            ),
            (r#"up{i="{{app"}"#, "not closed"),
            (r#"up{i="{{app}}"#, "does not end"),
            ("{{app}}_total", "inside quotes"),
            ("up{i=`{{app}}`}", "use \"…\""),
            (r#"up{i="{{candidate.instances}}"}"#, "=~"),
            (r#"up{i!="{{stable.instances}}"}"#, "=~"),
        ] {
            let said = Substitution::check(query).unwrap_err();
            assert!(said.contains(part), "{query}: {said}");
        }
        let said = substitution("a", &[])
            .apply(r#"up{r="{{stable.revision}}"}"#)
            .unwrap_err();
        assert_eq!(said, "there is no stable revision to name yet");
    }

    proptest! {
        /// Whatever an app or instance is called, the query keeps its shape.
        #[test]
        fn a_value_never_leaves_its_text(
            hostile in "(\\PC|[\"'`\\\\\n\r\t{}|.*]|\"} or vector\\(1\\) #){0,20}", quote in "[\"']"
        ) {
            let query = format!("up{{app={quote}{{{{app}}}}{quote},i=~{quote}{{{{candidate.instances}}}}{quote}}} + x");
            let filled = substitution(&hostile, &[&hostile]).apply(&query).unwrap();
            let shape = |it: &str| -> Vec<Kind> { tokens(it).unwrap().into_iter().map(|it| it.kind).collect() };
            prop_assert_eq!(shape(&filled), shape(&query), "{}", filled);
            prop_assert!(!filled.contains(char::is_control));
        }
    }
}
