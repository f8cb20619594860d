//! Scenarios a reviewer reads without Rust: `tests/scenarios/*.txt`.
//!
//! A line that begins at the margin is a fact, an order or a comment (`#`); the indented lines
//! below it are what follows: `~` a transition, `=` where the rollout then stands (phase, step,
//! share of traffic and ready instances by revision, what it waits for). After every fact the core
//! is asked again and again, as the server's pass does, until nothing moves. `UPDATE=1 cargo test
//! -p rollout --test scenarios` writes the indented lines anew.
//!
//! Facts and orders:
//!
//! ```text
//! app {…}                     the app file's half that the core reads, as JSON
//! replicas 4
//! rollout r1 -> r2 | undo r2 -> r1 | install r1
//! r2 healthy | r2 starting | r2 at most 1 ready | r2 crashes "exit code 1"
//! r1 lingers                  its instances do not stop when they should
//! router follows | router stuck | router unknown "socket gone" | workload unknown "…" | workload known
//! freeze weekend hold for 62h "nobody is on call" | freeze sale finish for 1h "…" | thaw
//! wait 30s
//! measure errors 0.01         one measurement (or `none`); with `for 1m` one each interval
//! ana promotes | promotes fully | aborts | pauses | resumes | retries | skips | approves | rejects
//! ana breaks the glass "incident 42"
//! ana promotes and            with `and` the next order comes before the next pass
//! alert HighErrors
//! supersede r3
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use rollout::{
    Advance, Command, Delivery, Fact, Freeze, Observation, Order, Outcome, Phase, Plan, Revision,
    Revisions, Running, State, Target, Weight, advance, command, document, gate, invariants,
    observation::{InstanceProblem, ObservedRoutes, ProblemKind, RevisionStatus},
    routes, rules, target,
};

/// How the instances of a revision behave.
#[derive(Debug, Clone)]
enum Nature {
    AtMostReady(u32),
    Crashes(String),
}

/// What a router has.
type Table = (BTreeMap<Revision, Weight>, BTreeSet<String>);

#[derive(Debug)]
struct Scenario {
    delivery: Option<Delivery>,
    replicas: u32,
    plan: Option<Plan>,
    state: State,
    gates: gate::Gates,
    now: Timestamp,
    natures: BTreeMap<Revision, Nature>,
    scales: BTreeMap<Revision, u32>,
    shares: BTreeMap<Revision, Weight>,
    rules: BTreeSet<String>,
    lingering: BTreeSet<Revision>,
    router_follows: bool,
    router_unknown: Option<String>,
    workload_unknown: Option<String>,
    freeze: Option<Freeze>,
    told: String,
}

