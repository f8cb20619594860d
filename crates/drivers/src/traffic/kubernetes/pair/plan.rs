//! Whom each Service is for, and the moves towards that.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use rollout::{Revision, RouteRule, Weight};

use super::{Backend, Listed, Next, Seen, Selects, Slot};
use crate::{Routes, RulesTo};

/// Which revision each Service is for.
pub(super) struct Plan {
    /// Shares that are more than nothing.
    shares: BTreeMap<Revision, Weight>,
    /// Whom the user's Service is for; `None`: nobody gets anything.
    own: Option<Revision>,
    /// Whom the candidate's is for.
    candidate: Option<Revision>,
    /// What reaches the candidate beside its share.
    rules: Option<RulesTo>,
    /// There is more than one revision to tell apart.
    crowd: bool,
}

impl Plan {
    pub(super) fn of(seen: &Seen, routes: &Routes) -> Result<Self, String> {
        let shares = routes.weights.iter().filter(|(_, it)| **it > Weight::ZERO);
        let shares: BTreeMap<Revision, Weight> = shares.map(|(it, share)| (*it, *share)).collect();
        if shares.len() > 2 {
            return Err(format!(
                "shares for {} revisions; two Services carry two",
                shares.len()
            ));
        }
        let present: BTreeSet<Revision> =
            routes.present.iter().chain(&seen.alive).copied().collect();
        let present: BTreeSet<Revision> = present.iter().chain(shares.keys()).copied().collect();
        let at = |backend: &Backend| match backend.selects {
            Selects::One(revision) => Some(revision),
            Selects::Everything | Selects::Nobody => None,
        };
        let now = at(&seen.own).filter(|it| shares.contains_key(it));
        let beside = seen.candidate.as_ref().and_then(at);
        // Of two, the one that it serves already, or that the candidate does not, or that has more.
        let other = |it: &&Revision| Some(**it) != beside.filter(|it| shares.contains_key(it));
        let heaviest = shares
            .keys()
            .filter(other)
            .max_by_key(|it| (shares.get(*it).copied(), Reverse(**it)));
        let own = match shares.len() {
            1 => shares.keys().next(),
            _ => now.as_ref().or(heaviest),
        };
        let own = own.copied();
        let rest = || present.iter().filter(|it| Some(**it) != own).copied();
        let asked = shares.keys().find(|it| Some(**it) != own).copied();
        let kept = beside.filter(|it| rest().any(|one| one == *it));
        // While the user's Service serves another, the candidate's is the way to the one it is for.
        let elsewhere = seen.own.selects != Selects::Everything && at(&seen.own) != own;
        let busy = elsewhere && seen.split.carries(Slot::Own) && !seen.own.is_empty();
        let bridge = own.filter(|_| busy);
        let spare = || rest().rfind(|it| seen.known.contains(it) && own.is_some());
        // Beside all or nothing of the traffic there are no rules: then Services may change places.
        let rules = routes.rules.clone().filter(|it| Some(it.revision) != own);
        let ruled = rules.as_ref().map(|it| it.revision);
        let candidate = bridge.or(asked).or(ruled).or(kept).or_else(spare);
        Ok(Self {
            crowd: rest().next().is_some(),
            shares,
            own,
            candidate,
            rules,
        })
    }

    fn own_selects(&self) -> Selects {
        self.own.map_or(Selects::Nobody, Selects::One)
    }

    /// The user's Service selects everything while somebody must be kept out of it.
    pub(super) fn fence(&self, seen: &Seen) -> Option<Next> {
        if seen.own.selects != Selects::Everything || !self.crowd {
            return None;
        }
        // Pods whose ReplicaSet is not marked yet look like somebody else's.
        let told_apart = self.own.is_none_or(|it| seen.known.contains(&it));
        if told_apart && !seen.own.strangers.is_empty() {
            return Some(Next::Refuse(format!(
                "also selects pods that are none of the app's ({}); narrowing it would take their traffic",
                seen.own.strangers.join(", ")
            )));
        }
        Some(self.select(seen, Slot::Own, self.own))
    }

