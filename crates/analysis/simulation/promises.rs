//! Measures every promise of the method: error rates kept, regressions noticed, time taken.

use analysis::{ComparePolicy, LatencyPolicy};

use super::{
    grid::{self, Row},
    race::Tally,
    rules::Kind,
    slow::{self, Case, Slower},
    stress::{self, Under},
    targets::{Target, minutes, number, percent},
    traffic::{Cell, Change},
};

/// How many rollouts each part simulates.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// In each of the 240 scenarios, under every rule.
    pub grid: u32,
    /// In each of the 48 scenarios without a change, under `strict`.
    pub null: u32,
    /// In each scenario at the edge of what is acceptable.
    pub edge: u32,
    /// In each scenario of stress.
    pub stress: u32,
    /// In each latency scenario.
    pub latency: u32,
    /// Standard errors that a measured error rate may be above its bound. None for the benchmark; a
    /// small sample needs some.
    pub slack: f64,
}

impl Scale {
    /// The bound of an error rate measured in `runs` rollouts.
    fn bound(&self, rate: f64, runs: u32) -> f64 {
        rate + self.slack * (rate * (1.0 - rate) / f64::from(runs.max(1))).sqrt()
    }
}

/// Everything that was simulated, and what it comes to.
#[derive(Debug)]
pub struct Figures {
    /// The grid.
    pub grid: Vec<Row>,
    /// `strict` on healthy candidates, many times.
    pub null: Vec<(Cell, Tally)>,
    /// `default` on candidates exactly at its margin.
    pub margin: Vec<(Cell, Tally)>,
    /// Candidates exactly at what a pass must rule out, under `default` and `strict`.
    pub inferior: [Vec<(Cell, Tally)>; 2],
    /// Stress.
    pub stress: Vec<stress::Row>,
    /// Latency under its strict profile.
    pub latency: Vec<slow::Outcome>,
    /// The promises.
    pub targets: Vec<Target>,
}

/// Simulates everything. `seed` names the random numbers.
pub fn measure(seed: u64, scale: &Scale) -> Figures {
    let default = ComparePolicy::default();
    let equal = grid::cells(&[Change::Times(1.0)]);
    let beyond = |floor| grid::cells(&[Change::Inferior(default.pass_ratio, floor)]);
    let mut figures = Figures {
        grid: grid::run(seed, &grid::cells(&grid::CHANGES), scale.grid, &Kind::ALL),
        null: grid::run_one(seed + 1, &equal, scale.null, Kind::Strict),
        margin: grid::run_one(seed + 2, &edge_cells(&default), scale.edge, Kind::Default),
        inferior: [
            grid::run_one(seed + 3, &beyond(default.floor), scale.edge, Kind::Default),
            grid::run_one(seed + 4, &beyond(0.0), scale.edge, Kind::Strict),
        ],
        stress: stress::run(seed + 5, scale.stress),
        latency: slow::run(
            seed + 6,
            &slow::cases(),
            scale.latency,
            &LatencyPolicy::strict(),
        ),
        targets: Vec::new(),
    };
    let mut targets = errors_kept(&figures, scale);
    targets.extend(regressions_noticed(&figures));
    figures.targets = targets;
    figures
}

/// Scenarios with enough errors that the margin's edge is tested and not only approached.
fn edge_cells(policy: &ComparePolicy) -> Vec<Cell> {
    let traffic = [
        (10.0, 0.01, 0.25),
        (100.0, 0.01, 0.25),
        (100.0, 0.01, 0.5),
        (1000.0, 0.001, 0.25),
        (1000.0, 0.001, 0.5),
        (1000.0, 0.01, 0.05),
        (1000.0, 0.01, 0.25),
    ];
    let cell = |(rps, p0, share)| Cell {
        rps,
        p0,
        share,
        change: Change::Times(policy.null_ratio()),
    };
    traffic.map(cell).to_vec()
}

/// The largest rate among tallies.
fn worst<'a>(tallies: impl Iterator<Item = &'a Tally>, rate: impl Fn(&Tally) -> f64) -> f64 {
    tallies.map(rate).fold(0.0, f64::max)
}

/// The mean of a rule's rollbacks over the scenarios of one change.
pub fn mean_rollbacks(rows: &[Row], kind: Kind, change: Change) -> f64 {
    let rows = rows.iter().filter(|it| it.cell.change == change);
    let rates: Vec<f64> = rows.map(|it| it.of(kind).rollback_rate()).collect();
    rates.iter().sum::<f64>() / rates.len() as f64
}

