//! What was found of gates before a rollout, and what gates need to know of its plan.

use std::collections::BTreeMap;

use analysis::Dispersion;
use jiff::SignedDuration;

use super::Plan;
use crate::{gate::Question, weight::Weight};

impl Plan {
    /// With the over-dispersion that was found, by gate: those gates begin with it. It is fixed before
    /// the first measurement, as all of a policy.
    #[must_use]
    pub fn calibrated(mut self, found: &BTreeMap<String, Dispersion>) -> Self {
        for gate in &mut self.gates {
            let found = found.get(&gate.name);
            if let (Question::Compare(it), Some(dispersion)) = (&mut gate.question, found) {
                it.policy.dispersion = Some(*dispersion);
            }
        }
        self
    }

    /// What its gates begin with, where it was found before.
    pub fn dispersions(&self) -> BTreeMap<String, Dispersion> {
        let gates = self.gates.iter();
        let found = gates.filter_map(|it| {
            let compare = it.question.compare()?;
            Some((it.name.clone(), compare.policy.dispersion?))
        });
        found.collect()
    }

    /// How long it stays at each of the candidate's shares between none and all, where nothing has to
    /// be waited for; zero where only somebody or something else ends the step.
    pub fn time_at_shares(&self) -> BTreeMap<Weight, SignedDuration> {
        let mut target = self.before();
        let mut times = BTreeMap::new();
        for step in &self.main {
            step.behavior().apply(self, &mut target);
            let share = target.weight(self.candidate);
            if share > Weight::ZERO && share < Weight::ALL {
                let time: &mut SignedDuration = times.entry(share).or_default();
                *time = time.saturating_add(step.behavior().lasts());
            }
        }
        times
    }
}
