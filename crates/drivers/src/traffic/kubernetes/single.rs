//! One Service and no weights: which revision it selects, and what is to be done next.
//!
//! ```text
//!   at rest     everything ── narrow ──▶ stable     a second revision comes
//!   a switch    stable ────────────────▶ candidate  when it has ready pods
//!   shares      stable ── widen ───────▶ both       only where pods may share by their number
//!   at the end  candidate ── widen ────▶ everything
//! ```

use std::collections::{BTreeMap, BTreeSet};

use rollout::{Revision, Weight, observation::InstanceState};

use super::pair::{Backend, Next, Selects, Slot};
use crate::Routes;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::traffic) struct Seen {
    /// The Service.
    pub(in crate::traffic) own: Backend,
    /// Revisions whose pods can be told apart.
    pub(in crate::traffic) known: BTreeSet<Revision>,
    /// Revisions that have pods or shall have some.
    pub(in crate::traffic) alive: BTreeSet<Revision>,
}

impl Seen {
    fn present(&self, routes: &Routes) -> BTreeSet<Revision> {
        let present = routes.present.iter().chain(&self.alive);
        present.chain(carried(routes).keys()).copied().collect()
    }
}

fn carried(routes: &Routes) -> BTreeMap<Revision, Weight> {
    let carried = routes.weights.iter().filter(|(_, it)| **it > Weight::ZERO);
    carried.map(|(revision, it)| (*revision, *it)).collect()
}

/// The next move towards `routes`; only [`Next::Select`] of the user's Service is one. `shared`: two
/// revisions may be behind the Service at once.
pub(in crate::traffic) fn next(seen: &Seen, routes: &Routes, shared: bool) -> Next {
    let carried = carried(routes);
    let mut idle = seen.present(routes);
    idle.retain(|it| !carried.contains_key(it));
    let mut revisions = carried.keys();
    let wanted = match (revisions.next(), revisions.next()) {
        (None, _) if idle.is_empty() => seen.own.selects,
        (None, _) => Selects::Nobody,
        (Some(_), None) if idle.is_empty() => Selects::Everything,
        (Some(one), None) => Selects::One(*one),
        (Some(_), Some(_)) if !shared => {
            return Next::Refuse(
                "gives everything to one revision at a time: shares need a router with weights, or replicaRatio".to_owned(),
            );
        }
        (Some(_), Some(_)) if idle.is_empty() => Selects::Everything,
        (Some(_), Some(_)) => return crowded(seen, &idle),
    };
    if seen.own.selects == wanted {
        return settled(seen, &carried, &idle);
    }
    turn(seen, routes, wanted)
}

/// Points the Service at `wanted`, if that takes traffic from nobody who shall have it.
fn turn(seen: &Seen, routes: &Routes, wanted: Selects) -> Next {
    let wait = |until: String| Next::Wait {
        until,
        // A Service that selects everything keeps nobody out.
        fence: seen.own.selects == Selects::Everything,
    };
    // Pods whose ReplicaSet is not marked yet look like somebody else's: so this comes first.
    if let Selects::One(revision) = wanted
        && !seen.known.contains(&revision)
    {
        return wait(format!("the pods of {revision} can be told apart"));
    }
    if seen.own.selects == Selects::Everything && !seen.own.strangers.is_empty() {
        return Next::Refuse(format!(
            "also selects pods that are none of the app's ({}); narrowing it would take their traffic",
            seen.own.strangers.join(", ")
        ));
    }
    if let Selects::One(revision) = wanted {
        let instances = routes.instances.get(&revision).into_iter().flatten();
        let ready = instances
            .filter(|it| it.state == InstanceState::Ready)
            .count();
        if ready == 0 && !seen.own.ready.is_empty() {
            return wait(format!("{revision} has ready pods"));
        }
    }
    Next::Select(Slot::Own, wanted)
}

/// Two have shares, and pods of a third one must stay out: one selector cannot say that.
fn crowded(seen: &Seen, idle: &BTreeSet<Revision>) -> Next {
    let names: Vec<String> = idle.iter().map(Revision::to_string).collect();
    Next::Wait {
        until: format!("the pods of {} are gone", names.join(", ")),
        fence: seen.own.selects == Selects::Everything,
    }
}

fn settled(seen: &Seen, carried: &BTreeMap<Revision, Weight>, idle: &BTreeSet<Revision>) -> Next {
    if !seen.own.shown {
        return Next::Wait {
            until: "the EndpointSlices of the Service follow its selector".to_owned(),
            fence: !idle.is_empty(),
        };
    }
    let missing = carried.keys().find(|it| !seen.own.ready.contains_key(it));
    match missing {
        Some(revision) => Next::Wait {
            until: format!("{revision} has ready endpoints behind the Service"),
            fence: false,
        },
        None => Next::Done,
    }
}

#[cfg(test)]
mod tests;
