//! A user's selector: checked when the app file is applied, narrowed by labels when it is asked.
//!
//! Whether a text is one selector is for a PromQL parser to say. Where it stops being one is found by
//! walking its tokens, because the parser gives no positions. What is added to a selector is written
//! as a text in quotes that its value cannot leave, and never pasted.

use std::fmt;

use promql_parser::parser::{self, Expr, VectorSelector};

use super::prometheus::{
    freshness,
    tokens::{Kind, Token, tokens},
};
use crate::{
    AppKey,
    exchange::shortened,
    substitution::{self, Substitution},
};

/// Most bytes of a selector: what a person can read, and the parser reads at once.
const SELECTOR_BYTES_MAX: usize = 4096;
/// Characters of a selector that are shown as the way out.
const SHOWN_CHARS: usize = 80;

/// Exactly one instant vector selector, such as `requests_total{code="500"}`.
///
/// Inside quotes it may have `{{app}}` and `{{project}}`; [`Selector::of`] replaces them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

/// How a label is compared. Regular expressions are RE2's and hold for the whole value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`: it is the value. The empty value: the label is absent.
    Equal,
    /// `!=`: it is not the value.
    NotEqual,
    /// `=~`: the value, a regular expression, matches it.
    Matches,
    /// `!~`: the value, a regular expression, does not match it.
    NotMatches,
}

