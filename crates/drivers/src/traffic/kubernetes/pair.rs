//! Two Services behind one route: which revision each selects, and what is to be done next.
//!
//! ```text
//!            route ── weight ──▶ own        the user's Service
//!                 └── weight ──▶ candidate  beside it, made by us
//!
//!   at rest      own: everything ─── narrow ──▶ own: stable, candidate: none     a second revision comes
//!   in between   own: stable 75 %, candidate: candidate 25 %                     weights move
//!   100 %        candidate has all ─▶ own: candidate ─▶ own has all ─▶ candidate: old stable, 0 %
//!   at the end   unlist and delete the candidate ─▶ widen own: nothing of ours is left
//! ```
//!
//! Rules that hold at every instant, whatever was done by hand meanwhile:
//! - a Service is pointed at another revision only while the route was seen to give it nothing, or
//!   while nothing is behind it;
//! - a backend gets a share only when its endpoints were seen to be the one revision's, made from the
//!   selector that says so, and at least one is ready;
//! - the user's Service ends on the revision that has everything, because clients inside the
//!   cluster may use it past the route: it follows at 100 %, not first when the old pods go;
//! - no revision gets its first pod before the user's Service was seen to keep it out.
//!
//! Everything here is decided from what was seen, one move at a time; moves are absolute, so that
//! it may begin again after a crash at any of them.

mod plan;

use std::collections::{BTreeMap, BTreeSet};

use rollout::{Revision, RouteRule, Weight};

use self::plan::Plan;
use crate::Routes;

/// One of the two Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::traffic) enum Slot {
    /// The user's.
    Own,
    /// Ours.
    Candidate,
}

/// Whose pods a Service selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::traffic) enum Selects {
    /// All of the app's.
    Everything,
    /// One revision's.
    One(Revision),
    /// Nobody's, or those of a revision that is not known (any more).
    Nobody,
}

/// What was seen of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) struct Backend {
    /// What its selector says.
    pub(in crate::traffic) selects: Selects,
    /// Its endpoints were made from that selector.
    pub(in crate::traffic) shown: bool,
    /// Its ready endpoints by revision.
    pub(in crate::traffic) ready: BTreeMap<Revision, u32>,
    /// Its ready endpoints that are none of the app's.
    pub(in crate::traffic) strangers: Vec<String>,
    /// The ready endpoints have been the same for a while: who reads routes and endpoints by separate
    /// watches knows them by now.
    pub(in crate::traffic) settled: bool,
}

impl Backend {
    /// Nothing that gets requests is behind it.
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.strangers.is_empty()
    }
}

/// Where the route names the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::traffic) enum Listed {
    /// In no rule.
    Nowhere,
    /// In some of the rules that have the user's Service.
    Somewhere,
    /// In all of them.
    Everywhere,
}

/// What was seen of the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::traffic) struct Split {
    /// Where it names the candidate.
    pub(in crate::traffic) listed: Listed,
    /// The candidate's share of what the two have; `None`: rules differ.
    pub(in crate::traffic) candidate: Option<Weight>,
    /// The data plane has taken it as it is written.
    pub(in crate::traffic) accepted: bool,
}

impl Split {
    /// Whether the data plane certainly sends nothing to `slot`.
    fn idle(self, slot: Slot) -> bool {
        let share = match slot {
            Slot::Own => Weight::ALL,
            Slot::Candidate => Weight::ZERO,
        };
        self.accepted && self.candidate == Some(share)
    }

    /// Whether any rule sends something to `slot`.
    fn carries(self, slot: Slot) -> bool {
        match slot {
            Slot::Own => self.candidate != Some(Weight::ALL),
            Slot::Candidate => {
                self.listed != Listed::Nowhere && self.candidate != Some(Weight::ZERO)
            }
        }
    }
}

/// All that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) struct Seen {
    /// The user's Service.
    pub(in crate::traffic) own: Backend,
    /// Ours, when it is there.
    pub(in crate::traffic) candidate: Option<Backend>,
    /// The route.
    pub(in crate::traffic) split: Split,
    /// The header and mirror routes that stand in the route; they name the candidate's Service.
    pub(in crate::traffic) rules: BTreeMap<String, RouteRule>,
    /// There is a part of one besides: somebody changed the rest.
    pub(in crate::traffic) spoilt: bool,
    /// Revisions whose pods can be told apart.
    pub(in crate::traffic) known: BTreeSet<Revision>,
    /// Revisions that have pods, ending ones included.
    pub(in crate::traffic) alive: BTreeSet<Revision>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) enum Next {
    /// Point a Service at this.
    Select(Slot, Selects),
    /// Make the candidate's Service for a revision.
    Create(Revision),
    /// Have the candidate in every rule with this share of what the two have.
    Share(Weight),
    /// Have exactly these header and mirror routes.
    Rules(BTreeMap<String, RouteRule>),
    /// Take the candidate out of every rule.
    Unlist,
    /// Delete the candidate's Service.
    Delete,
    /// Wait for somebody else. `fence`: until then no revision may get its first pod.
    Wait {
        /// What for, as the end of a sentence that begins with "waits until".
        until: String,
        /// Whether a new pod could get traffic unasked.
        fence: bool,
    },
    /// It cannot be done as things are.
    Refuse(String),
    /// Everything is as it shall be.
    Done,
}

/// The next move from `seen` towards `routes`.
pub(in crate::traffic) fn next(seen: &Seen, routes: &Routes) -> Next {
    let plan = match Plan::of(seen, routes) {
        Ok(plan) => plan,
        Err(why) => return Next::Refuse(why),
    };
    // Each looks at the world as it is after those before it had nothing (more) to do.
    let moves = [
        Plan::fence,
        Plan::create,
        Plan::unrule,
        Plan::weigh,
        Plan::rule,
        Plan::point_candidate,
        Plan::point_own,
        Plan::tidy,
    ];
    let found = moves.iter().find_map(|it| it(&plan, seen));
    found.unwrap_or_else(|| plan.wait(seen).unwrap_or(Next::Done))
}

#[cfg(test)]
mod tests;