fn errors_kept(figures: &Figures, scale: &Scale) -> Vec<Target> {
    let bounded = |what: &str, rate: f64, promised: f64, runs: u32| {
        Target::at_most(what, rate, scale.bound(promised, runs), percent)
    };
    let strict = worst(figures.null.iter().map(|it| &it.1), Tally::rollback_rate);
    let margin = worst(figures.margin.iter().map(|it| &it.1), Tally::rollback_rate);
    let mean = mean_rollbacks(&figures.grid, Kind::Default, Change::Times(1.0));
    let silent = [ComparePolicy::default(), ComparePolicy::strict()]
        .into_iter()
        .all(stress::silent_candidate_is_held);
    let each = format!(
        "false rollback, `strict`, worst of 48 scenarios, {} rollouts each",
        scale.null
    );
    vec![
        bounded(&each, strict, 0.01, scale.null),
        bounded(
            "false rollback, `default`, equal candidate, worst scenario",
            equal(figures, Kind::Default),
            0.02,
            scale.grid,
        ),
        bounded(
            "false rollback, `default`, equal candidate, mean of 48 scenarios",
            mean,
            0.004,
            scale.grid * 48,
        ),
        bounded(
            "false rollback, `default`, candidate exactly at the margin, worst scenario",
            margin,
            0.05,
            scale.edge,
        ),
        bounded(
            "false rollback under stress, `strict`, φ calibrated, warm-up, worst scenario",
            stressed(figures, Under::Warm),
            0.01,
            scale.stress,
        ),
        bounded(
            "false pass, `default`, candidate exactly at what a pass rules out, worst scenario",
            passes(&figures.inferior[0]),
            0.05,
            scale.edge,
        ),
        bounded(
            "false pass, `strict`, the same",
            passes(&figures.inferior[1]),
            0.05,
            scale.edge,
        ),
        bounded(
            "false rollback, latency, `strict`, worst scenario",
            not_slower(figures),
            0.01,
            scale.latency,
        ),
        Target::holds(
            "no traffic of the candidate: held, no rollback, no pass",
            silent,
        ),
    ]
}

/// The worst rate of false rollbacks of the grid under one rule.
fn equal(figures: &Figures, kind: Kind) -> f64 {
    let rows = figures.grid.iter();
    let rows = rows.filter(|it| it.cell.change == Change::Times(1.0));
    worst(rows.map(|it| it.of(kind)), Tally::rollback_rate)
}

/// The worst rate of false rollbacks under stress.
fn stressed(figures: &Figures, under: Under) -> f64 {
    let all = figures.stress.iter().flat_map(|it| &it.tallies);
    let healthy = all.filter(|it| it.0 == under).map(|it| &it.1[0]);
    worst(healthy, Tally::rollback_rate)
}

fn passes(tallies: &[(Cell, Tally)]) -> f64 {
    worst(tallies.iter().map(|it| &it.1), Tally::pass_rate)
}

/// The worst rate of false rollbacks for latency.
fn not_slower(figures: &Figures) -> f64 {
    let equal = |it: &&slow::Outcome| it.case.slower == Slower::Times(1.0);
    let healthy = figures.latency.iter().filter(equal);
    healthy.map(slow::Outcome::rate).fold(0.0, f64::max)
}

fn regressions_noticed(figures: &Figures) -> Vec<Target> {
    let mut targets = busy(figures);
    targets.extend(quiet(figures));
    for (kind, change, least) in [
        (Kind::Strict, Change::Times(2.0), 0.47),
        (Kind::Strict, Change::Times(10.0), 0.80),
        (Kind::Strict, Change::Fail, 1.0),
        (Kind::Default, Change::Times(2.0), 0.41),
        (Kind::Default, Change::Times(10.0), 0.78),
        (Kind::Default, Change::Fail, 1.0),
    ] {
        let what = format!(
            "rolled back, {}, {}, mean of 48 scenarios",
            kind.name(),
            change.name()
        );
        let rate = mean_rollbacks(&figures.grid, kind, change);
        targets.push(Target::at_least(what, rate, least, percent));
    }
    let case = Case {
        rps: 100.0,
        share: 0.25,
        slower: Slower::Times(1.1),
    };
    let slow = figures.latency.iter().find(|it| it.case == case);
    targets.push(Target::at_most(
        "latency ×1.1, 100 requests/s, share 25 %, `strict`: median time",
        slow.unwrap().median_minutes().unwrap_or(f64::INFINITY),
        1.75,
        minutes,
    ));
    targets
}

fn under_default(figures: &Figures, cell: Cell) -> &Tally {
    let row = figures.grid.iter().find(|it| it.cell == cell);
    row.unwrap().of(Kind::Default)
}

fn median(tally: &Tally) -> f64 {
    tally.median_minutes().unwrap_or(f64::INFINITY)
}

fn busy(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    for (change, most_minutes, most_errors) in [
        (Change::Times(2.0), 15.0, 55.0),
        (Change::Times(10.0), 0.75, 10.0),
        (Change::Fail, 0.25, 400.0),
    ] {
        let tally = under_default(
            figures,
            Cell {
                rps: 100.0,
                p0: 0.001,
                share: 0.25,
                change,
            },
        );
        let name = change.name();
        let what = format!("100 requests/s, 0.1 % errors, share 25 %, `default`, {name}");
        let time = format!("{what}: median time");
        targets.push(Target::at_most(time, median(tally), most_minutes, minutes));
        let errors = format!("{what}: mean errors served");
        let served = tally.mean_errors();
        targets.push(Target::at_most(errors, served, most_errors, number));
    }
    targets
}

fn quiet(figures: &Figures) -> Vec<Target> {
    let tally = under_default(
        figures,
        Cell {
            rps: 10.0,
            p0: 0.001,
            share: 0.05,
            change: Change::Times(10.0),
        },
    );
    let what = "10 requests/s, 0.1 % errors, share 5 %, `default`, ×10";
    let (rate, time) = (tally.rollback_rate(), median(tally));
    vec![
        Target::at_least(
            format!("{what}: rolled back in an hour"),
            rate,
            0.99,
            percent,
        ),
        Target::at_most(format!("{what}: median time"), time, 16.0, minutes),
    ]
}
