//! The gates of a pass: what came back is folded, what is due is asked.

use drivers::{AppKey, substitution::Substitution};
use jiff::Timestamp;
use rollout::{
    Observation, Plan, Revision, State, Target,
    gate::{Gates, counting::Counting},
};
use store::{MeasurementRow, Rollout};

use super::{Pass, Scene};
use crate::{
    app_file::AppFile,
    controller::{
        count::{Stand, instances},
        measure::Job,
    },
};

impl Pass {
    /// Folds the measurements that came back into the gates' states.
    pub(super) fn fold(
        &mut self,
        plan: &Plan,
        rollout: &Rollout,
        gates: Gates,
    ) -> (Gates, Vec<MeasurementRow>) {
        let mut folded = gates;
        let mut rows = Vec::new();
        for measured in self.measured.drain(..) {
            let fits = measured.rollout == rollout.id && measured.cursor == rollout.state.cursor;
            let Some(gate) = plan.gate(&measured.gate).filter(|_| fits) else {
                continue;
            };
            if let Some((stood, counting)) = measured.counted {
                let stands = folded.counting.get(&gate.name);
                // Counted from elsewhere, by a replica that drove before: counted anew from here.
                if stands.and_then(Counting::watermark_ms) != stood {
                    continue;
                }
                folded.counting.insert(gate.name.clone(), *counting);
            }
            let ends = plan.is_over(&rollout.state, &gate.name, measured.measurement.at);
            folded = folded.fold(gate, &measured.measurement, ends);
            let verdict = folded.states.get(&gate.name).map(|it| it.verdict);
            let Some(verdict) = verdict else { continue };
            self.shared.service.metrics.measured(verdict);
            rows.push(MeasurementRow {
                gate: measured.gate,
                cursor: measured.cursor,
                measurement: measured.measurement,
                verdict,
            });
        }
        (folded, rows)
    }

    /// The questions to ask now, and when the next one is due.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of one pass's facts, used once"
    )]
    pub(super) fn due(
        &self,
        plan: &Plan,
        rollout: &Rollout,
        state: &State,
        target: &Target,
        gates: &Gates,
        scene: &Scene,
        file: &AppFile,
    ) -> (Vec<Job>, Option<Timestamp>) {
        let step = plan.list(state.cursor.track).get(state.cursor.step);
        let asked = step.is_some_and(|it| it.behavior().gates().is_some());
        if state.phase.is_terminal() || !(target.measure || asked) {
            return (Vec::new(), None);
        }
        let gates = gates.at(state.cursor);
        let mut jobs = Vec::new();
        let mut next = None;
        for gate in &plan.gates {
            let known = gates.states.get(&gate.name).cloned().unwrap_or_default();
            let due = gate.due(&known, scene.now);
            if self.measuring.contains(&gate.name) {
                continue;
            }
            if due > scene.now {
                next = earliest(next, Some(due));
                continue;
            }
            jobs.push(Job {
                rollout: rollout.id,
                cursor: state.cursor,
                gate: gate.clone(),
                metrics: file.bindings.metrics.clone(),
                names: names(&self.app, plan, &scene.observation),
                stand: stand(&gates, &gate.name, plan, scene),
            });
        }
        (jobs, next)
    }
}

/// Notes the share that the candidate is seen to have, where a gate counts by share.
pub(super) fn note_share(gates: &mut Gates, plan: &Plan, scene: &Scene) {
    let counts = plan.gates.iter().any(|it| it.question.counts());
    let share = scene.observation.share(plan.candidate);
    if let Some(share) = share.filter(|_| counts) {
        gates.shares.note(share, scene.now);
    }
}

/// From where a gate counts on.
fn stand(gates: &Gates, gate: &str, plan: &Plan, scene: &Scene) -> Stand {
    Stand {
        counting: gates.counting.get(gate).cloned().unwrap_or_default(),
        shares: gates.shares.clone(),
        instances: instances(plan, &scene.observation),
        label: scene.bindings.workload.driver().instance_label(),
        router: Some(scene.bindings.traffic.clone()),
    }
}

/// What a gate's query may name.
fn names(app: &AppKey, plan: &Plan, observation: &Observation) -> Substitution {
    let instances = |revision: Revision| {
        let status = observation.revision(revision).unwrap_or_default();
        (
            revision,
            status.instances.into_iter().map(|it| it.name).collect(),
        )
    };
    Substitution {
        app: app.clone(),
        candidate: instances(plan.candidate),
        stable: plan.stable.map(instances),
    }
}

/// The earlier of two moments that may not be.
pub(super) fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