    pub(super) fn create(&self, seen: &Seen) -> Option<Next> {
        let candidate = self.candidate.filter(|it| seen.known.contains(it))?;
        seen.candidate.is_none().then_some(Next::Create(candidate))
    }

    /// The shares, as far as what is behind the Services can carry them.
    pub(super) fn weigh(&self, seen: &Seen) -> Option<Next> {
        let split = seen.split;
        let wanted = self.wanted(seen)?;
        let settled = match split.listed {
            Listed::Nowhere => self.candidate.is_none() || seen.candidate.is_none(),
            // Not worth completing when it goes anyway.
            Listed::Somewhere => self.candidate.is_none() && split.candidate == Some(wanted),
            Listed::Everywhere => split.candidate == Some(wanted),
        };
        if settled {
            return None;
        }
        // Listed first without a share, so that the data plane knows the Service by the time it
        // gets one; but not when there is nobody else to serve meanwhile.
        let alone = seen.own.is_empty();
        let known = split.listed == Listed::Everywhere && split.accepted;
        let rises = split.candidate == Some(Weight::ZERO) && wanted > Weight::ZERO;
        match rises && !known && !alone {
            true if split.listed == Listed::Everywhere => None,
            true => Some(Next::Share(Weight::ZERO)),
            false => Some(Next::Share(wanted)),
        }
    }

    /// The header and mirror routes to have now: those asked for, while the candidate's Service is
    /// for whom they are.
    fn rules(&self, seen: &Seen) -> BTreeMap<String, RouteRule> {
        let standing = !seen.rules.is_empty();
        let asked = self.rules.iter().filter(|asked| {
            let beside = seen.candidate.as_ref();
            self.candidate == Some(asked.revision)
                && beside.is_some_and(|it| self.can(it, asked.revision, standing))
        });
        asked.flat_map(|it| it.rules.clone()).collect()
    }

    /// Takes away what is not asked for (any more), before anything else changes.
    pub(super) fn unrule(&self, seen: &Seen) -> Option<Next> {
        let wanted = self.rules(seen);
        let kept = |(name, rule): &(String, RouteRule)| wanted.get(name) == Some(rule);
        let left: BTreeMap<_, _> = seen.rules.clone().into_iter().filter(kept).collect();
        (seen.spoilt || left != seen.rules).then_some(Next::Rules(left))
    }

    /// Adds what is asked for, once the data plane knows the candidate's Service.
    pub(super) fn rule(&self, seen: &Seen) -> Option<Next> {
        let wanted = self.rules(seen);
        let known = seen.split.listed == Listed::Everywhere && seen.split.accepted;
        (known && wanted != seen.rules).then_some(Next::Rules(wanted))
    }

    /// The candidate's share now; `None`: it stays as it is, because nobody can carry what is asked.
    fn wanted(&self, seen: &Seen) -> Option<Weight> {
        let carriers: BTreeMap<Revision, Slot> = self
            .shares
            .keys()
            .filter_map(|it| Some((*it, self.carrier(seen, *it)?)))
            .collect();
        if self.shares.is_empty() {
            return Some(Weight::ZERO);
        }
        let share = |(revision, slot): (&Revision, &Slot)| {
            // What one cannot carry, the other does.
            let whole = carriers.len() < self.shares.len();
            let share = self.shares.get(revision).copied().unwrap_or_default();
            match (whole, slot) {
                (true, Slot::Candidate) => Weight::ALL,
                (true, Slot::Own) => Weight::ZERO,
                (false, Slot::Candidate) => share,
                (false, Slot::Own) => share.rest(),
            }
        };
        carriers.iter().next().map(share)
    }

    /// The Service that can carry `revision` now: the one it is meant to be at, if it is.
    fn carrier(&self, seen: &Seen, revision: Revision) -> Option<Slot> {
        let own = self.can(&seen.own, revision, seen.split.carries(Slot::Own));
        let beside = seen.candidate.as_ref();
        let candidate =
            beside.is_some_and(|it| self.can(it, revision, seen.split.carries(Slot::Candidate)));
        // Who hands over does so to as many as it has itself.
        let count = |it: &Backend| it.ready.get(&revision).copied().unwrap_or_default();
        let enough = beside.is_none_or(|it| count(&seen.own) >= count(it));
        let hands_over = candidate && seen.split.carries(Slot::Candidate);
        match self.own == Some(revision) && own && (enough || !hands_over) {
            true => Some(Slot::Own),
            false if candidate => Some(Slot::Candidate),
            false => own.then_some(Slot::Own),
        }
    }

