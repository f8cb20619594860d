//! Why a rollout waits and why one was taken back: typed, each with one sentence. The API, the
//! command line, the events and the dashboard all show the same sentence.

mod asks;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{gate::Verdict, revision::Revision, revision::Role, weight::Weight};

/// What a rollout waits for. Every rollout that has not ended has one (invariant I10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
pub enum WaitingOn {
    /// The app's active rollout must end first.
    Predecessor,
    /// The first pass over it.
    FirstPass,
    /// Instances must become ready.
    Instances {
        /// Whose.
        role: Role,
        /// Which revision.
        revision: Revision,
        /// Ready now.
        ready: u32,
        /// Needed.
        wanted: u32,
        /// What is wrong with them, in sentences.
        problems: Vec<String>,
    },
    /// Instances must be gone.
    InstancesGone {
        /// Which revision.
        revision: Revision,
        /// Still there.
        total: u32,
        /// Allowed.
        wanted: u32,
    },
    /// The data plane must report the asked share.
    Routes {
        /// Whose share.
        revision: Revision,
        /// As asked.
        asked: Weight,
        /// As read back.
        observed: Weight,
    },
    /// The data plane must have taken a route rule, or have let it go.
    Rule {
        /// Its name.
        name: String,
        /// Whether it is to be there.
        wanted: bool,
    },
    /// The workload cannot be read.
    WorkloadUnknown {
        /// Why.
        why: String,
    },
    /// The traffic router cannot be read.
    RouterUnknown {
        /// Why.
        why: String,
    },
    /// Time must pass.
    Timer {
        /// What for: `pause`, `bake`, `drain`.
        what: String,
        /// Until when.
        until: Timestamp,
    },
    /// Somebody must promote.
    Promotion,
    /// Gates must pass.
    Gates {
        /// The gates that have not passed.
        gates: Vec<GateWait>,
        /// When the step's own time is over.
        until: Timestamp,
    },
    /// A gate step's time is over without a verdict, and its policy is to ask a person.
    Decision {
        /// The gate.
        gate: String,
        /// How it stands.
        verdict: Verdict,
        /// Its last reading, in words.
        detail: String,
    },
    /// People must approve.
    Approval {
        /// Members of which group may.
        group: Option<String>,
        /// How many did.
        given: u32,
        /// How many must.
        needed: u32,
        /// Until when; then it is taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// A freeze window must end.
    Frozen {
        /// Its name.
        window: String,
        /// When it ends.
        until: Timestamp,
        /// Why there is one.
        reason: String,
    },
    /// Somebody, or a gate, holds the rollout.
    Held {
        /// Who.
        by: String,
    },
    /// Stable must be ready before it can take the traffic back.
    StableReady {
        /// Which revision.
        revision: Revision,
        /// Ready now.
        ready: u32,
        /// All of them.
        wanted: u32,
    },
}

/// A gate that has not passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateWait {
    /// The gate.
    pub gate: String,
    /// How it stands.
    pub verdict: Verdict,
    /// Its last reading, in words.
    pub detail: String,
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Predecessor => f.write_str("waits for the app's active rollout to end"),
            Self::FirstPass => f.write_str("is about to start"),
            Self::Instances { problems, .. } => {
                self.write_instances(f)?;
                problems.first().map_or(Ok(()), |it| write!(f, "; {it}"))
            }
            Self::InstancesGone { .. } | Self::StableReady { .. } => self.write_instances(f),
            Self::Routes {
                revision,
                asked,
                observed,
            } => write!(
                f,
                "waits for the router to report {asked} for {revision}, it reports {observed}"
            ),
            Self::Rule { name, wanted } => {
                let what = if *wanted { "take" } else { "let go of" };
                write!(f, "waits for the router to {what} route {name}")
            }
            Self::WorkloadUnknown { why } => write!(f, "cannot read the workload: {why}"),
            Self::RouterUnknown { why } => write!(f, "cannot read the router: {why}"),
            Self::Timer { what, until } => write!(f, "{what} until {until:.0}"),
            Self::Promotion => f.write_str("waits for somebody to promote it"),
            Self::Gates { gates, until } if gates.is_empty() => {
                write!(f, "gates pass so far, measuring until {until:.0}")
            }
            Self::Gates { gates, .. } => {
                let words: Vec<String> = gates.iter().map(ToString::to_string).collect();
                write!(f, "waits for gates: {}", words.join("; "))
            }
            Self::Decision {
                gate,
                verdict,
                detail,
            } => write!(
                f,
                "gate {gate} is {verdict} ({detail}): somebody must promote, retry or abort"
            ),
            Self::Approval {
                group,
                given,
                needed,
                expires,
            } => {
                write!(f, "waits for approval: {given} of {needed} given")?;
                let group = group.as_ref();
                group.map_or(Ok(()), |it| write!(f, ", by members of {it}"))?;
                expires.map_or(Ok(()), |it| write!(f, ", until {it:.0}"))
            }
            Self::Held { by } => write!(f, "is paused by {by}"),
            Self::Frozen {
                window,
                until,
                reason,
            } => write!(f, "is frozen until {until:.0} by window {window}: {reason}"),
        }
    }
}

