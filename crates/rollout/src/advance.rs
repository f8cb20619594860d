//! May the rollout move on, and if not, why. The one `match` on the phase.

use jiff::{SignedDuration, Timestamp};

use crate::{
    event::Event,
    freeze::{Freeze, holds, keeps_from_starting},
    gate::{Gate, GatePolicy, GateState, Question, Verdict},
    observation::Observation,
    plan::Plan,
    reason::{Reason, WaitingOn},
    state::{Abort, Cursor, Hold, Phase, State, Track},
    steps::{Behavior, Status, View, gates::detail},
    target::{Target, target},
    time,
};

/// After an outage of the router, the workload's host or Sluice itself, a wait whose progress
/// deadline passed meanwhile gets this long (or the whole deadline, if that is shorter): most
/// instances are ready within it.
const WATCHED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// What a pass decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// A transition: this is the next state, and this is what happened.
    Next(Box<State>, Event),
    /// Nothing changes yet.
    Wait {
        /// Why; `None` once the rollout has ended.
        on: Option<WaitingOn>,
        /// When time alone may change that.
        look_again_at: Option<Timestamp>,
    },
}

/// Decides whether the rollout moves on. Level-triggered: it depends on the committed state and on
/// what is seen now, never on what was noticed before.
pub fn advance(plan: &Plan, state: &State, observation: &Observation, now: Timestamp) -> Advance {
    match state.phase {
        Phase::Pending => match keeps_from_starting(plan, state, &observation.freezes) {
            Some(freeze) => frozen(freeze),
            None => start(plan, state, now),
        },
        Phase::Succeeded | Phase::RolledBack | Phase::Cancelled => Advance::Wait {
            on: None,
            look_again_at: None,
        },
        Phase::Aborting => walk(plan, state, observation, now),
        Phase::Progressing | Phase::Promoting => match failure(plan, state, observation) {
            Some(Failure::Rollback(reason)) => begin_abort(plan, state, reason, now),
            Some(Failure::Hold(by)) => hold(state, by, now),
            None => match holds(plan, state, &observation.freezes) {
                Some(freeze) => freeze_hold(state, freeze, now),
                None => walk(plan, state, observation, now),
            },
        },
        Phase::Paused => match failure(plan, state, observation) {
            Some(Failure::Rollback(reason)) => begin_abort(plan, state, reason, now),
            Some(Failure::Hold(_)) | None => held(plan, state, &observation.freezes, now),
        },
    }
}

/// A state that stands at the beginning of `track`.
pub(crate) fn enter(
    state: &State,
    phase: Phase,
    track: Track,
    base: Target,
    now: Timestamp,
) -> State {
    State {
        generation: state.generation + 1,
        phase,
        cursor: Cursor {
            track,
            step: 0,
            attempt: state.cursor.attempt,
        },
        since: now,
        base,
        finish_step: None,
        approvals: Vec::new(),
        hold: None,
        abort: state.abort.clone(),
        break_glass: state.break_glass.clone(),
    }
}

/// The state after an abort began: everything as it is, and on the way back.
pub(crate) fn aborted(plan: &Plan, state: &State, reason: Reason, now: Timestamp) -> State {
    let base = target(plan, state);
    let mut next = enter(state, Phase::Aborting, Track::Abort, base, now);
    next.abort = Some(Abort {
        reason,
        at: now,
        from: state.cursor,
    });
    next
}

fn start(plan: &Plan, state: &State, now: Timestamp) -> Advance {
    let next = enter(state, Phase::Progressing, Track::Main, plan.before(), now);
    Advance::Next(Box::new(next), Event::Started)
}

fn begin_abort(plan: &Plan, state: &State, reason: Reason, now: Timestamp) -> Advance {
    let event = Event::AbortStarted {
        reason: reason.clone(),
    };
    Advance::Next(Box::new(aborted(plan, state, reason, now)), event)
}

fn frozen(freeze: &Freeze) -> Advance {
    Advance::Wait {
        on: Some(freeze.waiting()),
        look_again_at: Some(freeze.until),
    }
}