    /// Whether nothing but ready pods of `revision` is behind `backend`. `carries`: it has traffic
    /// already, so that nobody has to learn of them first.
    fn can(&self, backend: &Backend, revision: Revision, carries: bool) -> bool {
        let selected = match backend.selects {
            Selects::One(it) => it == revision,
            Selects::Everything => !self.crowd,
            Selects::Nobody => false,
        };
        let only = backend.ready.keys().eq([&revision]);
        selected && backend.shown && only && (backend.settled || carries)
    }

    pub(super) fn point_candidate(&self, seen: &Seen) -> Option<Next> {
        let (now, wanted) = (seen.candidate.as_ref()?, self.candidate?);
        let idle = seen.split.listed == Listed::Nowhere || seen.split.idle(Slot::Candidate);
        let free = idle && seen.rules.is_empty();
        let there = now.selects == Selects::One(wanted);
        (free && !there).then(|| self.select(seen, Slot::Candidate, Some(wanted)))
    }

    pub(super) fn point_own(&self, seen: &Seen) -> Option<Next> {
        if seen.own.selects == Selects::Everything || seen.own.selects == self.own_selects() {
            return None;
        }
        // Nobody is to get anything any more: that is what pointing it at nobody is for.
        let free = seen.split.idle(Slot::Own) || seen.own.is_empty() || self.own.is_none();
        free.then(|| self.select(seen, Slot::Own, self.own))
    }

    fn select(&self, seen: &Seen, slot: Slot, revision: Option<Revision>) -> Next {
        match revision {
            None => Next::Select(slot, Selects::Nobody),
            Some(it) if seen.known.contains(&it) => Next::Select(slot, Selects::One(it)),
            Some(it) => Next::Wait {
                until: format!("the pods of {it} can be told apart"),
                fence: true,
            },
        }
    }

    /// Takes back what is ours once there is one revision, and all of it is behind the user's Service.
    pub(super) fn tidy(&self, seen: &Seen) -> Option<Next> {
        let own = self.own.filter(|_| !self.crowd)?;
        let carried = self.can(&seen.own, own, true);
        let (listed, accepted) = (seen.split.listed, seen.split.accepted);
        match (listed, seen.candidate.is_some()) {
            (Listed::Nowhere, true) => accepted.then_some(Next::Delete),
            (Listed::Nowhere, false) => {
                let narrowed = seen.own.selects != Selects::Everything;
                let back = narrowed && (carried || seen.own.is_empty());
                back.then_some(Next::Select(Slot::Own, Selects::Everything))
            }
            (Listed::Somewhere | Listed::Everywhere, _) => {
                let idle = seen.split.idle(Slot::Candidate) && seen.rules.is_empty();
                idle.then_some(Next::Unlist)
            }
        }
    }

    pub(super) fn wait(&self, seen: &Seen) -> Option<Next> {
        let wait = |fence, until: String| Some(Next::Wait { until, fence });
        if !seen.own.shown {
            let until = "the EndpointSlices of the Service follow its selector".to_owned();
            return wait(self.crowd, until);
        }
        let carried = |it: &&Revision| self.carrier(seen, **it).is_some();
        if let Some(revision) = self.shares.keys().find(|it| !carried(it)) {
            return wait(
                false,
                format!("{revision} has ready endpoints behind its Service"),
            );
        }
        if !seen.split.accepted {
            return wait(false, "the route is accepted as it is written".to_owned());
        }
        if let Some(asked) = &self.rules
            && asked.rules != seen.rules
        {
            let until = format!(
                "{} has ready endpoints behind the candidate's Service",
                asked.revision
            );
            return wait(false, until);
        }
        let alone = self.own.filter(|_| self.shares.len() == 1);
        match alone {
            Some(revision) if seen.split.carries(Slot::Candidate) => wait(
                false,
                format!("all of {revision} is behind the user's Service"),
            ),
            Some(_) | None => None,
        }
    }
}