impl WaitingOn {
    /// The sentences that count instances.
    fn write_instances(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instances {
                role,
                revision,
                ready,
                wanted,
                ..
            } => write!(
                f,
                "waits for instances of {role} {revision}: {ready} of {wanted} ready"
            ),
            Self::InstancesGone {
                revision,
                total,
                wanted,
            } => write!(
                f,
                "waits for instances of {revision} to stop: {total} left, {wanted} to stay"
            ),
            Self::StableReady {
                revision,
                ready: 0,
                wanted,
            } => write!(
                f,
                "traffic stays where it is until stable {revision} is ready: 0 of {wanted} instances"
            ),
            Self::StableReady {
                revision,
                ready,
                wanted,
            } => write!(
                f,
                "traffic goes back as stable {revision} gets ready: {ready} of {wanted} instances"
            ),
            Self::Predecessor
            | Self::FirstPass
            | Self::Routes { .. }
            | Self::Rule { .. }
            | Self::WorkloadUnknown { .. }
            | Self::RouterUnknown { .. }
            | Self::Timer { .. }
            | Self::Promotion
            | Self::Gates { .. }
            | Self::Decision { .. }
            | Self::Approval { .. }
            | Self::Frozen { .. }
            | Self::Held { .. } => Ok(()),
        }
    }
}

impl fmt::Display for GateWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.gate, self.verdict, self.detail)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "passed",
            Self::Fail => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Hold => "held",
            Self::NoData => "without data",
        })
    }
}

/// Why a rollout was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
pub enum Reason {
    /// A gate failed.
    GateFailed {
        /// The gate.
        gate: String,
        /// Its last reading and its bound.
        detail: String,
    },
    /// A gate had no verdict when its time was over, and its policy is to roll back.
    GateUndecided {
        /// The gate.
        gate: String,
        /// How it stood.
        verdict: Verdict,
        /// Its last reading.
        detail: String,
    },
    /// A step did not get anywhere within the progress deadline.
    ProgressDeadline {
        /// The deadline, in words.
        deadline: String,
        /// What it was waiting for.
        waiting: Box<WaitingOn>,
    },
    /// The candidate cannot run, and waiting does not help.
    CandidateBroken {
        /// What is wrong.
        detail: String,
    },
    /// An alert fired that the app's rules answer with a rollback.
    Alert {
        /// Its name.
        name: String,
        /// Its summary or labels.
        detail: String,
        /// The alert's own identity, for following it up.
        fingerprint: String,
    },
    /// Somebody aborted it.
    Person {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Somebody refused approval.
    Rejected {
        /// Who.
        by: String,
        /// In their words.
        comment: Option<String>,
    },
    /// Too few people approved in time.
    ApprovalExpired {
        /// How many did.
        given: u32,
        /// How many had to.
        needed: u32,
        /// Within what time, in words.
        after: String,
    },
    /// A newer rollout of the same app was started.
    Superseded {
        /// The newer rollout's candidate.
        revision: Revision,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = |it: &Option<String>| match it {
            Some(comment) => format!(": \"{comment}\""),
            None => String::new(),
        };
        match self {
            Self::GateFailed { gate, detail } => write!(f, "gate {gate} failed: {detail}"),
            Self::GateUndecided {
                gate,
                verdict,
                detail,
            } => {
                write!(
                    f,
                    "gate {gate} was still {verdict} when its time was over: {detail}"
                )
            }
            Self::ProgressDeadline { deadline, waiting } => {
                write!(f, "no progress within {deadline}: {waiting}")
            }
            Self::CandidateBroken { detail } => write!(f, "the candidate cannot run: {detail}"),
            Self::Alert { name, detail, .. } => write!(f, "alert {name} fired: {detail}"),
            Self::Person { by, comment } => write!(f, "aborted by {by}{}", quote(comment)),
            Self::Rejected { by, comment } => {
                write!(f, "approval refused by {by}{}", quote(comment))
            }
            Self::ApprovalExpired {
                given,
                needed,
                after,
            } => write!(f, "not approved within {after}: {given} of {needed} given"),
            Self::Superseded { revision } => write!(f, "superseded by {revision}"),
        }
    }
}
