//! A rollout in words: one line, or everything.

use api::{GateView, RevisionTraffic, RolloutView, StepState};
use jiff::Timestamp;

use crate::{
    duration,
    output::{Tone, clean, moment, or_dash, table, toned},
};

/// Where it stands, in one line.
pub(crate) fn line(view: &RolloutView) -> String {
    let it = &view.summary;
    let why = it.reason.as_ref().or(it.waiting.as_ref());
    let why = why.map(|it| format!("; {it}")).unwrap_or_default();
    clean(&format!("{}{why}", stage(view)))
}

/// Its phase and step, in one line.
pub(crate) fn stage(view: &RolloutView) -> String {
    let it = &view.summary;
    let step = match has_ended(view) || it.step.is_empty() {
        true => String::new(),
        false => format!(", {}", it.step),
    };
    clean(&format!(
        "{}/{} {} {}{step}",
        it.project,
        it.app,
        it.candidate,
        phase_text(&it.phase)
    ))
}

/// How it ended, or where it stands when it has not.
pub(crate) fn outcome(view: &RolloutView) -> String {
    let it = &view.summary;
    let name = format!("{}/{}", it.project, it.app);
    let took = it
        .ended_at
        .map(|end| duration::short(end.duration_since(it.created_at)));
    let took = took.map(|it| format!(" after {it}")).unwrap_or_default();
    let reason = it
        .reason
        .as_ref()
        .map(|it| format!(": {it}"))
        .unwrap_or_default();
    let text = match it.phase.as_str() {
        "succeeded" => format!("{} of {name} is stable{took}", it.candidate),
        "rolledBack" => {
            let stable = it.stable.as_deref().unwrap_or("nothing");
            let candidate = &it.candidate;
            format!("{candidate} of {name} was taken back{took}, {stable} has the traffic{reason}")
        }
        "cancelled" => format!("{} of {name} was cancelled{took}{reason}", it.candidate),
        _ => line(view),
    };
    toned(&clean(&text), tone(view))
}

/// Whether it goes on only when a person does something.
pub(crate) fn needs_person(view: &RolloutView) -> bool {
    let kind = view.waiting_on.as_ref().map(|it| it.kind.as_str());
    let held = view.summary.phase == "paused";
    held || matches!(kind, Some("approval" | "promotion" | "decision" | "held"))
}

/// What a person can do about a rollout that waits for one.
pub(crate) fn needed(view: &RolloutView) -> String {
    let id = view.summary.id;
    let verbs: &[&str] = match view.waiting_on.as_ref().map(|it| it.kind.as_str()) {
        _ if view.summary.phase == "paused" => &["resume", "abort"],
        Some("approval") => &["approve", "reject"],
        Some("promotion") => &["promote", "abort"],
        Some("held") => &["resume", "abort"],
        _ => &["skip", "retry", "abort"],
    };
    let verbs: Vec<String> = verbs.iter().map(|it| format!("sluice {it} {id}")).collect();
    format!("the rollout needs a person: {}", verbs.join(", or "))
}

/// Everything about it.
pub(crate) fn full(view: &RolloutView) -> String {
    let mut blocks = vec![head(view)];
    if !view.traffic.is_empty() {
        blocks.push(traffic(&view.traffic));
    }
    let problems = problems(view);
    if !problems.is_empty() {
        blocks.push(problems.join("\n"));
    }
    if !view.gates.is_empty() {
        blocks.push(gates(&view.gates));
    }
    if !view.steps.is_empty() {
        blocks.push(steps(view));
    }
    blocks.join("\n\n")
}

/// What is wrong with instances, and with the parts that run and route to them.
fn problems(view: &RolloutView) -> Vec<String> {
    let of = |it: &RevisionTraffic| {
        let lines = it.problems.iter();
        let lines = lines.map(|text| format!("! {}: {text}", it.revision));
        lines.collect::<Vec<_>>()
    };
    let obstacles = view.obstacles.iter();
    let obstacles = obstacles.map(|it| format!("! {}: {}; it is tried again", it.part, it.detail));
    let lines = view.traffic.iter().flat_map(of).chain(obstacles);
    lines
        .map(|it| toned(&clean(&it), Some(Tone::Attention)))
        .collect()
}

fn head(view: &RolloutView) -> String {
    let it = &view.summary;
    let title = clean(&format!(
        "{}/{}  {} by {}  ",
        it.project, it.app, it.candidate, it.strategy
    ));
    let title = format!("{title}{}", toned(phase_text(&it.phase), tone(view)));
    let comment = view
        .comment
        .as_ref()
        .map(|it| format!(": {it}"))
        .unwrap_or_default();
    let mut rows = vec![
        ("rollout", it.id.to_string()),
        ("artifact", view.artifact.clone()),
        (
            "asked for",
            format!("{} by {}{comment}", moment(it.created_at), view.created_by),
        ),
    ];
    if view.attempt > 1 {
        rows.push(("attempt", view.attempt.to_string()));
    }
    match it.ended_at {
        Some(end) => {
            let took = duration::short(end.duration_since(it.created_at));
            rows.push(("ended", format!("{} after {took}", moment(end))));
        }
        None => {
            let since = duration::short(Timestamp::now().duration_since(view.since));
            rows.push(("step", format!("{}, for {since}", it.step)));
        }
    }
    if let Some(waiting) = &view.waiting_on {
        rows.push(("now", waiting.sentence.clone()));
    }
    if let Some(why) = &view.why {
        rows.push(("reason", why.sentence.clone()));
    }
    let rows = rows
        .iter()
        .map(|(name, text)| format!("  {name:<10} {}", clean(text)));
    std::iter::once(title)
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
}

fn traffic(revisions: &[RevisionTraffic]) -> String {
    let rows = revisions.iter().map(|it| {
        let observed = it.observed.map(|it| format!("{it} %"));
        let ready = it.ready.map_or_else(|| "?".to_owned(), |it| it.to_string());
        [
            it.revision.clone(),
            it.role.clone(),
            format!("{} %", it.asked),
            observed.unwrap_or_else(|| "?".to_owned()),
            format!("{ready}/{}", it.desired),
        ]
    });
    table(&["REVISION", "ROLE", "ASKED", "OBSERVED", "READY"], rows)
}

fn gates(gates: &[GateView]) -> String {
    let rows = gates.iter().map(|it| {
        let last = or_dash(it.last.as_deref());
        [
            it.gate.clone(),
            it.verdict.clone(),
            last,
            it.bound.clone(),
            it.measured.to_string(),
        ]
    });
    table(&["GATE", "VERDICT", "LAST", "GOOD IS", "MEASURED"], rows)
}

fn steps(view: &RolloutView) -> String {
    let steps = view.steps.iter().map(|it| {
        let mark = match it.state {
            StepState::Done => "✓",
            StepState::Current => "▸",
            StepState::Ahead => "·",
            StepState::Left => "-",
        };
        format!("{mark} {}", clean(&it.title))
    });
    steps.collect::<Vec<_>>().join("\n")
}

fn has_ended(view: &RolloutView) -> bool {
    view.summary.ended_at.is_some()
}

/// The phase's word, for people.
fn phase_text(phase: &str) -> &str {
    match phase {
        "rolledBack" => "rolled back",
        other => other,
    }
}

fn tone(view: &RolloutView) -> Option<Tone> {
    match view.summary.phase.as_str() {
        "succeeded" => Some(Tone::Good),
        "rolledBack" | "cancelled" | "aborting" => Some(Tone::Bad),
        _ if needs_person(view) => Some(Tone::Attention),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
