//! How all gates of a rollout stand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evidence, Gate, GateState, Measurement, Shares, counting::Counting, evidence::Test};
use crate::state::Cursor;

/// The gates of one rollout. Their states belong to one step and attempt and are empty for any other,
/// so that no step passes on another step's measurements; evidence belongs to an attempt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// The step and attempt they were measured in.
    pub cursor: Option<Cursor>,
    /// State by gate name.
    pub states: BTreeMap<String, GateState>,
    /// What statistical gates have learnt, by gate name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, Evidence>,
    /// Where the counters behind them stand, by gate name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counting: BTreeMap<String, Counting>,
    /// The candidate's shares of traffic that were seen.
    #[serde(default, skip_serializing_if = "Shares::is_empty")]
    pub shares: Shares,
}

impl Gates {
    /// The gates for `cursor`: their states if they were measured there, else none.
    #[must_use]
    pub fn at(&self, cursor: Cursor) -> Self {
        match self.cursor {
            Some(mine) if mine == cursor => self.clone(),
            Some(mine) if mine.attempt == cursor.attempt => Self {
                cursor: Some(cursor),
                states: BTreeMap::new(),
                ..self.clone()
            },
            Some(_) | None => Self {
                cursor: Some(cursor),
                shares: self.shares.clone(),
                ..Self::default()
            },
        }
    }

    /// Folds one measurement of `gate`. `ends`: it was made at or after the end of the gate step's
    /// time, so a statistical gate that knows no verdict yet makes its exact test.
    #[must_use]
    pub fn fold(mut self, gate: &Gate, measurement: &Measurement, ends: bool) -> Self {
        let state = self.states.get(&gate.name).cloned().unwrap_or_default();
        if state.has(measurement) {
            return self;
        }
        let next = match Test::of(&gate.question) {
            Ok(None) => gate.fold(&state, measurement),
            Ok(Some(test)) => {
                let known = self.evidence.get(&gate.name).cloned();
                let known = known.unwrap_or_else(|| test.start());
                let (next, evidence) = gate.weigh(&test, &state, known, measurement, ends);
                self.evidence.insert(gate.name.clone(), evidence);
                next
            }
            Err(error) => gate.blind(&state, measurement, &error.to_string()),
        };
        self.states.insert(gate.name.clone(), next);
        self
    }
}
