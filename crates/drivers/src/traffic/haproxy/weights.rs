//! The servers an app's routes ask for: integer weights from 0 to 256 that come nearest to the shares.
//!
//! All instances of a revision that carry traffic have the same weight, so a revision with `n` of
//! them at weight `k` gets `k·n / Σ k·n`. The best `k`s are searched, which costs at most 256 tries.
//!
//! Granularity: the smallest share that `n` of `n + m` instances can get is `n / (n + 256·m)`, 0.39 %
//! where both revisions have as many, 0.13 % for one beside three. A revision whose instances are
//! too many even at weight 1 uses only some of them, the rest stays at weight 0.

use std::collections::BTreeMap;

use rollout::{
    Revision, Weight,
    observation::{Instance, InstanceState},
};

use crate::{Routes, traffic::shares::shares_of};

/// Highest weight that HAProxy knows.
const WEIGHT_MAX: u32 = 256;

/// A server as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredServer {
    /// The instance's name.
    pub name: String,
    /// The instance's revision.
    pub revision: Revision,
    /// `host:port`.
    pub address: String,
    /// 0 to 256.
    pub weight: u32,
    /// What it is told.
    pub state: DesiredState,
}

/// What a server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DesiredState {
    /// Take part, as far as the weight says.
    Ready,
    /// Take nothing new, finish what is open, then be removed.
    Drain,
}

/// The servers that `routes` ask for, by revision and in the workload's own order. Instances without
/// an address and those that have ended have no server.
pub fn desired(routes: &Routes) -> Vec<DesiredServer> {
    let carriers = carriers(routes);
    let counts = carriers
        .iter()
        .map(|(it, names)| (*it, names.len() as u64))
        .collect();
    let best = search(&wanted(routes, &counts), counts);
    let server = |revision: Revision, instance: &Instance| {
        let state = match instance.state {
            InstanceState::Starting | InstanceState::Ready | InstanceState::NotReady => {
                DesiredState::Ready
            }
            InstanceState::Draining => DesiredState::Drain,
            InstanceState::Exited => return None,
        };
        let place = carriers
            .get(&revision)?
            .iter()
            .position(|it| *it == instance.name);
        let pick = best.get(&revision);
        let weight = match (place, pick) {
            (Some(place), Some(pick)) if (place as u64) < pick.count => pick.weight,
            (_, _) => 0,
        };
        let address = instance.address.clone()?;
        Some(DesiredServer {
            name: instance.name.clone(),
            revision,
            address,
            weight,
            state,
        })
    };
    let instances = routes.instances.iter();
    instances
        .flat_map(|(revision, them)| them.iter().filter_map(move |it| server(*revision, it)))
        .collect()
}

/// The shares that HAProxy's integer weights really give for `routes`, if all ready instances are up.
/// Empty when nothing can carry traffic.
pub fn given(routes: &Routes) -> BTreeMap<Revision, Weight> {
    let mut parts: BTreeMap<Revision, u64> = BTreeMap::new();
    for server in desired(routes).iter().filter(|it| it.weight > 0) {
        *parts.entry(server.revision).or_default() += u64::from(server.weight);
    }
    shares_of(&parts)
}

/// Per revision, the instances that may carry traffic, also when it has none to carry. Instances that
/// are not ready count only when no instance of any revision with a share is: HAProxy's own check
/// then decides, which can only be better than nothing.
fn carriers(routes: &Routes) -> BTreeMap<Revision, Vec<&str>> {
    let of = |state: InstanceState| -> BTreeMap<Revision, Vec<&str>> {
        let names = |them: &'_ [Instance]| -> Vec<usize> {
            let fits = |it: &Instance| it.state == state && it.address.is_some();
            them.iter()
                .enumerate()
                .filter(|(_, it)| fits(it))
                .map(|(at, _)| at)
                .collect()
        };
        let named = routes.instances.iter().map(|(revision, them)| {
            let places = names(them);
            let found = places.into_iter().filter_map(|at| them.get(at));
            (*revision, found.map(|it| it.name.as_str()).collect())
        });
        named.collect()
    };
    let ready = of(InstanceState::Ready);
    let carries = |(revision, names): (&Revision, &Vec<&str>)| {
        !names.is_empty()
            && routes
                .weights
                .get(revision)
                .is_some_and(|it| *it > Weight::ZERO)
    };
    if ready.iter().any(carries) {
        ready
    } else {
        of(InstanceState::NotReady)
    }
}

