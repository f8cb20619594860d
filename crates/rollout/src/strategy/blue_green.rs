//! Blue-green: a full second set of instances, then one switch of all traffic.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{ApproveStep, GateStep};
use crate::document::Reader;

/// A blue-green strategy as users write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreen {
    /// People who must agree before the switch.
    pub approve: Option<ApproveStep>,
    /// Whether the switch waits for somebody to promote.
    pub auto_promote: bool,
    /// Gates that must hold after the switch, while the old set is still ready.
    pub gate: Option<GateStep>,
    /// How long the old set is kept ready after that.
    pub bake: Option<SignedDuration>,
}

impl BlueGreen {
    pub(super) fn read(reader: &Reader<'_>, gates: &[String]) -> Option<Self> {
        let default = (!gates.is_empty()).then(|| GateStep {
            hold: GateStep::HOLD,
            gates: Vec::new(),
        });
        if reader.value().is_null() {
            return Some(Self {
                approve: None,
                auto_promote: true,
                gate: default,
                bake: None,
            });
        }
        let it = reader.object(&["approve", "autoPromote", "gate", "bake"])?;
        let approve = it.optional("approve", ApproveStep::read);
        let auto_promote = it.or("autoPromote", true, Reader::boolean);
        let gate = it.optional("gate", |it| GateStep::read(it, gates));
        let bake = it.optional("bake", Reader::duration);
        Some(Self {
            approve: approve?,
            auto_promote: auto_promote?,
            gate: gate?.or(default),
            bake: bake?,
        })
    }
}
