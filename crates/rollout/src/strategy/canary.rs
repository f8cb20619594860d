//! Canary: traffic moves to the candidate in weight steps.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{ApproveStep, GateStep, rolling::Count};
use crate::{document::Reader, route_rule::RouteRule, steps::set_rule::SetRule, weight::Weight};

/// A canary as users write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The steps, in order.
    pub steps: Vec<CanaryStep>,
    /// How long the old revision is kept ready after the candidate has all traffic.
    pub bake: Option<SignedDuration>,
}

/// One step of a canary. The words keep the meaning they have in Argo Rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CanaryStep {
    /// Give the candidate this share.
    SetWeight(Weight),
    /// Have at least so many candidate instances, whatever the weight.
    SetScale(Count),
    /// Wait: for a time, or until somebody promotes.
    Pause(Option<SignedDuration>),
    /// Let gates hold for a time.
    Gate(GateStep),
    /// Let people agree.
    Approve(ApproveStep),
    /// Have a route rule of this name, or none.
    SetRule(SetRule),
}

/// Most steps of a strategy.
pub(super) const STEPS_MAX: usize = 100;
/// The default steps, in percent.
const DEFAULT_WEIGHTS: [u32; 4] = [5, 25, 50, 100];

impl Canary {
    const STEPS: [&str; 7] = [
        "setWeight",
        "setScale",
        "pause",
        "gate",
        "approve",
        "setHeaderRoute",
        "setMirrorRoute",
    ];

    pub(super) fn read(reader: &Reader<'_>, gates: &[String]) -> Option<Self> {
        if reader.value().is_null() {
            return Some(Self {
                steps: Self::default_steps(gates),
                bake: None,
            });
        }
        let canary = reader.object(&["steps", "bake"])?;
        let steps = match canary.get("steps") {
            None => Some(Self::default_steps(gates)),
            Some(it) => it.list().and_then(|steps| match steps.len() {
                1..=STEPS_MAX => it.each(|it| CanaryStep::read(it, gates)),
                count => it.problem(format!("{count} steps; give 1 to {STEPS_MAX}")),
            }),
        };
        let bake = canary.optional("bake", Reader::duration);
        Some(Self {
            steps: steps?,
            bake: bake?,
        })
    }

    /// 5, 25, 50, 100 %; each but the last followed by a gate step when the app has gates.
    fn default_steps(gates: &[String]) -> Vec<CanaryStep> {
        let gate = GateStep {
            hold: GateStep::HOLD,
            gates: Vec::new(),
        };
        let weights = DEFAULT_WEIGHTS.map(|percent| Weight::from_hundredths(percent * 100));
        let steps = weights.into_iter().flat_map(|weight| {
            let gated = weight < Weight::ALL && !gates.is_empty();
            let gate = gated.then(|| CanaryStep::Gate(gate.clone()));
            [Some(CanaryStep::SetWeight(weight)), gate]
        });
        steps.flatten().collect()
    }
}

impl CanaryStep {
    fn read(reader: &Reader<'_>, gates: &[String]) -> Option<Self> {
        let (word, it) = reader.one_of(&Canary::STEPS)?;
        match word {
            "setWeight" => it.weight().map(Self::SetWeight),
            "setScale" => Count::read(&it).map(Self::SetScale),
            "pause" => read_pause(&it).map(Self::Pause),
            "gate" => GateStep::read(&it, gates).map(Self::Gate),
            "approve" => ApproveStep::read(&it).map(Self::Approve),
            "setHeaderRoute" => RouteRule::read_headers(&it).map(Self::rule),
            _ => RouteRule::read_mirror(&it).map(Self::rule),
        }
    }

    fn rule((name, rule): (String, Option<RouteRule>)) -> Self {
        Self::SetRule(SetRule { name, rule })
    }
}

/// `pause: 2m`, `pause: {}` (until promoted) or, as in Argo Rollouts, `pause: { duration: 2m }`.
fn read_pause(reader: &Reader<'_>) -> Option<Option<SignedDuration>> {
    if reader.value().is_object() {
        return reader
            .object(&["duration"])?
            .optional("duration", Reader::duration);
    }
    reader.duration().map(Some)
}
