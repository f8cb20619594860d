//! Turns an example configuration of `deploy/` into one for this run.
//!
//! The examples are plain, valid files that people copy, not templates. Each
//! value to change is therefore named by its text in the example, which must be
//! there exactly once: an edit of the example that this crate does not know of
//! fails here and in the tests, not silently in a demo.

use anyhow::{Context, ensure};

/// Replaces `from` by `to`, where `from` must occur exactly once.
pub(crate) fn replace_once(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    let times = text.matches(from).count();
    ensure!(
        times == 1,
        "render configuration: `{from}` occurs {times} times in the example, not once"
    );
    Ok(text.replacen(from, to, 1))
}

/// Replaces what stands between the lines holding `begin` and `end`; the two
/// lines stay.
pub(crate) fn replace_between(
    text: &str,
    begin: &str,
    end: &str,
    inside: &str,
) -> anyhow::Result<String> {
    let missing = |mark: &str| format!("render configuration: the example has no line `{mark}`");
    let (head, rest) = text.split_once(begin).with_context(|| missing(begin))?;
    let (begin_line, rest) = rest.split_once('\n').with_context(|| missing(begin))?;
    let at = rest.find(end).with_context(|| missing(end))?;
    let (managed, tail) = rest.split_at(at);
    // The end mark's own indentation belongs to its line, not to the block.
    let indent = managed.rsplit('\n').next().unwrap_or_default();
    Ok(format!("{head}{begin}{begin_line}\n{inside}{indent}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_must_be_there_exactly_once() {
        assert_eq!(replace_once("a b c", "b", "x").unwrap(), "a x c");
        assert!(replace_once("a b b", "b", "x").is_err());
        assert!(replace_once("a", "b", "x").is_err());
    }

    #[test]
    fn a_block_is_replaced_and_its_marks_stay() {
        let text = "one\n  # begin (x)\n  old\n  # end\ntwo\n";
        assert_eq!(
            replace_between(text, "# begin", "# end", "  new\n").unwrap(),
            "one\n  # begin (x)\n  new\n  # end\ntwo\n"
        );
        assert_eq!(
            replace_between(text, "# begin", "# end", "").unwrap(),
            "one\n  # begin (x)\n  # end\ntwo\n"
        );
        assert!(replace_between(text, "# nothing", "# end", "").is_err());
    }
}
