//! Strategies as users write them, checked; and the half of an app file that is about *what to do*.

mod blue_green;
mod canary;
mod recreate;
mod rolling;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

pub use blue_green::BlueGreen;
pub use canary::{Canary, CanaryStep};
pub use recreate::Recreate;
pub use rolling::{Count, Rolling};

use crate::{
    alert::AlertRule,
    document::{Object, Reader},
    gate::Gate,
    weight::Weight,
};

/// How an app's revisions are brought out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// Traffic moves in weight steps.
    Canary(Canary),
    /// A full second set of instances, then one switch.
    BlueGreen(BlueGreen),
    /// Instances are replaced batch by batch.
    Rolling(Rolling),
    /// The old is stopped before the new is started.
    Recreate(Recreate),
}

impl Strategy {
    const WORDS: [&str; 4] = ["canary", "blueGreen", "rolling", "recreate"];

    /// The word users write for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Canary(_) => "canary",
            Self::BlueGreen(_) => "blueGreen",
            Self::Rolling(_) => "rolling",
            Self::Recreate(_) => "recreate",
        }
    }

    /// Whether it ever asks a router for anything between nothing and all of the traffic.
    pub fn needs_shares(&self) -> bool {
        let share = |it: &CanaryStep| match it {
            CanaryStep::SetWeight(weight) => *weight > Weight::ZERO && *weight < Weight::ALL,
            CanaryStep::SetScale(_)
            | CanaryStep::Pause(_)
            | CanaryStep::Gate(_)
            | CanaryStep::Approve(_)
            | CanaryStep::SetRule(_) => false,
        };
        match self {
            Self::Canary(it) => it.steps.iter().any(share),
            Self::Rolling(_) => true,
            Self::BlueGreen(_) | Self::Recreate(_) => false,
        }
    }

    fn read(reader: &Reader<'_>, gates: &[String]) -> Option<Self> {
        let (word, it) = reader.one_of(&Self::WORDS)?;
        match word {
            "canary" => Canary::read(&it, gates).map(Self::Canary),
            "blueGreen" => BlueGreen::read(&it, gates).map(Self::BlueGreen),
            "rolling" => Rolling::read(&it, gates).map(Self::Rolling),
            _ => Recreate::read(&it, gates).map(Self::Recreate),
        }
    }
}

/// The half of an app file that says *what to do*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// How revisions are brought out.
    pub strategy: Strategy,
    /// The questions asked on the way.
    pub gates: Vec<Gate>,
    /// The alerts that take a rollout back.
    pub alerts: Vec<AlertRule>,
    /// How long a step may wait for instances before the rollout is taken back.
    pub progress_deadline: SignedDuration,
    /// How long a revision keeps its instances after its last traffic.
    pub drain: SignedDuration,
}

impl Delivery {
    /// The app file's keys that are read here.
    pub const KEYS: [&'static str; 5] =
        ["strategy", "gates", "alerts", "progressDeadline", "drain"];
    /// As in Kubernetes (`progressDeadlineSeconds: 600`).
    pub const PROGRESS_DEADLINE: SignedDuration = SignedDuration::from_mins(10);
    /// Enough for requests in flight on a data plane that has confirmed the change.
    pub const DRAIN: SignedDuration = SignedDuration::from_secs(5);

    /// Reads them from the app file, noting every problem.
    pub fn read(file: &Object<'_>) -> Option<Self> {
        let gates = Gate::read_all(file);
        let names = Gate::names(file);
        let strategy = file.required("strategy", |it| Strategy::read(it, &names));
        let alerts = AlertRule::read_all(file);
        let deadline = file.or(
            "progressDeadline",
            Self::PROGRESS_DEADLINE,
            Reader::duration,
        );
        let drain = file.or("drain", Self::DRAIN, Reader::duration);
        Some(Self {
            strategy: strategy?,
            gates: gates?,
            alerts: alerts?,
            progress_deadline: deadline?,
            drain: drain?,
        })
    }
}

/// A gate step: the named gates (all when none is named) must hold for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateStep {
    /// For how long.
    #[serde(rename = "for")]
    pub hold: SignedDuration,
    /// Which gates; empty: all of the app.
    pub gates: Vec<String>,
}

impl GateStep {
    /// When the user names no time.
    pub const HOLD: SignedDuration = SignedDuration::from_mins(1);

    pub(crate) fn read(reader: &Reader<'_>, known: &[String]) -> Option<Self> {
        let step = reader.object(&["for", "gates"])?;
        if known.is_empty() {
            return reader.problem("a gate step needs at least one entry under \"gates\"");
        }
        let hold = step.or("for", Self::HOLD, Reader::duration);
        let gates = step.or("gates", Vec::new(), |it| {
            it.each(|it| {
                let name = it.text()?;
                match known.contains(&name) {
                    true => Some(name),
                    false => it.problem(format!(
                        "no gate is named \"{name}\"; the app's gates: {}",
                        known.join(", ")
                    )),
                }
            })
        });
        Some(Self {
            hold: hold?,
            gates: gates?,
        })
    }
}

/// An approval step: so many distinct people must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApproveStep {
    /// Members of this group only; none: whoever may approve in the project.
    pub group: Option<String>,
    /// How many.
    pub count: u32,
    /// How long they may take before the rollout is taken back; none: for ever.
    #[serde(default)]
    pub expires: Option<SignedDuration>,
    /// Whether whoever asked for the rollout may be one of them.
    #[serde(default = "yes")]
    pub requester_may_approve: bool,
    /// Whether machines' tokens may.
    #[serde(default)]
    pub machines_may_approve: bool,
}

/// Of whoever asked for a rollout a team of one is made.
fn yes() -> bool {
    true
}

impl ApproveStep {
    pub(crate) fn read(reader: &Reader<'_>) -> Option<Self> {
        let step = reader.object(&[
            "group",
            "count",
            "expires",
            "requesterMayApprove",
            "machinesMayApprove",
        ])?;
        let group = step.optional("group", Reader::name);
        let count = step.or("count", 1, |it| it.whole(1, 20));
        let expires = step.optional("expires", |it| match it.duration()? {
            SignedDuration::ZERO => it.problem("must be longer than nothing, e.g. 2h"),
            expires => Some(expires),
        });
        let requester = step.or("requesterMayApprove", true, Reader::boolean);
        let machines = step.or("machinesMayApprove", false, Reader::boolean);
        Some(Self {
            group: group?,
            count: count?,
            expires: expires?,
            requester_may_approve: requester?,
            machines_may_approve: machines?,
        })
    }
}