/// The shares asked of revisions that have something to carry them.
fn wanted(routes: &Routes, counts: &BTreeMap<Revision, u64>) -> BTreeMap<Revision, f64> {
    let asked = routes.weights.iter().filter(|(revision, weight)| {
        **weight > Weight::ZERO && counts.get(revision).is_some_and(|it| *it > 0)
    });
    let asked: BTreeMap<Revision, f64> = asked
        .map(|(revision, weight)| (*revision, f64::from(weight.hundredths())))
        .collect();
    let whole: f64 = asked.values().sum();
    asked
        .into_iter()
        .map(|(revision, it)| (revision, it / whole))
        .collect()
}

/// What one revision's servers get.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pick {
    weight: u32,
    /// How many of its instances have that weight.
    count: u64,
}

type Picks = BTreeMap<Revision, Pick>;

/// The best weights. While they are too far off, the revision that gets most too much does with half
/// of its instances.
fn search(wanted: &BTreeMap<Revision, f64>, mut counts: BTreeMap<Revision, u64>) -> Picks {
    counts.retain(|revision, _| wanted.contains_key(revision));
    let (mut best, mut error) = search_equal(wanted, &counts);
    let enough = f64::from(super::tolerance().hundredths()) / 10_000.0;
    while error > enough {
        let over = excess(wanted, &best);
        let most = over
            .iter()
            .filter(|(it, _)| counts.get(it).is_some_and(|n| *n > 1));
        let Some((revision, _)) = most.max_by(|a, b| a.1.total_cmp(b.1)) else {
            break;
        };
        if let Some(count) = counts.get_mut(revision) {
            *count /= 2;
        }
        let (picks, off) = search_equal(wanted, &counts);
        if off >= error {
            break;
        }
        (best, error) = (picks, off);
    }
    best
}

/// The weights, one a revision, whose worst error is smallest; the smallest of equals.
fn search_equal(
    wanted: &BTreeMap<Revision, f64>,
    counts: &BTreeMap<Revision, u64>,
) -> (Picks, f64) {
    let per_server: BTreeMap<Revision, (f64, u64)> = wanted
        .iter()
        .filter_map(|(revision, share)| {
            let count = *counts.get(revision)?;
            Some((*revision, (share / count as f64, count)))
        })
        .collect();
    let highest = per_server.values().map(|(it, _)| *it).fold(0.0, f64::max);
    let mut best = (Picks::new(), f64::INFINITY);
    if highest <= 0.0 {
        return (best.0, 0.0);
    }
    for top in 1..=WEIGHT_MAX {
        let pick = |(each, count): &(f64, u64)| {
            let exact = f64::from(top) * each / highest;
            Pick {
                weight: (exact.round() as u32).clamp(1, WEIGHT_MAX),
                count: *count,
            }
        };
        let picks: Picks = per_server.iter().map(|(it, of)| (*it, pick(of))).collect();
        let error = excess(wanted, &picks)
            .values()
            .fold(0.0, |worst: f64, it| worst.max(it.abs()));
        if error < best.1 - 1e-12 {
            best = (picks, error);
        }
    }
    best
}

/// How much more than asked each revision gets.
fn excess(wanted: &BTreeMap<Revision, f64>, picks: &Picks) -> BTreeMap<Revision, f64> {
    let part = |it: &Pick| f64::from(it.weight) * it.count as f64;
    let whole: f64 = picks.values().map(part).sum();
    let over = wanted.iter().map(|(revision, share)| {
        let given = picks.get(revision).map_or(0.0, |it| part(it) / whole);
        (*revision, given - share)
    });
    over.collect()
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;
