//! Which notices somebody wants: `on`, a list of kinds.

use rollout::{AlertAction, Event, WaitingOn, document::Reader};

/// What people are told unless they say otherwise: that it begins, what asks them to act, and how it
/// goes out. Each step in between is for machines, and for the dashboard.
const FOR_PEOPLE: [&str; 9] = [
    "started",
    WaitingOn::ASKS[0],
    WaitingOn::ASKS[1],
    WaitingOn::ASKS[2],
    "paused",
    AlertAction::NOTICE,
    "abortStarted",
    "rolledBack",
    "succeeded",
];

/// Before each kind stands what it is about.
const PREFIX: &str = "rollout.";

/// The kinds for people.
pub(super) fn for_people() -> Vec<String> {
    FOR_PEOPLE.map(ToOwned::to_owned).to_vec()
}

/// Reads `on`.
pub(super) fn read(reader: &Reader<'_>) -> Option<Vec<String>> {
    let known = Event::WORDS.iter().chain(&WaitingOn::ASKS);
    let known = known.chain([&AlertAction::NOTICE]);
    let known: Vec<(&str, &str)> = known.map(|it| (*it, *it)).collect();
    let kinds = reader.each(|it| it.word(&known).map(ToOwned::to_owned))?;
    match kinds.is_empty() {
        true => reader.problem("name at least one kind, or leave \"on\" out"),
        false => Some(kinds),
    }
}

/// Whether a notice of `kind` is among those wanted.
pub(super) fn among(wanted: &[String], kind: &str) -> bool {
    let word = kind.strip_prefix(PREFIX).unwrap_or(kind);
    wanted.iter().any(|it| it == word)
}

/// `rollout.waitingForApproval` as `waiting for approval`.
pub(super) fn in_words(kind: &str) -> String {
    let word = kind.strip_prefix(PREFIX).unwrap_or(kind);
    let mut words = String::new();
    for letter in word.chars() {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use rollout::document;
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_read_by_name_and_the_defaults_exist() {
        assert_eq!(
            document::read(&json!(FOR_PEOPLE), read).unwrap(),
            for_people()
        );
        for bad in [json!([]), json!(["began"]), json!("started")] {
            document::read(&bad, read).unwrap_err();
        }
        assert!(among(&for_people(), "rollout.rolledBack"));
        assert!(!among(&for_people(), "rollout.stepDone"));
        assert_eq!(
            in_words("rollout.waitingForApproval"),
            "waiting for approval"
        );
    }
}