impl MatchOp {
    fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Selector {
    /// Reads a user's text.
    ///
    /// # Errors
    /// A sentence that says what it is instead, where, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(format!("a selector is at most {SELECTOR_BYTES_MAX} bytes"));
        }
        // Any name will do to look at the shape: no value leaves the text it is put in.
        let named = Substitution::name_app(
            text,
            &AppKey {
                project: "project".to_owned(),
                app: "app".to_owned(),
            },
        )?;
        let is = what_it_is(&named);
        if let Err(instead) = is {
            return Err(explained(text, &instead));
        }
        // Behind a comment nothing could be added.
        let end = tokens(text)?.last().map_or(0, Token::end);
        let kept = text.get(..end).unwrap_or_default().trim_start();
        Ok(Self(kept.to_owned()))
    }

    /// All series of these metrics, whose names are ours and not a user's.
    pub(super) fn of_metrics(names: &[&'static str]) -> Self {
        match names {
            [only] => Self((*only).to_owned()),
            several => {
                let nothing = Self("{}".to_owned());
                nothing.with("__name__", MatchOp::Matches, &several.join("|"))
            }
        }
    }

    /// The selector for an app, whose names it may have.
    ///
    /// # Errors
    /// A sentence; a selector from [`Selector::parse`] gives none.
    pub fn of(&self, app: &AppKey) -> Result<Self, String> {
        Substitution::name_app(&self.0, app).map(Self)
    }

    /// Of these series, those whose `label` compares so. The label may be any text; `value` too, and
    /// for the operators of regular expressions it must be one, or the source will refuse it.
    #[must_use]
    pub fn with(&self, label: &str, op: MatchOp, value: &str) -> Self {
        let mut matcher = String::new();
        match is_plain(label) {
            true => matcher.push_str(label),
            // As Prometheus 3 writes names with other characters, dots mostly.
            false => push_text(&mut matcher, label),
        }
        matcher.push_str(op.symbol());
        push_text(&mut matcher, value);
        let Some(inside) = self.0.strip_suffix('}') else {
            return Self(format!("{}{{{matcher}}}", self.0));
        };
        let inside = inside.trim_end();
        let comma = match inside.ends_with(['{', ',']) {
            true => "",
            false => ",",
        };
        Self(format!("{inside}{comma}{matcher}}}"))
    }

    /// Of these series, those whose `label` is one of `values`; none, when there are no values.
    #[must_use]
    pub fn among(&self, label: &str, values: &[String]) -> Self {
        self.with(label, MatchOp::Matches, &substitution::alternation(values))
    }

    /// Its text, as it is asked.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a text is that is not one selector.
struct Instead {
    /// What it is.
    what: String,
    /// What to do about it.
    remedy: &'static str,
}

const ALONE: &str = "give one selector alone, whose samples are counted as they are";
const NO_RANGE: &str = "leave it out, the gate says how far back it looks";
const NOW: &str = "leave it out, what is asked is always about now";

/// Whether a text is one selector.
fn what_it_is(text: &str) -> Result<(), Instead> {
    let instead = |what: &str, remedy| {
        let what = what.to_owned();
        Err(Instead { what, remedy })
    };
    match parser::parse(text) {
        Ok(Expr::VectorSelector(it)) => plain(&it),
        Ok(Expr::MatrixSelector(_)) => instead("a selector with a range", NO_RANGE),
        Ok(Expr::Subquery(_)) => instead("a subquery", ALONE),
        Ok(Expr::Call(_)) => instead("a function of selectors", ALONE),
        Ok(Expr::Aggregate(_)) => instead("an aggregation of selectors", ALONE),
        Ok(Expr::Binary(_)) => instead("an operation on two things", ALONE),
        Ok(Expr::Unary(_)) => instead("a selector with a sign", ALONE),
        Ok(Expr::Paren(_)) => instead("a selector in parentheses", "leave them out"),
        Ok(Expr::NumberLiteral(_)) => instead("a number", ALONE),
        Ok(Expr::StringLiteral(_)) => instead("a text", ALONE),
        Ok(Expr::Extension(_)) => instead("no PromQL", ALONE),
        Err(said) => instead(&format!("not PromQL ({said})"), ALONE),
    }
}

fn plain(selector: &VectorSelector) -> Result<(), Instead> {
    let instead = |what: &str, remedy| {
        let what = what.to_owned();
        Err(Instead { what, remedy })
    };
    if selector.offset.is_some() {
        instead("a selector with an offset", NOW)
    } else if selector.at.is_some() {
        instead("a selector with a moment", NOW)
    } else if !selector.matchers.or_matchers.is_empty() {
        // A dialect of Prometheus', and a label that is added would hold for one branch only.
        instead("a selector with alternatives", "use =~\"a|b\" for them")
    } else {
        Ok(())
    }
}

/// The sentence about a text that is not one selector.
fn explained(text: &str, instead: &Instead) -> String {
    let Instead { what, remedy } = instead;
    let Ok(tokens) = tokens(text) else {
        return format!("this is {what}: {remedy}");
    };
    let place = match stray(&tokens) {
        Some(at) => format!(", at byte {at}"),
        None => String::new(),
    };
    let inner = freshness::selectors(&tokens);
    let example = match inner.first() {
        Some(only) if *remedy == ALONE && inner.len() == 1 && what_it_is(only).is_ok() => {
            format!(", here {}", shortened(only, SHOWN_CHARS))
        }
        Some(_) | None => String::new(),
    };
    format!("this is {what}{place}: {remedy}{example}")
}

/// The byte from which on a text is no selector: `name`, `{label="value", …}` or both.
fn stray(tokens: &[Token<'_>]) -> Option<usize> {
    let end = tokens.last().map_or(0, Token::end);
    let mut rest = tokens.iter();
    let mut next = rest.next();
    if next.is_some_and(|it| it.kind == Kind::Word) {
        next = rest.next();
    }
    if next.is_some_and(|it| it.kind == Kind::Symbol('{')) {
        if let Err(at) = matchers(&mut rest) {
            return Some(at.unwrap_or(end));
        }
        next = rest.next();
    }
    match next {
        Some(token) => Some(token.start),
        None if tokens.is_empty() => Some(end),
        None => None,
    }
}

/// Walks over the matchers behind `{`; `Err`: the first byte that does not fit, `None` for the end.
fn matchers<'t, 'q: 't>(
    rest: &mut impl Iterator<Item = &'t Token<'q>>,
) -> Result<(), Option<usize>> {
    let mut next = || rest.next().ok_or(None);
    loop {
        let name = next()?;
        match name.kind {
            Kind::Symbol('}') => return Ok(()),
            Kind::Word | Kind::Text => {}
            Kind::Number | Kind::RawText | Kind::Symbol(_) => return Err(Some(name.start)),
        }
        let mut value = next()?;
        while matches!(value.kind, Kind::Symbol('=' | '!' | '~')) {
            value = next()?;
        }
        match value.kind {
            Kind::Text | Kind::RawText => {}
            Kind::Word | Kind::Number | Kind::Symbol(_) => return Err(Some(value.start)),
        }
        let behind = next()?;
        match behind.kind {
            Kind::Symbol(',') => {}
            Kind::Symbol('}') => return Ok(()),
            Kind::Word | Kind::Number | Kind::Text | Kind::RawText | Kind::Symbol(_) => {
                return Err(Some(behind.start));
            }
        }
    }
}

/// Whether a label's name needs no quotes.
fn is_plain(label: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    !label.is_empty()
        && label.chars().all(plain)
        && !label.starts_with(|it: char| it.is_ascii_digit())
}

/// Appends `text` in quotes.
fn push_text(written: &mut String, text: &str) {
    written.push('"');
    substitution::push_escaped(written, text);
    written.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selector(text: &str) -> Selector {
        Selector::parse(text).unwrap_or_else(|it| panic!("{text}: {it}"))
    }

    /// The labels that a text compares, by the parser.
    fn compared(text: &str) -> Vec<(String, String, String)> {
        let Ok(Expr::VectorSelector(it)) = parser::parse(text) else {
            panic!("{text}: {:?}", parser::parse(text))
        };
        let all = it.matchers.matchers.into_iter();
        all.map(|it| (it.name, it.op.to_string(), it.value))
            .collect()
    }

    #[test]
    fn one_selector_is_taken_as_it_is_written() {
        for text in [
            "up",
            "a:b_c{}",
            r#"up{job="a b", x!~'}', }"#,
            r#"{__name__=~"a|b"}"#,
            r"up{path=`/a\b`}",
            r#"up{app="{{app}}",p=~'{{ project }}-.*'}"#,
            "up{ # of all\n job = \"a\" }",
        ] {
            assert_eq!(selector(text).as_str(), text);
        }
        assert_eq!(selector("  up{a=\"b\"} # of all").as_str(), "up{a=\"b\"}");
    }

    #[test]
    fn what_is_not_one_selector_is_told_with_the_way_out() {
        let told: Vec<String> = [
            "",
            "rate(up{a=\"b\"}[5m])",
            "sum by (a) (up)",
            "up[5m]",
            "max_over_time(up[5m:1m])",
            "up offset 5m",
            "up{a=\"b\"} @ 1609746000",
            "errors / requests",
            "(up)",
            "-up",
            "1",
            "\"up\"",
            "up down",
            "up{a=\"b\" c=\"d\"}",
            "up{a=\"b\" or c=\"d\"}",
            "up{a=~\"(\"}",
            "up{a=b}",
            "up{a=\"b\"",
            "up{a=\"b}",
            "up}",
            "{a=~\".*\"}",
            "up{{app}}",
            "up{a=\"{{candidate.revision}}\"}",
            "up{a=\"{{nobody}}\"}",
        ]
        .iter()
        .map(|it| format!("{it}\n    {}", Selector::parse(it).unwrap_err()))
        .collect();
        insta::assert_snapshot!(told.join("\n"));
        let long = format!("up{{a=\"{}\"}}", "b".repeat(SELECTOR_BYTES_MAX));
        assert!(Selector::parse(&long).unwrap_err().contains("4096 bytes"));
    }

    #[test]
    fn labels_are_added_behind_what_is_there() {
        for (text, expected) in [
            ("up", r#"up{pod="x"}"#),
            ("up{}", r#"up{pod="x"}"#),
            (r#"up{a="b"}"#, r#"up{a="b",pod="x"}"#),
            (r#"up{a="b" , }"#, r#"up{a="b" ,pod="x"}"#),
            (r#"{a="b"}"#, r#"{a="b",pod="x"}"#),
        ] {
            let with = selector(text).with("pod", MatchOp::Equal, "x");
            assert_eq!(with.as_str(), expected);
            assert_eq!(selector(with.as_str()), with);
        }
        let it = selector("up").with("k8s.pod", MatchOp::NotMatches, "a\"b");
        assert_eq!(it.as_str(), r#"up{"k8s.pod"!~"a\x22b"}"#);
        let names = ["a.b".to_owned(), "c".to_owned()];
        assert_eq!(
            selector("up").among("pod", &names).as_str(),
            r#"up{pod=~"(?:a\\.b|c)"}"#
        );
    }

    #[test]
    fn an_app_is_named_inside_quotes() {
        let app = AppKey {
            project: "shop".to_owned(),
            app: "check\"out".to_owned(),
        };
        let it = selector(r#"up{app="{{app}}",p="{{project}}"}"#);
        assert_eq!(
            it.of(&app).unwrap().as_str(),
            r#"up{app="check\x22out",p="shop"}"#
        );
    }

    proptest! {
        /// Whatever is added, it is one selector with exactly that label more.
        #[test]
        fn a_value_never_leaves_its_text(
            value in "(\\PC|[\"'`\\\\\n\r\t{}|.*]|\"} or vector\\(1\\) #){0,20}",
            label in "[a-z_]{1,9}|\\PC{1,9}|[\"'`{}=]{1,9}",
            text in r#"up|up\{\}|up\{a="b"\}|\{a=~'b\.\+',\}"#
        ) {
            let before = compared(&text);
            let with = selector(&text).with(&label, MatchOp::NotEqual, &value);
            let mut after = compared(with.as_str());
            prop_assert_eq!(after.pop(), Some((label, "!=".to_owned(), value)));
            prop_assert_eq!(after, before);
            prop_assert!(Selector::parse(with.as_str()).is_ok() || with.as_str().contains("{{"));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}|[a-z{}()\\[\\]\"=~!, #@+]{0,60}") {
            if let Ok(it) = Selector::parse(&text) {
                prop_assert!(what_it_is(it.as_str()).is_ok(), "{}", it);
                prop_assert_eq!(Selector::parse(it.as_str()), Ok(it));
            }
        }
    }
}