/// It holds where it stands, as when a person pauses it: timers stand still, and what it had been
/// asked to do with its traffic stays asked. See `routes` for what it may not get meanwhile.
fn freeze_hold(state: &State, freeze: &Freeze, now: Timestamp) -> Advance {
    let Freeze {
        window,
        until,
        reason,
        ..
    } = freeze.clone();
    let mut next = state.clone();
    next.generation += 1;
    next.phase = Phase::Paused;
    next.hold = Some(Hold {
        by: Hold::by_freeze(&window),
        at: now,
        resume: state.phase,
    });
    let event = Event::Frozen {
        window,
        until,
        reason,
    };
    Advance::Next(Box::new(next), event)
}

/// A hold lasts until somebody ends it; one by a freeze window until no window holds any more.
fn held(plan: &Plan, state: &State, freezes: &[Freeze], now: Timestamp) -> Advance {
    let on = state
        .hold
        .as_ref()
        .map(|it| WaitingOn::Held { by: it.by.clone() });
    match state.hold.as_ref().filter(|it| it.is_by_freeze()) {
        None => Advance::Wait {
            on,
            look_again_at: None,
        },
        Some(hold) => match holds(plan, state, freezes) {
            Some(freeze) => frozen(freeze),
            None => {
                let by = hold.by.clone();
                let next = released(state, now);
                Advance::Next(Box::new(next), Event::Thawed { by })
            }
        },
    }
}

/// The state after a hold, for which timers stood still.
pub(crate) fn released(state: &State, now: Timestamp) -> State {
    let mut next = state.clone();
    next.generation += 1;
    if let Some(hold) = next.hold.take() {
        next.phase = hold.resume;
        let spent = now.duration_since(hold.at);
        next.since = time::after(next.since, spent).min(now);
    }
    next
}

fn hold(state: &State, by: String, now: Timestamp) -> Advance {
    let mut next = state.clone();
    next.generation += 1;
    next.phase = Phase::Paused;
    next.hold = Some(Hold {
        by: by.clone(),
        at: now,
        resume: state.phase,
    });
    Advance::Next(Box::new(next), Event::Paused { by })
}

enum Failure {
    Rollback(Reason),
    Hold(String),
}

/// What ends a rollout at any step: a gate that fails, a candidate that cannot run.
fn failure(plan: &Plan, state: &State, observation: &Observation) -> Option<Failure> {
    let broken = observation
        .revision(plan.candidate)
        .and_then(|it| it.problems.into_iter().find(|it| !it.kind.can_heal()));
    if let Some(problem) = broken {
        return Some(Failure::Rollback(Reason::CandidateBroken {
            detail: problem.detail,
        }));
    }
    let failed: Vec<(&Gate, &GateState)> = plan
        .gates
        .iter()
        .filter_map(|gate| Some((gate, observation.gates.get(&gate.name)?)))
        .filter(|(_, it)| it.verdict == Verdict::Fail)
        .collect();
    // A gate that asks for a rollback is heard before one that asks for a person, and before any
    // order to go on: an abort wins.
    let rollback = failed
        .iter()
        .find(|(gate, _)| gate.on_fail == GatePolicy::Rollback);
    if let Some((gate, gate_state)) = rollback {
        let bound = match &gate.question {
            Question::Threshold(it) => format!("{}, must be {}", detail(gate_state), it.bound()),
            Question::Webhook(_)
            | Question::Compare(_)
            | Question::Latency(_)
            | Question::Slo(_)
            | Question::Scalar(_) => detail(gate_state),
        };
        return Some(Failure::Rollback(Reason::GateFailed {
            gate: gate.name.clone(),
            detail: bound,
        }));
    }
    // A person has already decided to go on.
    if state.finish_step.is_some() || state.cursor.track == Track::Promote {
        return None;
    }
    let (gate, _) = failed
        .iter()
        .find(|(gate, _)| gate.on_fail == GatePolicy::Pause)?;
    Some(Failure::Hold(Hold::by_gate(&gate.name)))
}