impl Scenario {
    fn new() -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            delivery: None,
            replicas: 4,
            plan: None,
            state: State::new(now),
            gates: gate::Gates::default(),
            now,
            natures: BTreeMap::new(),
            scales: BTreeMap::new(),
            shares: BTreeMap::new(),
            rules: BTreeSet::new(),
            lingering: BTreeSet::new(),
            router_follows: true,
            router_unknown: None,
            workload_unknown: None,
            freeze: None,
            told: String::new(),
        }
    }

    fn plan(&self) -> &Plan {
        self.plan.as_ref().expect("no rollout was begun")
    }

    fn status(&self, revision: Revision) -> RevisionStatus {
        let total = self.scales.get(&revision).copied().unwrap_or(0);
        let (ready, problems) = match self.natures.get(&revision) {
            None => (total, Vec::new()),
            Some(Nature::AtMostReady(most)) => (total.min(*most), Vec::new()),
            Some(Nature::Crashes(detail)) if total > 0 => {
                let problem = InstanceProblem {
                    kind: ProblemKind::CrashLoop,
                    instance: None,
                    detail: detail.clone(),
                };
                (0, vec![problem])
            }
            Some(Nature::Crashes(_)) => (0, Vec::new()),
        };
        RevisionStatus {
            desired: total,
            total,
            ready,
            instances: Vec::new(),
            problems,
        }
    }

    fn observe(&self) -> Observation {
        let workload = match &self.workload_unknown {
            Some(why) => Fact::Unknown { why: why.clone() },
            None => Fact::Known {
                value: self
                    .scales
                    .keys()
                    .map(|it| (*it, self.status(*it)))
                    .collect(),
                observed_at: self.now,
            },
        };
        let routes = match &self.router_unknown {
            Some(why) => Fact::Unknown { why: why.clone() },
            None => Fact::Known {
                value: ObservedRoutes {
                    shares: self.shares.clone(),
                    tolerance: Weight::ZERO,
                    in_use: Vec::new(),
                    foreign: Vec::new(),
                    rules: self.rules.clone(),
                },
                observed_at: self.now,
            },
        };
        Observation {
            workload,
            routes,
            gates: self.gates.at(self.state.cursor).states,
            readable_since: None,
            freezes: {
                let on = self.freeze.iter().filter(|it| it.until > self.now);
                on.cloned().collect()
            },
        }
    }

    /// One pass, as the server's: observe, advance, commit, ensure. Whether anything moved.
    fn pass(&mut self) -> bool {
        let plan = self.plan().clone();
        let observation = self.observe();
        let mut moved = false;
        if let Advance::Next(next, event) = advance(&plan, &self.state, &observation, self.now) {
            writeln!(self.told, "    ~ {}", event.sentence(plan.candidate)).unwrap();
            self.state = *next;
            self.gates = self.gates.at(self.state.cursor);
            moved = true;
        }
        let target = target(&plan, &self.state);
        let mut broken = invariants::check(&plan, &self.state, &target);
        let shares = routes(&plan, &self.state, &target, &observation);
        if let Some(shares) = &shares {
            broken.extend(invariants::check_routes(
                &plan,
                &self.state,
                shares,
                &observation,
            ));
        }
        assert_eq!(broken, [], "{}", self.told);
        let names = rules(&plan, &self.state, &target, &observation).into_keys();
        let routes = shares.map(|it| (it, names.collect()));
        moved | self.ensure(&target, routes)
    }

    fn ensure(&mut self, target: &Target, routes: Option<Table>) -> bool {
        let now = |it: &Self| (it.shares.clone(), it.rules.clone(), it.scales.clone());
        let before = now(self);
        if self.state.phase == Phase::Pending {
            return false;
        }
        if let Some((shares, rules)) = routes.filter(|_| self.router_follows) {
            self.shares = shares;
            self.rules = rules;
        }
        if self.workload_unknown.is_none() {
            self.scales = target.scales.clone();
            for one in &self.lingering {
                let count = before.2.get(one).copied().unwrap_or(0);
                let scale = self.scales.entry(*one).or_default();
                *scale = count.max(*scale);
            }
        }
        before != now(self)
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            if !self.pass() {
                return;
            }
        }
        panic!("it does not come to rest:\n{}", self.told);
    }

    fn stand(&mut self) {
        let plan = self.plan().clone();
        let steps = plan.list(self.state.cursor.track);
        let step = match steps.get(self.state.cursor.step) {
            Some(step) if !self.state.phase.is_terminal() => format!(
                " {}/{} {}",
                self.state.cursor.step + 1,
                steps.len(),
                step.behavior().title()
            ),
            _ => String::new(),
        };
        let revisions = plan.stable.into_iter().chain([plan.candidate]);
        let traffic: Vec<String> = revisions
            .map(|it| {
                let status = self.status(it);
                let share = self.shares.get(&it).copied().unwrap_or(Weight::ZERO);
                format!("{it} {share} on {}/{}", status.ready, status.total)
            })
            .collect();
        let waits = match advance(&plan, &self.state, &self.observe(), self.now) {
            Advance::Wait {
                on, look_again_at, ..
            } => {
                assert!(
                    on.is_some() || self.state.phase.is_terminal(),
                    "I10: no reason"
                );
                assert!(
                    look_again_at.is_none_or(|it| it > self.now),
                    "I10: timer in the past"
                );
                on.map(|it| format!(" | {it}")).unwrap_or_default()
            }
            Advance::Next(_, event) => format!(" | about to: {event}"),
        };
        let phase = self.state.phase;
        writeln!(
            self.told,
            "    = {phase}{step} | {}{waits}",
            traffic.join(", ")
        )
        .unwrap();
        if !self.rules.is_empty() {
            let names: Vec<&str> = self.rules.iter().map(String::as_str).collect();
            writeln!(self.told, "      routes: {}", names.join(", ")).unwrap();
        }
    }

    fn begin(&mut self, stable: Option<Revision>, candidate: Revision, undo: bool) {
        let delivery = self.delivery.as_ref().expect("app comes first");
        let plan = Plan::compile(
            delivery,
            Revisions {
                stable,
                candidate,
                replicas: self.replicas,
                undo,
            },
        );
        let titles = |steps: &[rollout::Step]| {
            let titles: Vec<String> = steps.iter().map(|it| it.behavior().title()).collect();
            titles.join(", ")
        };
        writeln!(self.told, "    plan: {}", titles(&plan.main)).unwrap();
        let before = plan.before();
        self.scales = before.scales;
        self.shares = before.weights;
        self.state = State::new(self.now);
        self.plan = Some(plan);
    }

    fn order(&mut self, by: &str, order: Order, comment: Option<&str>) {
        let order = Command {
            order,
            by: by.to_owned(),
            comment: comment.map(ToOwned::to_owned),
            from: None,
        };
        let plan = self.plan().clone();
        match command(&plan, &self.state, &order, self.now) {
            Ok(Outcome::Changed(next, event)) => {
                writeln!(self.told, "    ~ {}", event.sentence(plan.candidate)).unwrap();
                self.state = *next;
            }
            Ok(Outcome::Unchanged) => self.told.push_str("    ~ nothing changes\n"),
            Err(rejection) => writeln!(self.told, "    ~ {rejection}").unwrap(),
        }
    }

    fn measure(&mut self, name: &str, reading: &str) {
        let gate = self.plan().gate(name).expect("a gate").clone();
        let reading = match reading {
            "none" => gate::Reading::NoData {
                cause: gate::NoDataCause::Empty,
                detail: "the query matched no series".to_owned(),
            },
            number => gate::Reading::Value {
                value: number.parse().unwrap(),
            },
        };
        let measurement = gate::Measurement {
            at: self.now,
            reading,
        };
        self.gates = self
            .gates
            .at(self.state.cursor)
            .fold(&gate, &measurement, false);
    }

    /// What stands before the rollout, and how it begins. False when the line is none of that.
    fn preface(&mut self, line: &str, words: &[&str]) -> bool {
        match words {
            ["app", ..] => {
                let file = serde_json::from_str(line.trim_start_matches("app")).unwrap();
                let read = |it: &document::Reader<'_>| Delivery::read(&it.object(&Delivery::KEYS)?);
                self.delivery = Some(document::read(&file, read).unwrap());
            }
            ["replicas", count] => self.replicas = count.parse().unwrap(),
            ["rollout", stable, "->", candidate] => {
                self.begin(Some(revision(stable)), revision(candidate), false);
            }
            ["undo", stable, "->", candidate] => {
                self.begin(Some(revision(stable)), revision(candidate), true);
            }
            ["install", candidate] => self.begin(None, revision(candidate), false),
            _ => return false,
        }
        true
    }

    /// A fact about the world. False when the line is none.
    fn fact(&mut self, words: &[&str], quoted: Option<&str>) -> bool {
        let quoted = quoted.map(ToOwned::to_owned);
        match words {
            ["router", "follows"] => {
                self.router_follows = true;
                self.router_unknown = None;
            }
            ["router", "stuck"] => self.router_follows = false,
            ["router", "unknown"] => self.router_unknown = quoted,
            ["workload", "unknown"] => self.workload_unknown = quoted,
            ["workload", "known"] => self.workload_unknown = None,
            ["thaw"] => self.freeze = None,
            ["freeze", window, running, "for", duration] => {
                self.freeze = Some(Freeze {
                    window: (*window).to_owned(),
                    reason: quoted.unwrap_or_default(),
                    until: self.now + duration.parse::<SignedDuration>().unwrap(),
                    running: match *running {
                        "hold" => Running::Hold,
                        _ => Running::Finish,
                    },
                });
            }
            ["wait", duration] => self.now += duration.parse::<SignedDuration>().unwrap(),
            ["measure", gate, reading] => self.measure(gate, reading),
            ["measure", gate, reading, "for", duration] => {
                let until = self.now + duration.parse::<SignedDuration>().unwrap();
                let interval = self.plan().gate(gate).unwrap().interval;
                while self.now < until {
                    self.now += interval;
                    self.measure(gate, reading);
                    self.settle();
                }
            }
            [one, "healthy"] => {
                self.natures.remove(&revision(one));
                self.lingering.remove(&revision(one));
            }
            [one, "lingers"] => drop(self.lingering.insert(revision(one))),
            [one, "starting"] => self.nature(one, Nature::AtMostReady(0)),
            [one, "at", "most", count, "ready"] => {
                self.nature(one, Nature::AtMostReady(count.parse().unwrap()));
            }
            [one, "crashes"] => self.nature(one, Nature::Crashes(quoted.unwrap_or_default())),
            _ => return false,
        }
        true
    }

    fn nature(&mut self, of: &str, nature: Nature) {
        self.natures.insert(revision(of), nature);
    }

    fn line(&mut self, line: &str) {
        let quoted = line.split('"').nth(1);
        let unquoted = line.split('"').next().unwrap_or_default();
        let words: Vec<&str> = unquoted.split_whitespace().collect();
        if !self.preface(line, &words) && !self.fact(&words, quoted) {
            match words.as_slice() {
                ["alert", name] => self.order(
                    "alertmanager",
                    Order::Alert {
                        name: (*name).to_owned(),
                        detail: "error ratio above 5 %".to_owned(),
                        fingerprint: "f1".to_owned(),
                    },
                    None,
                ),
                ["supersede", newer] => {
                    let revision = revision(newer);
                    self.order("system", Order::Supersede { revision }, None);
                }
                [who, verb @ .., "and"] => return self.order(who, order(verb), quoted),
                [who, verb @ ..] => self.order(who, order(verb), quoted),
                [] => return,
            }
        }
        if self.plan.is_some() {
            self.settle();
            self.stand();
        }
    }
}

