//! Reads the `gates` of an app file.

use jiff::SignedDuration;

mod statistical;

use super::{
    CompareGate, Gate, GatePolicy, LatencyGate, Question, ScalarGate, SloGate, Threshold,
    WebhookGate,
};
use crate::document::{Object, Reader};

/// Between two measurements when the user names no interval.
const INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// Bad readings in a row that fail a gate: two, because one may be a lone bad scrape.
const FAIL_AFTER: u32 = 2;
/// Good readings in a row that pass a gate.
const PASS_AFTER: u32 = 2;
/// Most gates of one app: each costs a query an interval.
const GATES_MAX: usize = 20;
/// Longest query that is accepted.
const QUERY_MAX: usize = 10_000;

const KEYS: [&str; 11] = [
    "name",
    "threshold",
    "webhook",
    "compare",
    "latency",
    "slo",
    "scalar",
    "interval",
    "onFail",
    "onInconclusive",
    "onNoData",
];
/// The kinds of gate.
const KINDS: [&str; 6] = [
    "threshold",
    "webhook",
    "compare",
    "latency",
    "slo",
    "scalar",
];
const POLICIES: [(&str, GatePolicy); 4] = [
    ("rollback", GatePolicy::Rollback),
    ("pause", GatePolicy::Pause),
    ("extend", GatePolicy::Extend),
    ("promote", GatePolicy::Promote),
];

impl Gate {
    pub(crate) fn read_all(file: &Object<'_>) -> Option<Vec<Self>> {
        file.or("gates", Vec::new(), |it| {
            let gates = it.each(Self::read)?;
            if gates.len() > GATES_MAX {
                return it.problem(format!("{} gates, at most {GATES_MAX}", gates.len()));
            }
            let mut names: Vec<&str> = gates.iter().map(|it| it.name.as_str()).collect();
            names.sort_unstable();
            match names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
                Some((twice, _)) => it.problem(format!("two gates are named \"{twice}\"")),
                None => Some(gates),
            }
        })
    }

    /// The names of the gates, also of those with something wrong in them: a gate step that names
    /// one is not wrong too.
    pub(crate) fn names(file: &Object<'_>) -> Vec<String> {
        let gates = file.get("gates");
        let gates = gates.as_ref().and_then(|it| it.value().as_array());
        let names = gates.into_iter().flatten().map(|it| it.get("name"));
        let names = names.map(|it| it.and_then(|it| it.as_str()).unwrap_or_default());
        names.map(ToOwned::to_owned).collect()
    }

    fn read(reader: &Reader<'_>) -> Option<Self> {
        let gate = reader.object(&KEYS)?;
        let name = gate.required("name", Reader::name);
        let question = Question::read(&gate);
        let interval = gate.or("interval", INTERVAL, Reader::duration);
        // A threshold is known within its step; evidence takes the time that it takes, and only a
        // person can say whether to wait for more.
        let undecided = match KINDS.iter().skip(2).any(|it| gate.has(it)) {
            true => GatePolicy::Pause,
            false => GatePolicy::Rollback,
        };
        let on_fail = gate.or("onFail", GatePolicy::Rollback, |it| {
            match it.word(&POLICIES)? {
                GatePolicy::Extend => it
                    .problem("what has failed cannot be extended: give rollback, pause or promote"),
                policy => Some(policy),
            }
        });
        let on_inconclusive = gate.or("onInconclusive", undecided, |it| it.word(&POLICIES));
        let on_no_data = gate.or("onNoData", undecided, |it| it.word(&POLICIES));
        Some(Self {
            name: name?,
            question: question?,
            interval: interval?,
            on_fail: on_fail?,
            on_inconclusive: on_inconclusive?,
            on_no_data: on_no_data?,
        })
    }
}

impl Question {
    fn read(gate: &Object<'_>) -> Option<Self> {
        let mut given = KINDS
            .iter()
            .filter_map(|kind| Some((*kind, gate.get(kind)?)));
        let kinds = KINDS.join(", ");
        let Some((kind, reader)) = given.next() else {
            return gate.problem(format!("give one of {kinds}"));
        };
        if given.next().is_some() {
            return gate.problem(format!("give only one of {kinds}"));
        }
        match kind {
            "threshold" => Threshold::read(&reader).map(Self::Threshold),
            "webhook" => WebhookGate::read(&reader).map(Self::Webhook),
            "compare" => CompareGate::read(&reader).map(Self::Compare),
            "latency" => LatencyGate::read(&reader).map(Self::Latency),
            "slo" => SloGate::read(&reader).map(Self::Slo),
            _ => ScalarGate::read(&reader).map(Self::Scalar),
        }
    }
}

impl Threshold {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let keys = ["query", "below", "above", "unit", "failAfter", "passAfter"];
        let threshold = reader.object(&keys)?;
        let query = threshold.required("query", query);
        let below = threshold.optional("below", Reader::number);
        let above = threshold.optional("above", Reader::number);
        let unit = threshold.optional("unit", Reader::text);
        let rows = (
            threshold.or("failAfter", FAIL_AFTER, |it| it.whole(1, 100)),
            threshold.or("passAfter", PASS_AFTER, |it| it.whole(1, 100)),
        );
        let (below, above) = (below?, above?);
        match (below, above) {
            (None, None) => return threshold.problem("give below, above or both"),
            (Some(below), Some(above)) if below <= above => {
                return threshold
                    .problem(format!("no number is both below {below} and above {above}"));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        Some(Self {
            query: query?,
            below,
            above,
            unit: unit?,
            fail_after: rows.0?,
            pass_after: rows.1?,
        })
    }
}

/// A query or selector, not longer than is accepted.
fn query(reader: &Reader<'_>) -> Option<String> {
    let query = reader.text()?;
    match query.len() > QUERY_MAX {
        true => reader.problem(format!("longer than {QUERY_MAX} characters")),
        false => Some(query),
    }
}

impl WebhookGate {
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let webhook = reader.object(&["url", "failAfter", "passAfter"])?;
        let url = webhook.required("url", Reader::url);
        // A service that answers for itself is believed at its first word.
        let fail_after = webhook.or("failAfter", 1, |it| it.whole(1, 100));
        let pass_after = webhook.or("passAfter", 1, |it| it.whole(1, 100));
        Some(Self {
            url: url?,
            fail_after: fail_after?,
            pass_after: pass_after?,
        })
    }
}
