//! How old the samples behind an answer are.
//!
//! The timestamp in the answer to an instant query is the moment of evaluation, not of a sample:
//! `rate(x[10m])` of a target that died nine minutes ago is answered with today's date. So a second
//! question is asked along with the first, about the query's selectors themselves:
//!
//! ```text
//! rate(errors{app="a"}[2m]) / rate(requests{app="a"}[2m])
//!        └────────┬───────┘          └────────┬────────┘
//!   time() - min( max(timestamp(errors…)) or max(timestamp(requests…)) )
//! ```
//!
//! that is the age, by the server's own clock, of each selector's newest sample, and of these the
//! greatest. Prometheus ends a series as soon as its target is gone or stops exposing it, so a dead
//! target shows at its next scrape, not only after `staleAfter`.
//!
//! What this cannot see: a recording rule over dead series (the rule's own samples are fresh); a
//! selector without any current sample beside one that has some, which is taken as "no such event
//! so far" (the usual `errors or vector(0)`). `offset` and `@` are left out: asked is whether the
//! series is alive. A query without selectors (`vector(1)`) has no age.

use std::collections::BTreeSet;

use super::tokens::{Kind, Token, tokens};

/// Most selectors that are asked about; a query a person can read has far fewer.
const SELECTORS_MAX: usize = 32;

/// Words after which a list of labels may stand, in which no word is a metric.
const GROUPINGS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Words of the language that stand where a metric could.
const KEYWORDS: [&str; 9] = [
    "and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "default",
];

/// The query whose value is the age in seconds of the samples behind `query`; `None` if there are
/// no selectors in it, or if it cannot be cut into tokens (the server will refuse it then).
pub(super) fn question(query: &str) -> Option<String> {
    let selectors = selectors(&tokens(query).ok()?);
    // Told apart by a label, since `or` drops vectors with equal labels.
    let newest = selectors
        .iter()
        .take(SELECTORS_MAX)
        .enumerate()
        .map(|(number, selector)| {
            format!("label_replace(max(timestamp({selector})), \"n\", \"{number}\", \"n\", \"\")")
        });
    let newest: Vec<String> = newest.collect();
    (!newest.is_empty()).then(|| format!("time() - min({})", newest.join(" or ")))
}

/// The instant vector selectors of a query, without range, offset and `@`.
pub(in crate::metrics) fn selectors(tokens: &[Token<'_>]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = tokens;
    while let [token, after @ ..] = rest {
        let next = after.first().map(|it| it.kind);
        rest = after;
        match token.kind {
            Kind::Symbol('[') => rest = group(rest, '[', ']').1,
            Kind::Symbol('{') => {
                let (matchers, behind) = group(rest, '{', '}');
                found.insert(format!("{{{matchers}}}"));
                rest = behind;
            }
            Kind::Word if is_one_of(&GROUPINGS, token) => {
                if let (Some(Kind::Symbol('(')), [_, inside @ ..]) = (next, rest) {
                    rest = group(inside, '(', ')').1;
                }
            }
            // A function, an aggregation, or an aggregation whose grouping comes first.
            Kind::Word if next == Some(Kind::Symbol('(')) || is_one_of(&KEYWORDS, token) => {}
            Kind::Word
                if after
                    .first()
                    .is_some_and(|it| is_one_of(&["by", "without"], it)) => {}
            Kind::Word => {
                let mut selector = token.text.to_owned();
                if let (Some(Kind::Symbol('{')), [_, inside @ ..]) = (next, rest) {
                    let (matchers, behind) = group(inside, '{', '}');
                    selector.push_str(&format!("{{{matchers}}}"));
                    rest = behind;
                }
                found.insert(selector);
            }
            Kind::Number | Kind::Text | Kind::RawText | Kind::Symbol(_) => {}
        }
    }
    found
}

fn is_one_of(words: &[&str], token: &Token<'_>) -> bool {
    token.kind == Kind::Word && words.iter().any(|it| token.text.eq_ignore_ascii_case(it))
}

/// What stands inside a group whose opening character is behind us, and what follows it.
fn group<'t, 'q>(tokens: &'t [Token<'q>], open: char, close: char) -> (String, &'t [Token<'q>]) {
    let mut inside = String::new();
    let mut depth = 1_usize;
    let mut rest = tokens;
    while let [token, after @ ..] = rest {
        rest = after;
        if token.kind == Kind::Symbol(open) {
            depth = depth.saturating_add(1);
        } else if token.kind == Kind::Symbol(close) {
            depth = depth.saturating_sub(1);
        }
        if depth == 0 {
            break;
        }
        inside.push_str(token.text);
    }
    (inside, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(query: &str) -> Vec<String> {
        selectors(&tokens(query).unwrap()).into_iter().collect()
    }

    #[test]
    fn selectors_are_found_and_nothing_else() {
        for (query, expected) in [
            ("up", vec!["up"]),
            (
                "up{job=\"a b\", x!~'}'}[5m]",
                vec!["up{job=\"a b\",x!~'}'}"],
            ),
            (
                "{__name__=~\"a|b\"} offset -5m",
                vec!["{__name__=~\"a|b\"}"],
            ),
            (
                "sum by (le, pod) (rate(a:b_c[2m] @ start())) / on(pod) group_left b",
                vec!["a:b_c", "b"],
            ),
            (
                "sum(a) by (pod) or b and c unless d > bool Inf",
                vec!["a", "b", "c", "d"],
            ),
            ("max_over_time(rate(a[5m])[1h:1m]) + a", vec!["a"]),
            ("vector(1) + 0x1f * time() # up", vec![]),
            (
                "label_replace(a, \"b\", \"$1\", \"c\", \"(.*)\")",
                vec!["a"],
            ),
            ("count without (x) (a) + 1e3", vec!["a"]),
        ] {
            assert_eq!(found(query), expected, "{query}");
        }
    }

    #[test]
    fn a_query_without_selectors_has_no_age() {
        assert_eq!(question("vector(0) + 1"), None);
        assert_eq!(question("\"unterminated"), None);
        insta::assert_snapshot!(
            question("a / b{c=\"d\"}").unwrap(),
            @r#"time() - min(label_replace(max(timestamp(a)), "n", "0", "n", "") or label_replace(max(timestamp(b{c="d"})), "n", "1", "n", ""))"#
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_asked_about(query in "\\PC{0,60}|[a-z{}()\\[\\]\", ]{0,60}") {
            question(&query);
        }
    }
}
