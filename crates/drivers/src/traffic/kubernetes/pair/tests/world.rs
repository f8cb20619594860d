//! A cluster in small: Services, their slices, a route, and a data plane that learns of routes and
//! of endpoints at different times. Each turn is taken by one of them; after each, the data plane is
//! looked at as a client would.

use std::collections::{BTreeMap, BTreeSet};

use rollout::{HeaderMatch, ValueMatch};

use super::*;
use crate::RulesTo;

pub(super) fn testers() -> BTreeMap<String, RouteRule> {
    let header = HeaderMatch {
        header: "X-Tester".to_owned(),
        value: ValueMatch::Exact("yes".to_owned()),
    };
    BTreeMap::from([("testers".to_owned(), RouteRule::Headers(vec![header]))])
}

#[derive(Debug, Clone, PartialEq)]
struct Slices {
    /// The stamp of the selector that they were made from.
    of: u32,
    ready: BTreeMap<Revision, u32>,
}

#[derive(Debug, Clone)]
struct Service {
    selects: Selects,
    stamp: u32,
    /// The selector as the controller of slices knows it: it reads Services and pods separately.
    watched: (Selects, u32),
    slices: Slices,
    /// What the data plane knows of the slices.
    known: BTreeMap<Revision, u32>,
}

impl Service {
    /// `heard`: the data plane reads this Service's slices, so that time alone tells it of them.
    fn seen(&self, heard: bool) -> Backend {
        Backend {
            selects: self.selects,
            shown: self.slices.of == self.stamp,
            ready: self.slices.ready.clone(),
            strangers: Vec::new(),
            settled: !heard || self.known == self.slices.ready,
        }
    }
}

/// `None`: the candidate is not listed.
type Written = Option<Weight>;

