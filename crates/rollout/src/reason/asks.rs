//! Which waits ask somebody to act: what people are told of while a rollout stands still.

use super::WaitingOn;

impl WaitingOn {
    /// Every word of [`WaitingOn::asks`].
    pub const ASKS: [&'static str; 3] = [
        "waitingForApproval",
        "waitingForPromotion",
        "waitingForDecision",
    ];

    /// The word for it where nothing goes on before somebody acts; also the type of the notice, after
    /// `rollout.`. A hold is not among them: whoever holds a rollout is a transition of its own.
    pub fn asks(&self) -> Option<&'static str> {
        match self {
            Self::Approval { .. } => Some("waitingForApproval"),
            Self::Promotion => Some("waitingForPromotion"),
            Self::Decision { .. } => Some("waitingForDecision"),
            Self::Predecessor
            | Self::FirstPass
            | Self::Instances { .. }
            | Self::InstancesGone { .. }
            | Self::Routes { .. }
            | Self::Rule { .. }
            | Self::WorkloadUnknown { .. }
            | Self::RouterUnknown { .. }
            | Self::Timer { .. }
            | Self::Gates { .. }
            | Self::Frozen { .. }
            | Self::Held { .. }
            | Self::StableReady { .. } => None,
        }
    }
}
