//! Where requests are counted, and how one revision's are told from the other's.

use rollout::{Revision, Role, observation::Instance};

use crate::metrics::selector::{MatchOp, Selector};

/// Where requests are counted, for both revisions together; [`Counters::of`] narrows to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    /// All requests.
    pub requests: Selector,
    /// Those that failed; each is among the requests.
    pub errors: Selector,
    /// How long they took, where that is counted.
    pub durations: Option<Durations>,
    pub(super) apart: Apart,
}

/// A classic histogram of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    /// Its buckets, with label `le`.
    pub buckets: Selector,
    /// In what `le` is counted.
    pub unit: Unit,
}

/// The unit of a histogram of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
}

/// One of the two revisions that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Arm<'a> {
    /// Which of the two.
    pub role: Role,
    /// The revision.
    pub revision: Revision,
    /// Its instances, as observed.
    pub instances: &'a [Instance],
}

/// The label that tells revisions apart, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Apart {
    /// Names that begin with the revision: `r7-1`.
    RevisionsName(&'static str),
    /// Names of instances that there are now.
    InstancesName(&'static str),
    /// Addresses of instances that there are now.
    InstancesAddress(&'static str),
    /// One value for stable, another for the candidate.
    Each {
        label: &'static str,
        stable: String,
        candidate: String,
    },
    /// Values that match for the candidate, and all others for stable.
    Candidates {
        label: &'static str,
        pattern: String,
    },
}

impl Counters {
    /// Of the series that `selector`, one of these, selects: those of one revision.
    #[must_use]
    pub fn of(&self, selector: &Selector, arm: &Arm<'_>) -> Selector {
        let instances = arm.instances.iter();
        match (&self.apart, arm.role) {
            (Apart::RevisionsName(label), _) => {
                selector.with(label, MatchOp::Matches, &format!("{}-.+", arm.revision))
            }
            (Apart::InstancesName(label), _) => {
                let names: Vec<String> = instances.map(|it| it.name.clone()).collect();
                selector.among(label, &names)
            }
            (Apart::InstancesAddress(label), _) => {
                let addresses: Vec<String> =
                    instances.filter_map(|it| it.address.clone()).collect();
                selector.among(label, &addresses)
            }
            (Apart::Each { label, stable, .. }, Role::Stable) => {
                selector.with(label, MatchOp::Equal, stable)
            }
            (
                Apart::Each {
                    label, candidate, ..
                },
                Role::Candidate,
            ) => selector.with(label, MatchOp::Equal, candidate),
            (Apart::Candidates { label, pattern }, Role::Stable) => {
                selector.with(label, MatchOp::NotMatches, pattern)
            }
            (Apart::Candidates { label, pattern }, Role::Candidate) => {
                selector.with(label, MatchOp::Matches, pattern)
            }
        }
    }
}