#[derive(Debug)]
pub(super) struct World {
    own: Service,
    candidate: Option<Service>,
    written: Written,
    /// What the data plane does.
    served: Written,
    /// Whether a header route for the candidate is asked for.
    rules: bool,
    /// For whom one stands in the route, and for whom the data plane has one.
    ruled: Option<Revision>,
    ruling: Option<Revision>,
    /// Ready pods.
    pods: BTreeMap<Revision, u32>,
    /// Pods that are wanted.
    scales: BTreeMap<Revision, u32>,
    weights: BTreeMap<Revision, Weight>,
    /// Revisions that were asked to carry something since everything was last as asked.
    allowed: BTreeSet<Revision>,
    stable: Revision,
    newest: u32,
    stamp: u32,
    done: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let pods = BTreeMap::from([(R1, 3)]);
        Self {
            own: Service {
                selects: Selects::Everything,
                stamp: 0,
                watched: (Selects::Everything, 0),
                slices: Slices {
                    of: 0,
                    ready: pods.clone(),
                },
                known: pods.clone(),
            },
            candidate: None,
            written: None,
            served: None,
            rules: false,
            ruled: None,
            ruling: None,
            scales: pods.clone(),
            pods,
            weights: BTreeMap::from([(R1, Weight::ALL)]),
            allowed: BTreeSet::from([R1]),
            stable: R1,
            newest: 1,
            stamp: 0,
            done: false,
        }
    }

    pub(super) fn turn(&mut self, turn: u8) {
        match turn % 16 {
            0..=4 => self.drive(),
            5 => self.watch(Slot::Own),
            6 => self.slice(Slot::Own),
            7 => self.watch(Slot::Candidate),
            8 => self.slice(Slot::Candidate),
            9 => self.learn(Slot::Own),
            10 => self.learn(Slot::Candidate),
            11 => self.accept(),
            12 => self.run_pods(turn / 16),
            13 => self.rules = (turn / 16).is_multiple_of(2),
            _ => self.decide(turn / 16),
        }
        self.check();
    }

    pub(super) fn comes_to_rest(&mut self) {
        self.weights = BTreeMap::from([(self.stable, Weight::ALL)]);
        self.allowed.insert(self.stable);
        self.rules = false;
        self.scales = BTreeMap::from([(self.stable, 3)]);
        for _ in 0..40 {
            for turn in [0, 5, 6, 7, 8, 9, 10, 11, 12] {
                self.turn(turn);
            }
        }
        assert!(self.done, "{self:#?}");
        assert_eq!(self.pods, self.scales, "{self:#?}");
        assert_eq!(self.own.selects, Selects::Everything, "{self:#?}");
        assert!(
            self.candidate.is_none() && self.written.is_none() && self.ruled.is_none(),
            "{self:#?}"
        );
    }

    fn seen(&self) -> Seen {
        Seen {
            own: self.own.seen(true),
            candidate: self
                .candidate
                .as_ref()
                .map(|it| it.seen(self.served.is_some() || self.ruling.is_some())),
            split: Split {
                listed: self.written.map_or(Listed::Nowhere, |_| Listed::Everywhere),
                candidate: Some(self.written.unwrap_or(Weight::ZERO)),
                accepted: (self.written, self.ruled) == (self.served, self.ruling),
            },
            rules: self.ruled.map(|_| testers()).unwrap_or_default(),
            spoilt: false,
            known: self
                .scales
                .keys()
                .chain(self.pods.keys())
                .copied()
                .collect(),
            alive: self.pods.keys().copied().collect(),
        }
    }

    fn routes(&self) -> Routes {
        Routes {
            weights: self.weights.clone(),
            rules: self.asked_rule().map(|revision| RulesTo {
                revision,
                rules: testers(),
            }),
            present: self
                .scales
                .keys()
                .chain(self.pods.keys())
                .copied()
                .collect(),
            ..Routes::default()
        }
    }

    /// For whom a header route is asked: a candidate that can answer and has not everything.
    fn asked_rule(&self) -> Option<Revision> {
        let candidate = self.scales.keys().copied().find(|it| *it != self.stable)?;
        let ready = self.pods.get(&candidate).is_some_and(|it| *it > 0);
        let all = self.weights.get(&candidate) == Some(&Weight::ALL);
        (self.rules && ready && !all).then_some(candidate)
    }

    fn service(&mut self, slot: Slot) -> Option<&mut Service> {
        match slot {
            Slot::Own => Some(&mut self.own),
            Slot::Candidate => self.candidate.as_mut(),
        }
    }

    fn drive(&mut self) {
        let next = next(&self.seen(), &self.routes());
        self.done = next == Next::Done;
        self.stamp += 1;
        match next {
            Next::Select(slot, selects) => {
                let stamp = self.stamp;
                if let Some(service) = self.service(slot) {
                    (service.selects, service.stamp) = (selects, stamp);
                }
            }
            Next::Create(revision) => {
                self.candidate = Some(Service {
                    selects: Selects::One(revision),
                    stamp: self.stamp,
                    watched: (Selects::Nobody, 0),
                    slices: Slices {
                        of: 0,
                        ready: BTreeMap::new(),
                    },
                    known: BTreeMap::new(),
                });
            }
            Next::Share(share) => self.written = Some(share),
            Next::Rules(it) => {
                self.ruled = self.asked_rule().or(self.ruled).filter(|_| !it.is_empty());
            }
            Next::Unlist => self.written = None,
            Next::Delete => {
                assert!(
                    self.served.is_none() && self.ruling.is_none(),
                    "deleted while the data plane names it: {self:#?}"
                );
                self.candidate = None;
            }
            Next::Wait { fence, .. } => {
                if !fence {
                    self.start_pods();
                }
            }
            Next::Refuse(why) => panic!("{why}"),
            Next::Done => {
                self.start_pods();
                self.allowed = self.weights.keys().copied().collect();
            }
        }
    }

    /// The router has said that every revision is kept out where it must be.
    fn start_pods(&mut self) {
        for (revision, wanted) in &self.scales {
            if *wanted > 0 && !self.pods.contains_key(revision) {
                self.pods.insert(*revision, 1);
            }
        }
    }

    /// More of those that run; none less while it can get requests.
    fn run_pods(&mut self, how: u8) {
        let in_use = self.in_use();
        let pods = std::mem::take(&mut self.pods);
        for (revision, now) in pods {
            let wanted = self.scales.get(&revision).copied().unwrap_or_default();
            let count = match now < wanted {
                true => (now + 1 + u32::from(how % 2)).min(wanted),
                false if in_use.contains(&revision) => now,
                false => wanted,
            };
            if count > 0 {
                self.pods.insert(revision, count);
            }
        }
    }

    fn in_use(&self) -> BTreeSet<Revision> {
        let of = |it: &Service| -> BTreeSet<Revision> {
            it.slices
                .ready
                .keys()
                .chain(it.known.keys())
                .copied()
                .collect()
        };
        let mut used = of(&self.own);
        if let (Some(it), true) = (
            &self.candidate,
            self.written.max(self.served) > Some(Weight::ZERO)
                || self.ruled.or(self.ruling).is_some(),
        ) {
            used.extend(of(it));
        }
        used
    }

    fn watch(&mut self, slot: Slot) {
        if let Some(service) = self.service(slot) {
            service.watched = (service.selects, service.stamp);
        }
    }

    fn slice(&mut self, slot: Slot) {
        let pods = self.pods.clone();
        if let Some(service) = self.service(slot) {
            let ready = match service.watched.0 {
                Selects::Everything => pods,
                Selects::One(it) => pods.into_iter().filter(|(one, _)| *one == it).collect(),
                Selects::Nobody => BTreeMap::new(),
            };
            service.slices = Slices {
                of: service.watched.1,
                ready,
            };
        }
    }

    /// The data plane reads the endpoints of the Services that its route names.
    fn learn(&mut self, slot: Slot) {
        let heard = slot == Slot::Own || self.served.is_some() || self.ruling.is_some();
        if let (true, Some(service)) = (heard, self.service(slot)) {
            service.known = service.slices.ready.clone();
        }
    }

    fn accept(&mut self) {
        self.served = self.written;
        self.ruling = self.ruled;
        if let (None, Some(candidate)) = (self.served, &mut self.candidate) {
            candidate.known.clear();
        }
    }

    /// What a rollout may ask for next.
    fn decide(&mut self, how: u8) {
        let candidate = self.scales.keys().copied().find(|it| *it != self.stable);
        let Some(candidate) = candidate else {
            // Pods of the rollout before may still be there: a candidate is one more.
            self.newest += 1;
            self.scales.insert(Revision(self.newest), 3);
            return;
        };
        let ready = |it| self.pods.get(&it).copied().unwrap_or_default();
        let (can, stable) = (ready(candidate) > 0, self.stable);
        let mut ask = |candidate_share: Weight| {
            let shares = [
                (candidate, candidate_share),
                (stable, candidate_share.rest()),
            ];
            self.weights = shares
                .into_iter()
                .filter(|(_, it)| *it > Weight::ZERO)
                .collect();
            self.allowed.extend(self.weights.keys());
        };
        match how {
            0..=7 if can => ask(percent(u32::from(how + 1) * 10)),
            8..=10 if can => ask(Weight::ALL),
            11 | 12 => ask(Weight::ZERO),
            13 | 14 if self.weights.get(&candidate) == Some(&Weight::ALL) && self.done => {
                self.stable = candidate;
                self.scales.remove(&stable);
            }
            15 if !self.weights.contains_key(&candidate) && self.done => {
                self.scales.remove(&candidate);
            }
            _ => {}
        }
    }

    /// As a client: through the route, and past it.
    fn check(&self) {
        if let Some(revision) = self.ruling {
            let beside = self.candidate.as_ref();
            let only = beside.is_some_and(|it| it.known.keys().eq([&revision]));
            assert!(only, "a route for {revision} goes astray: {self:#?}");
        }
        let through = self.served.unwrap_or(Weight::ZERO);
        let backends = [
            (through < Weight::ALL, Some(&self.own.known)),
            (
                through > Weight::ZERO,
                self.candidate.as_ref().map(|it| &it.known),
            ),
            (true, Some(&self.own.slices.ready)),
        ];
        for (_, behind) in backends.iter().filter(|(serves, _)| *serves) {
            let behind = behind.unwrap_or_else(|| panic!("no Service: {self:#?}"));
            assert!(
                !behind.is_empty(),
                "nobody behind a Service that serves: {self:#?}"
            );
            for revision in behind.keys() {
                assert!(
                    self.allowed.contains(revision),
                    "{revision} serves unasked: {self:#?}"
                );
            }
        }
    }
}
