//! What a notice says to people, before it is dressed for a chat or a mailbox.
//!
//! Everything in it that people or other programs wrote is plain text of bounded length: whoever
//! dresses it must escape it, or use a form in which nothing has a meaning.

use serde_json::Value;

use super::{Notice, kinds};
use crate::exchange::shortened;

/// Characters of one sentence: a reason can quote much, and chats refuse what is too long.
const SENTENCE_CHARS: usize = 1000;

/// A notice for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// `shop/checkout r2: rolled back`.
    pub(super) headline: String,
    /// What happened and why, a sentence each.
    pub(super) sentences: Vec<String>,
    /// The rollout's page, where this service knows its own address.
    pub(super) link: Option<String>,
    /// The rollout, for putting messages about one together.
    pub(super) rollout: Option<String>,
}

impl Message {
    /// What `notice` says.
    pub(super) fn of(notice: &Notice) -> Self {
        let text = |key: &str| {
            let value = notice.payload.get(key).and_then(Value::as_str);
            value.map(|it| shortened(it, SENTENCE_CHARS))
        };
        let or_empty = |key: &str| text(key).unwrap_or_default();
        let sentence = text("sentence").map(|it| capitalised(&it));
        // A sentence may say the reason already.
        let told = sentence.clone().unwrap_or_default();
        let reason = text("reason").filter(|it| !told.contains(it.as_str()));
        let why = reason.map(|it| format!("Why: {it}"));
        Self {
            headline: format!(
                "{}/{} {}: {}",
                or_empty("project"),
                or_empty("app"),
                or_empty("candidate"),
                kinds::in_words(&notice.kind),
            ),
            sentences: sentence.into_iter().chain(why).collect(),
            link: text("link"),
            rollout: text("rollout"),
        }
    }
}

/// Sentences of the core begin with a small letter, as they follow a time or a name there.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|it| it.to_uppercase().collect::<String>());
    first.into_iter().chain([letters.collect()]).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn message(kind: &str, sentence: &str, reason: &str) -> Message {
        Message::of(&Notice {
            id: "n".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            kind: kind.to_owned(),
            payload: json!({
                "project": "shop", "app": "checkout", "candidate": "r2",
                "sentence": sentence, "reason": reason,
            }),
        })
    }

    #[test]
    fn the_reason_is_told_once() {
        let begun = message(
            "rollout.abortStarted",
            "rollback begun: too slow",
            "too slow",
        );
        assert_eq!(begun.headline, "shop/checkout r2: abort started");
        assert_eq!(begun.sentences, ["Rollback begun: too slow"]);
        let ended = message("rollout.rolledBack", "rolled back", "too\r\nslow");
        assert_eq!(ended.sentences, ["Rolled back", "Why: too  slow"]);
    }
}
