//! How the gates stand.

use api::GateView;
use rollout::{
    Phase,
    gate::{Gate, GateState, Gates},
};
use store::Rollout;

use crate::{live::Seen, metrics::verdict_word};

/// One view a gate of the plan, in the app file's order. While the rollout goes forward these are
/// the current step's; afterwards the last ones that were measured, because they say why.
pub(super) fn views(rollout: &Rollout, seen: Option<&Seen>) -> Vec<GateView> {
    let forward = match rollout.phase {
        Phase::Pending | Phase::Progressing | Phase::Paused | Phase::Promoting => true,
        Phase::Aborting | Phase::Succeeded | Phase::RolledBack | Phase::Cancelled => false,
    };
    let stored: Gates = match forward {
        true => rollout.gates.at(rollout.state.cursor),
        false => rollout.gates.clone(),
    };
    let gates = rollout.plan.gates.iter();
    gates
        .map(|gate| {
            let stored = stored.states.get(&gate.name);
            let fresh = seen
                .filter(|_| forward)
                .and_then(|it| it.observation.gates.get(&gate.name));
            let evidence = rollout.gates.evidence.get(&gate.name);
            GateView {
                evidence: evidence.and_then(|it| gate.numbers(it)),
                ..view(gate, newer(stored, fresh))
            }
        })
        .collect()
}

/// A measurement may be seen before it is committed, and on another replica only then.
fn newer<'a>(stored: Option<&'a GateState>, seen: Option<&'a GateState>) -> Option<&'a GateState> {
    let at = |state: Option<&GateState>| state.and_then(|it| it.last.as_ref()).map(|it| it.at);
    match at(seen) > at(stored) {
        true => seen,
        false => stored,
    }
}

fn view(gate: &Gate, state: Option<&GateState>) -> GateView {
    let state = state.cloned().unwrap_or_default();
    GateView {
        gate: gate.name.clone(),
        verdict: verdict_word(state.verdict).to_owned(),
        measured: state.measured,
        last: state
            .evidence
            .or_else(|| state.last.as_ref().map(|it| it.reading.to_string())),
        at: state.last.as_ref().map(|it| it.at),
        bound: gate.question.bound(),
        evidence: None,
    }
}
