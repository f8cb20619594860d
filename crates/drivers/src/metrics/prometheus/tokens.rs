//! Cuts a PromQL query into tokens: as much of the language as is needed to know what is inside a
//! quoted text and what is a selector. It judges no grammar; that is the server's work.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A metric, label or function name, or a keyword.
    Word,
    /// A number or duration.
    Number,
    /// A text in `"` or `'`, quotes included, in which `\` escapes.
    Text,
    /// A text in backticks, in which nothing escapes.
    RawText,
    /// Any other single character.
    Symbol(char),
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'q> {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its characters.
    pub(crate) text: &'q str,
    /// Its first byte in the query.
    pub(crate) start: usize,
}

impl Token<'_> {
    /// The byte after it.
    pub(crate) fn end(&self) -> usize {
        self.start.saturating_add(self.text.len())
    }
}

/// The tokens of `query`, without white space and comments. `Err` is a sentence.
pub(crate) fn tokens(query: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = query.get(start..)
        && let Some(first) = rest.chars().next()
    {
        let (kind, length) = match first {
            it if it.is_whitespace() => (None, it.len_utf8()),
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '"' | '\'' => (Some(Kind::Text), text_length(rest, first, start)?),
            '`' => (Some(Kind::RawText), raw_text_length(rest, start)?),
            it if it.is_ascii_digit() => (
                Some(Kind::Number),
                run(rest, |it| it.is_ascii_alphanumeric() || it == '.'),
            ),
            it if begins_word(it) => (
                Some(Kind::Word),
                run(rest, |it| begins_word(it) || it.is_ascii_digit()),
            ),
            it => (Some(Kind::Symbol(it)), it.len_utf8()),
        };
        if let (Some(kind), Some(text)) = (kind, rest.get(..length)) {
            tokens.push(Token { kind, text, start });
        }
        start = start.saturating_add(length);
    }
    Ok(tokens)
}

fn begins_word(it: char) -> bool {
    it.is_ascii_alphabetic() || it == '_' || it == ':'
}

/// The length of the run of characters that `belongs` holds for.
fn run(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|it| !belongs(it)).unwrap_or(rest.len())
}

fn text_length(rest: &str, quote: char, start: usize) -> Result<usize, String> {
    let mut escaped = false;
    for (at, it) in rest.char_indices().skip(1) {
        match it {
            // A quoted text ends on its line, escaped or not.
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            it if it == quote => return Ok(at.saturating_add(it.len_utf8())),
            _ => {}
        }
    }
    Err(format!(
        "the text that begins with {quote} at byte {start} does not end"
    ))
}

fn raw_text_length(rest: &str, start: usize) -> Result<usize, String> {
    let end = rest.char_indices().skip(1).find(|(_, it)| *it == '`');
    end.map(|(at, _)| at.saturating_add(1))
        .ok_or_else(|| format!("the text that begins with ` at byte {start} does not end"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(query: &str) -> Vec<&str> {
        tokens(query)
            .unwrap()
            .into_iter()
            .map(|it| it.text)
            .collect()
    }

    #[test]
    fn texts_comments_and_words_are_told_apart() {
        assert_eq!(
            texts("rate(a:b{c=~\"}\\\"#\"}[5m]) # sum(x)\n/ 1.5e3"),
            [
                "rate",
                "(",
                "a:b",
                "{",
                "c",
                "=",
                "~",
                "\"}\\\"#\"",
                "}",
                "[",
                "5m",
                "]",
                ")",
                "/",
                "1.5e3"
            ]
        );
        assert_eq!(texts("'\"' `\\`"), ["'\"'", "`\\`"]);
        for open in ["\"a", "a '\\'", "`", "\"a\n\""] {
            tokens(open).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn tokens_are_in_order_and_cover_everything_but_space_and_comments(query in "\\PC{0,60}|[\"'`#{}a1 \n\\\\]{0,40}") {
            if let Ok(tokens) = tokens(&query) {
                let mut end = 0;
                for token in &tokens {
                    let gap = query.get(end..token.start).unwrap().trim_start();
                    prop_assert!(gap.is_empty() || gap.starts_with('#'));
                    prop_assert_eq!(query.get(token.start..token.end()).unwrap(), token.text);
                    end = token.end();
                }
            }
        }
    }
}
