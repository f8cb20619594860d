//! Recreate: the old instances are stopped before the new ones are started; for services that
//! cannot run twice. Requests fail meanwhile, and the plan says so.

use serde::{Deserialize, Serialize};

use super::GateStep;
use crate::document::Reader;

/// A recreate strategy as users write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recreate {
    /// Gates that must hold once the new instances have the traffic.
    pub gate: Option<GateStep>,
}

impl Recreate {
    pub(super) fn read(reader: &Reader<'_>, gates: &[String]) -> Option<Self> {
        let default = (!gates.is_empty()).then(|| GateStep {
            hold: GateStep::HOLD,
            gates: Vec::new(),
        });
        if reader.value().is_null() {
            return Some(Self { gate: default });
        }
        let gate = reader
            .object(&["gate"])?
            .optional("gate", |it| GateStep::read(it, gates));
        Some(Self {
            gate: gate?.or(default),
        })
    }
}
