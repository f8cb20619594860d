//! A rollout for the wire.

use api::{ObstacleView, RolloutSummary, RolloutView, StepState, StepView, Waiting, WhyEnded};
use jiff::Timestamp;
use rollout::{Event, Phase, Plan, Reason, State, Track, WaitingOn};
use serde::Serialize;
use serde_json::Value;
use store::{Rollout, TransitionRow};

use super::{gates, traffic};
use crate::live::{Obstacle, Seen};

/// What a rollout is shown with.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    /// The rollout.
    pub(crate) rollout: &'a Rollout,
    /// What is rolled out.
    pub(crate) artifact: &'a str,
    /// What this replica last saw of the app, if it looks after it.
    pub(crate) seen: Option<&'a Seen>,
    /// The last row of its history; needed for one that was cancelled, whose reason is only there.
    pub(crate) last: Option<&'a TransitionRow>,
}

/// The current step and its place, e.g. `setWeight 25 (3/8)`.
pub(super) fn step_words(plan: &Plan, state: &State) -> String {
    if matches!(state.phase, Phase::Pending | Phase::Cancelled) {
        return "not started".to_owned();
    }
    let steps = plan.list(state.cursor.track);
    let Some(step) = steps.get(state.cursor.step) else {
        return "no steps".to_owned();
    };
    let (title, place) = (step.behavior().title(), state.cursor.step + 1);
    format!("{title} ({place}/{})", steps.len())
}

/// The list that is being walked, as a word.
pub(super) fn track_word(track: Track) -> &'static str {
    match track {
        Track::Main => "main",
        Track::Promote => "promote",
        Track::Abort => "abort",
    }
}

/// A rollout in a list.
pub(crate) fn summary(rollout: &Rollout) -> RolloutSummary {
    let abort = rollout.state.abort.as_ref();
    let share = rollout::target(&rollout.plan, &rollout.state).weight(rollout.candidate);
    RolloutSummary {
        id: rollout.id,
        project: rollout.project.clone(),
        app: rollout.app.clone(),
        strategy: rollout.plan.strategy.clone(),
        stable: rollout.stable.map(|it| it.to_string()),
        candidate: rollout.candidate.to_string(),
        phase: rollout.phase.word().to_owned(),
        step: step_words(&rollout.plan, &rollout.state),
        share: share.percent(),
        waiting: waiting_on(rollout).map(|it| it.to_string()),
        needs_person: !rollout.phase.is_terminal() && needs_person(rollout),
        reason: abort.map(|it| it.reason.to_string()),
        created_at: rollout.created_at,
        ended_at: rollout.ended_at,
    }
}

/// Whether it goes on only when somebody says so.
pub(crate) fn needs_person(rollout: &Rollout) -> bool {
    if rollout.phase == Phase::Paused {
        // What a freeze window holds goes on by itself.
        let hold = rollout.state.hold.as_ref();
        return !hold.is_some_and(rollout::Hold::is_by_freeze);
    }
    match &rollout.waiting {
        Some(
            WaitingOn::Promotion
            | WaitingOn::Approval { .. }
            | WaitingOn::Decision { .. }
            | WaitingOn::Held { .. },
        ) => true,
        Some(
            WaitingOn::Predecessor
            | WaitingOn::FirstPass
            | WaitingOn::Instances { .. }
            | WaitingOn::InstancesGone { .. }
            | WaitingOn::Routes { .. }
            | WaitingOn::Rule { .. }
            | WaitingOn::WorkloadUnknown { .. }
            | WaitingOn::RouterUnknown { .. }
            | WaitingOn::Timer { .. }
            | WaitingOn::Gates { .. }
            | WaitingOn::Frozen { .. }
            | WaitingOn::StableReady { .. },
        )
        | None => false,
    }
}

/// What it waits for; nothing once it has ended.
pub(super) fn waiting_on(rollout: &Rollout) -> Option<&WaitingOn> {
    rollout
        .waiting
        .as_ref()
        .filter(|_| !rollout.phase.is_terminal())
}

/// Why it went back or never began.
pub(super) fn why<'a>(shown: &Shown<'a>) -> Option<(&'a Reason, Timestamp)> {
    let abort = shown.rollout.state.abort.as_ref();
    if let Some(abort) = abort {
        return Some((&abort.reason, abort.at));
    }
    let last = shown.last?;
    match &last.event {
        Event::Cancelled { reason } => Some((reason, last.at)),
        _ => None,
    }
}

/// A rollout in full.
pub(crate) fn view(shown: &Shown<'_>) -> RolloutView {
    let Rollout { plan, state, .. } = shown.rollout;
    let why = why(shown);
    let mut summary = summary(shown.rollout);
    summary.reason = why.map(|(reason, _)| reason.to_string());
    let seen = traffic::relevant(shown);
    RolloutView {
        summary,
        artifact: shown.artifact.to_owned(),
        version: shown.rollout.version,
        attempt: state.cursor.attempt,
        step_index: state.cursor.step,
        since: state.since,
        track: track_word(state.cursor.track).to_owned(),
        steps: steps(plan, state),
        waiting_on: waiting_on(shown.rollout).map(|it| {
            let (kind, facts) = facts(it);
            Waiting {
                kind,
                sentence: it.to_string(),
                facts,
            }
        }),
        // Who looks is known to the routes, which add it.
        approval: None,
        why: why.map(|(reason, at)| {
            let (kind, facts) = facts(reason);
            WhyEnded {
                kind,
                sentence: reason.to_string(),
                facts,
                at,
            }
        }),
        traffic: traffic::shares(shown),
        gates: gates::views(shown.rollout, seen),
        obstacles: seen.map(obstacles).unwrap_or_default(),
        observed_at: seen.map(|it| it.at),
        created_by: shown.rollout.created_by.clone(),
        comment: shown.rollout.comment.clone(),
    }
}

fn obstacles(seen: &Seen) -> Vec<ObstacleView> {
    let view = |it: &Obstacle| ObstacleView {
        part: it.part.to_owned(),
        detail: it.detail.clone(),
    };
    seen.obstacles.iter().map(view).collect()
}

/// A tagged value as its kind and the rest of its fields.
fn facts(value: &impl Serialize) -> (String, Value) {
    let mut facts = serde_json::to_value(value).unwrap_or_default();
    let kind = facts.as_object_mut().and_then(|it| it.remove("kind"));
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("unknown");
    (kind.to_owned(), facts)
}

fn steps(plan: &Plan, state: &State) -> Vec<StepView> {
    let all = plan.list(state.cursor.track).iter().enumerate();
    all.map(|(index, step)| StepView {
        title: step.behavior().title(),
        state: step_state(index, state),
    })
    .collect()
}

fn step_state(index: usize, state: &State) -> StepState {
    match state.phase {
        Phase::Pending => StepState::Ahead,
        Phase::Cancelled => StepState::Left,
        Phase::Succeeded | Phase::RolledBack => StepState::Done,
        Phase::Progressing | Phase::Paused | Phase::Promoting | Phase::Aborting => {
            match index.cmp(&state.cursor.step) {
                std::cmp::Ordering::Less => StepState::Done,
                std::cmp::Ordering::Equal => StepState::Current,
                std::cmp::Ordering::Greater => StepState::Ahead,
            }
        }
    }
}