/// One step of the list that is being walked.
fn walk(plan: &Plan, state: &State, observation: &Observation, now: Timestamp) -> Advance {
    let steps = plan.list(state.cursor.track);
    let Some(step) = steps.get(state.cursor.step) else {
        return finish(plan, state, now);
    };
    let target = target(plan, state);
    let view = View {
        plan,
        state,
        target: &target,
        observation,
        now,
    };
    let behavior = step.behavior();
    let ordered = state.finish_step.is_some() && behavior.ends_on_skip();
    let status = if ordered {
        Status::Done
    } else {
        behavior.status(&view)
    };
    match status {
        Status::Done => step_done(plan, state, behavior, now),
        Status::Failed(reason) => begin_abort(plan, state, reason, now),
        Status::Waiting { on, until } => {
            let began = time::after(state.since, behavior.lasts());
            let ends = time::after(began, plan.progress_deadline);
            let watched = time::after(
                observation.readable_since.unwrap_or(began),
                plan.progress_deadline.min(WATCHED_FOR),
            );
            deadline(plan, state, ends.max(watched), (on, until), now)
        }
    }
}

fn step_done(plan: &Plan, state: &State, behavior: &dyn Behavior, now: Timestamp) -> Advance {
    let last = state.cursor.step + 1 >= plan.list(state.cursor.track).len();
    if last {
        return finish(plan, state, now);
    }
    let mut next = state.clone();
    next.generation += 1;
    next.cursor.step += 1;
    next.since = now;
    next.finish_step = None;
    next.approvals.clear();
    Advance::Next(
        Box::new(next),
        Event::StepDone {
            step: behavior.title(),
        },
    )
}

/// A wait for instances or routes ends at the progress deadline. A world that cannot be read is
/// waited for without one: an abort could not be carried out either, and freezing loses nothing.
fn deadline(
    plan: &Plan,
    state: &State,
    ends: Timestamp,
    (on, until): (WaitingOn, Option<Timestamp>),
    now: Timestamp,
) -> Advance {
    if !has_deadline(&on) || state.cursor.track == Track::Abort {
        return Advance::Wait {
            on: Some(on),
            look_again_at: until,
        };
    }
    if now < ends {
        let look_again_at = Some(until.map_or(ends, |it| it.min(ends)));
        return Advance::Wait {
            on: Some(on),
            look_again_at,
        };
    }
    let deadline = time::words(plan.progress_deadline);
    let reason = Reason::ProgressDeadline {
        deadline,
        waiting: Box::new(on),
    };
    begin_abort(plan, state, reason, now)
}

fn has_deadline(on: &WaitingOn) -> bool {
    match on {
        WaitingOn::Instances { .. } | WaitingOn::Routes { .. } | WaitingOn::Rule { .. } => true,
        WaitingOn::Predecessor
        | WaitingOn::FirstPass
        | WaitingOn::InstancesGone { .. }
        | WaitingOn::WorkloadUnknown { .. }
        | WaitingOn::RouterUnknown { .. }
        | WaitingOn::Timer { .. }
        | WaitingOn::Promotion
        | WaitingOn::Gates { .. }
        | WaitingOn::Decision { .. }
        | WaitingOn::Approval { .. }
        | WaitingOn::Frozen { .. }
        | WaitingOn::Held { .. }
        | WaitingOn::StableReady { .. } => false,
    }
}

fn finish(plan: &Plan, state: &State, now: Timestamp) -> Advance {
    let (phase, event) = match state.cursor.track {
        Track::Main | Track::Promote => (Phase::Succeeded, Event::Succeeded),
        Track::Abort => (Phase::RolledBack, Event::RolledBack),
    };
    let mut next = state.clone();
    next.generation += 1;
    next.phase = phase;
    next.since = now;
    next.finish_step = None;
    next.approvals.clear();
    next.hold = None;
    next.base = target(plan, &next);
    Advance::Next(Box::new(next), event)
}