fn revision(text: &str) -> Revision {
    Revision(
        text.trim_start_matches('r')
            .parse()
            .expect("a revision such as r2"),
    )
}

fn order(verb: &[&str]) -> Order {
    match verb {
        ["promotes"] => Order::Promote,
        ["promotes", "fully"] => Order::PromoteFull,
        ["aborts"] => Order::Abort,
        ["pauses"] => Order::Pause,
        ["resumes"] => Order::Resume,
        ["retries"] => Order::Retry,
        ["skips"] => Order::Skip,
        ["approves"] => Order::Approve,
        ["rejects"] => Order::Reject,
        ["breaks", "the", "glass"] => Order::BreakGlass,
        other => panic!("no such order: {other:?}"),
    }
}

fn play(script: &str) -> String {
    let mut scenario = Scenario::new();
    for line in script.lines().filter(|it| !it.starts_with("    ")) {
        scenario.told.push_str(line);
        scenario.told.push('\n');
        if !line.starts_with('#') {
            scenario.line(line);
        }
    }
    scenario.told
}

#[test]
fn every_scenario_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "scenarios are missing: {}", paths.len());
    let mut differ = Vec::new();
    for path in paths {
        let written = fs::read_to_string(&path).unwrap();
        let played = play(&written);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &played).unwrap();
        } else if played != written {
            let first = played
                .lines()
                .zip(written.lines())
                .find(|(played, written)| played != written);
            differ.push(format!("{}: {first:#?}", path.display()));
        }
    }
    assert!(differ.is_empty(), "played, written:\n{}", differ.join("\n"));
}
