//! What must be true of every plan, state, target and route table: one check that the unit tests,
//! the random worlds, the crash sweeps and the end-to-end suite all run.

use std::collections::BTreeMap;

use crate::{
    observation::Observation,
    plan::Plan,
    revision::Revision,
    state::{Phase, State, Track},
    target::Target,
    weight::Weight,
};

/// An invariant that does not hold: its name in ARCHITECTURE.md, and the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `I1`, `I2`, …
    pub invariant: &'static str,
    /// The facts.
    pub detail: String,
}

fn violation(invariant: &'static str, detail: String) -> Violation {
    Violation { invariant, detail }
}

/// Checks a state and the target computed from it.
pub fn check(plan: &Plan, state: &State, target: &Target) -> Vec<Violation> {
    let mut found = sums(&target.weights);
    for (revision, weight) in &target.weights {
        if *weight > Weight::ZERO && target.scale(*revision) == 0 {
            found.push(violation(
                "I12",
                format!("{revision} has {weight} and no instances"),
            ));
        }
    }
    // A candidate that is stable already (deployed twice) has everything, and keeps it.
    let moves = plan.stable != Some(plan.candidate);
    if moves && state.cursor.track == Track::Abort && target.weight(plan.candidate) > Weight::ZERO {
        let asked = target.weight(plan.candidate);
        found.push(violation(
            "I2",
            format!("an abort asks {asked} for the candidate"),
        ));
    }
    if state.cursor.track == Track::Abort && !target.rules.is_empty() {
        let names: Vec<&str> = target.rules.keys().map(String::as_str).collect();
        found.push(violation(
            "I2",
            format!("an abort keeps the routes {}", names.join(", ")),
        ));
    }
    if (state.phase == Phase::Aborting) != (state.cursor.track == Track::Abort)
        && !state.phase.is_terminal()
    {
        let detail = format!("phase {} walks {:?}", state.phase, state.cursor.track);
        found.push(violation("I2", detail));
    }
    if (state.phase == Phase::Paused) != state.hold.is_some() {
        found.push(violation(
            "I10",
            format!("{} with hold {:?}", state.phase, state.hold),
        ));
    }
    found
}

/// Checks the shares about to be written against what was seen.
pub fn check_routes(
    plan: &Plan,
    state: &State,
    shares: &BTreeMap<Revision, Weight>,
    observation: &Observation,
) -> Vec<Violation> {
    let mut found = sums(shares);
    let ceiling = crate::target::target(plan, state).weight(plan.candidate);
    let candidate = shares.get(&plan.candidate).copied().unwrap_or(Weight::ZERO);
    let had = state.base.weight(plan.candidate);
    let allowed = if state.cursor.track == Track::Abort {
        ceiling.max(had)
    } else {
        ceiling
    };
    if candidate > allowed {
        found.push(violation(
            "I1",
            format!("candidate gets {candidate}, allowed {allowed}"),
        ));
    }
    for (revision, weight) in shares {
        if *weight > Weight::ZERO && observation.ready(*revision) == 0 {
            found.push(violation(
                "I1",
                format!("{revision} gets {weight} with nothing ready"),
            ));
        }
    }
    let target = crate::target::target(plan, state);
    let base = match state.cursor.track {
        Track::Abort => &state.base,
        Track::Main | Track::Promote => &target,
    };
    let capacity = crate::target::capacity(plan, base, observation.ready(plan.candidate));
    // With nothing of stable ready, or to be kept, nobody else can carry the rest.
    let shared = plan
        .stable
        .is_some_and(|it| observation.ready(it) > 0 && target.scale(it) > 0);
    if candidate > capacity && shared && state.phase != Phase::Succeeded {
        found.push(violation(
            "I1",
            format!("candidate gets {candidate}, can carry {capacity}"),
        ));
    }
    let seen = observation.share(plan.candidate);
    if state.cursor.track == Track::Abort && seen.is_some_and(|it| candidate > it) {
        found.push(violation(
            "I2",
            format!("an abort gives the candidate {candidate}, more than it has"),
        ));
    }
    found
}

fn sums(weights: &BTreeMap<Revision, Weight>) -> Vec<Violation> {
    let sum: u64 = weights.values().map(|it| u64::from(it.hundredths())).sum();
    match weights.is_empty() || sum == u64::from(Weight::ALL.hundredths()) {
        true => Vec::new(),
        false => vec![violation(
            "I1",
            format!("weights sum to {sum} hundredths of a percent"),
        )],
    }
}
