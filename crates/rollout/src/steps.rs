//! Steps: the units of a plan. A step is two pure methods and a title; a new one is one file and
//! one row here.

pub mod approve;
pub mod bake;
pub mod drain;
pub mod gates;
pub mod give_back;
pub mod pause;
pub mod set_rule;
pub mod set_scale;
pub mod set_weight;
pub mod stop_traffic;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    observation::Observation,
    plan::Plan,
    reason::{Reason, WaitingOn},
    revision::Revision,
    state::State,
    target::Target,
    weight::Weight,
};

/// What a step sees when it is asked how it stands.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The committed state.
    pub state: &'a State,
    /// What must hold, this step included.
    pub target: &'a Target,
    /// What was seen.
    pub observation: &'a Observation,
    /// The present.
    pub now: Timestamp,
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// Its effect was seen to hold.
    Done,
    /// Not yet.
    Waiting {
        /// What for.
        on: WaitingOn,
        /// When time alone may change that.
        until: Option<Timestamp>,
    },
    /// It cannot succeed.
    Failed(Reason),
}

impl Status {
    fn waiting(on: WaitingOn) -> Self {
        Self::Waiting { on, until: None }
    }
}

/// What every step can do.
pub trait Behavior {
    /// What must hold from this step on.
    fn apply(&self, plan: &Plan, target: &mut Target);

    /// How the step stands.
    fn status(&self, view: &View<'_>) -> Status;

    /// The step in the words of the app file, e.g. `setWeight 25`.
    fn title(&self) -> String;

    /// Whether a person's `promote` ends it: true for steps that only pass time or wait for a
    /// verdict, false where an effect or somebody else's approval is awaited.
    fn ends_on_promote(&self) -> bool {
        false
    }

    /// Whether a person's `skip` ends it.
    fn ends_on_skip(&self) -> bool {
        self.ends_on_promote()
    }

    /// How long it takes by itself; the progress deadline counts from then.
    fn lasts(&self) -> SignedDuration {
        SignedDuration::ZERO
    }

    /// How many approvals it needs; 0 for every step but `approve`.
    fn approvals(&self) -> u32 {
        0
    }

    /// The gates it waits for, when it waits for some; empty names all.
    fn gates(&self) -> Option<&[String]> {
        None
    }
}

macro_rules! steps {
    ($($(#[$doc:meta])* $variant:ident($step:ty),)+) => {
        /// A step of a plan.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum Step { $($(#[$doc])* $variant($step),)+ }

        impl Step {
            /// The step's behaviour.
            pub fn behavior(&self) -> &dyn Behavior {
                match self { $(Self::$variant(it) => it,)+ }
            }
        }
    };
}

steps! {
    /// Bring a role to so many instances.
    SetScale(set_scale::SetScale),
    /// Give the candidate a share of the traffic.
    SetWeight(set_weight::SetWeight),
    /// Send certain requests, or copies, to the candidate beside its share.
    SetRule(set_rule::SetRule),
    /// Wait for a time or for a person.
    Pause(pause::Pause),
    /// Wait for gates.
    Gate(gates::Gates),
    /// Wait for approvals.
    Approve(approve::Approve),
    /// Keep the old revision ready for a time.
    Bake(bake::Bake),
    /// Let requests in flight end.
    Drain(drain::Drain),
    /// Give all traffic back to stable.
    GiveBack(give_back::GiveBack),
    /// Take the traffic from everybody.
    StopTraffic(stop_traffic::StopTraffic),
}

impl Step {
    /// Whether it is there to move traffic.
    pub fn moves_traffic(&self) -> bool {
        match self {
            Self::SetWeight(_) | Self::SetRule(_) | Self::GiveBack(_) | Self::StopTraffic(_) => {
                true
            }
            Self::SetScale(_)
            | Self::Pause(_)
            | Self::Gate(_)
            | Self::Approve(_)
            | Self::Bake(_)
            | Self::Drain(_) => false,
        }
    }
}

/// How many ready candidate instances the candidate's asked share needs: its part of the replicas,
/// but not more than the plan itself scaled up for it.
fn carriers(view: &View<'_>) -> u32 {
    let candidate = view.plan.candidate;
    let asked = view.target.weight(candidate);
    let scale = view.target.scale(candidate);
    asked.instances(view.plan.replicas).min(scale)
}

/// Whether stable is asked to carry traffic and nothing of it is ready: traffic does not move then.
fn stable_is_down(view: &View<'_>) -> bool {
    view.plan
        .stable
        .is_some_and(|it| view.target.weight(it) > Weight::ZERO && view.observation.ready(it) == 0)
}

/// Waits for stable to be ready.
fn stable_ready(view: &View<'_>) -> Status {
    let Some(revision) = view.plan.stable else {
        return Status::Done;
    };
    Status::waiting(WaitingOn::StableReady {
        revision,
        ready: view.observation.ready(revision),
        wanted: view.target.scale(revision),
    })
}

/// Waits until the data plane reports `asked` for `revision`: exactly for nothing and for
/// everything, within the router's granularity in between.
fn share_seen(view: &View<'_>, revision: Revision, asked: Weight) -> Status {
    use crate::observation::Fact;
    let routes = match &view.observation.routes {
        Fact::Unknown { why } => {
            return Status::waiting(WaitingOn::RouterUnknown { why: why.clone() });
        }
        Fact::Known { value, .. } => value,
    };
    let observed = routes
        .shares
        .get(&revision)
        .copied()
        .unwrap_or(Weight::ZERO);
    let exact = asked == Weight::ZERO || asked == Weight::ALL;
    let near = observed.distance(asked) <= routes.tolerance
        && observed > Weight::ZERO
        && observed < Weight::ALL;
    match observed == asked || (!exact && near) {
        true => Status::Done,
        false => Status::waiting(WaitingOn::Routes {
            revision,
            asked,
            observed,
        }),
    }
}

/// Waits until `hold` has passed since the step began.
fn time_passed(view: &View<'_>, what: &str, hold: SignedDuration) -> Status {
    let until = crate::time::after(view.state.since, hold);
    match view.now >= until {
        true => Status::Done,
        false => Status::Waiting {
            on: WaitingOn::Timer {
                what: what.to_owned(),
                until,
            },
            until: Some(until),
        },
    }
}
