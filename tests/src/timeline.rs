//! What share of the traffic a candidate may have when, read from the history: the ceiling that
//! router's record is held against.

use std::collections::BTreeMap;

use api::TransitionView;
use jiff::Timestamp;

/// From a moment on, a candidate may have at most this share.
#[derive(Debug, Clone, PartialEq)]
pub struct Ceiling {
    /// From when.
    pub from: Timestamp,
    /// Which revision, e.g. `r2`.
    pub revision: String,
    /// By what name the front knows it.
    pub known_as: String,
    /// The share, 0 to 1.
    pub share: f64,
}

/// The ceilings of one rollout's candidate, in order of time.
pub fn ceilings(
    candidate: &str,
    known_as: &str,
    install: bool,
    history: &[TransitionView],
) -> Vec<Ceiling> {
    let mut reached = 0.0_f64;
    let mut given_back = false;
    let mut all = Vec::new();
    for transition in history {
        let started = matches!(transition.event.as_str(), "started" | "retried");
        if started && transition.phase != "aborting" {
            reached = 0.0;
            given_back = false;
        }
        let back = transition.phase == "rolledBack"
            || transition.sentence.contains("give traffic back to stable")
            || (transition.phase == "aborting" && transition.sentence.contains("stopTraffic"));
        given_back |= back;
        let asked = match transition.phase.as_str() {
            "aborting" | "rolledBack" | "cancelled" => None,
            _ => weight(&transition.step),
        };
        let before = reached;
        reached = asked.unwrap_or(reached);
        let share = match (given_back, install) {
            (true, _) => 0.0,
            (false, true) => 1.0,
            // A step that lowers the share is waited for too.
            (false, false) => before.max(reached),
        };
        all.push(Ceiling {
            from: transition.at,
            revision: candidate.to_owned(),
            known_as: known_as.to_owned(),
            share,
        });
    }
    all
}

/// The ceilings under one name, in order of time. Revisions that share it add up to the highest of
/// theirs: whoever is known by it may have that much.
pub fn under_one_name<'a>(ceilings: impl IntoIterator<Item = &'a Ceiling>) -> Vec<Ceiling> {
    let mut shares = BTreeMap::new();
    let merge = |ceiling: &'a Ceiling| {
        shares.insert(&ceiling.revision, ceiling.share);
        let share = shares.values().copied().fold(0.0, f64::max);
        Ceiling {
            share,
            ..ceiling.clone()
        }
    };
    ceilings.into_iter().map(merge).collect()
}

/// The share that a step such as `setWeight 25 (3/8)` asks for.
fn weight(step: &str) -> Option<f64> {
    let words = step.strip_prefix("setWeight ")?;
    let percent: f64 = words.split_whitespace().next()?.parse().ok()?;
    Some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(second: i64, event: &str, sentence: &str, phase: &str, step: &str) -> TransitionView {
        TransitionView {
            seq: second,
            at: Timestamp::from_second(second).unwrap(),
            by: "system".to_owned(),
            event: event.to_owned(),
            sentence: sentence.to_owned(),
            phase: phase.to_owned(),
            step: step.to_owned(),
            attempt: 1,
            hash: String::new(),
        }
    }

    #[test]
    fn ceilings_follow_the_steps_and_end_with_the_way_back() {
        let history = [
            row(1, "created", "", "pending", "not started"),
            row(
                2,
                "started",
                "",
                "progressing",
                "setScale candidate 1 (1/9)",
            ),
            row(3, "stepDone", "", "progressing", "setWeight 20 (2/9)"),
            row(4, "stepDone", "", "progressing", "pause 1s (3/9)"),
            row(5, "stepDone", "", "progressing", "setWeight 10 (4/9)"),
            row(
                6,
                "abortStarted",
                "",
                "aborting",
                "give traffic back to stable (1/3)",
            ),
            row(
                7,
                "stepDone",
                "done: give traffic back to stable",
                "aborting",
                "drain 1s (2/3)",
            ),
            row(
                8,
                "rolledBack",
                "",
                "rolledBack",
                "setScale candidate 0 (3/3)",
            ),
        ];
        let shares: Vec<f64> = ceilings("r2", "r2", false, &history)
            .iter()
            .map(|it| it.share)
            .collect();
        assert_eq!(shares, [0.0, 0.0, 0.2, 0.2, 0.2, 0.1, 0.0, 0.0]);
    }

    #[test]
    fn revisions_of_one_name_may_have_the_highest_share_of_theirs() {
        let ceiling = |second: i64, revision: &str, share: f64| Ceiling {
            from: Timestamp::from_second(second).unwrap(),
            revision: revision.to_owned(),
            known_as: "v2".to_owned(),
            share,
        };
        let all = [
            ceiling(1, "r2", 0.2),
            ceiling(2, "r2", 0.0),
            ceiling(3, "r3", 0.0),
            ceiling(4, "r3", 0.5),
            ceiling(5, "r3", 0.0),
        ];
        let shares: Vec<f64> = under_one_name(&all).iter().map(|it| it.share).collect();
        assert_eq!(shares, [0.2, 0.0, 0.0, 0.5, 0.0]);
    }
}
