//! The full grid of independent traffic: request rate, error rate, share, change; 240 scenarios.

use super::{
    race::{Tally, on_all_cores},
    rules::Kind,
    traffic::{Cell, Change},
};

/// Requests a second.
pub const RPS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// Stable's error rate.
pub const P0: [f64; 3] = [0.0001, 0.001, 0.01];
/// The candidate's share.
pub const SHARES: [f64; 4] = [0.01, 0.05, 0.25, 0.5];
/// What the candidate does.
pub const CHANGES: [Change; 5] = [
    Change::Times(1.0),
    Change::Times(1.2),
    Change::Times(2.0),
    Change::Times(10.0),
    Change::Fail,
];
/// Kayenta judges one rollout in so many: one takes it as long as hundreds take the others.
pub const KAYENTA_ONE_IN: u32 = 3;

/// One scenario's results, a tally each rule.
#[derive(Debug)]
pub struct Row {
    /// The scenario.
    pub cell: Cell,
    /// What each rule did, in the order of [`Kind::ALL`].
    pub tallies: Vec<(Kind, Tally)>,
}

impl Row {
    /// What one rule did.
    pub fn of(&self, kind: Kind) -> &Tally {
        let found = self.tallies.iter().find(|(it, _)| *it == kind);
        &found.unwrap().1
    }
}

/// Every scenario, those of one change after another.
pub fn cells(changes: &[Change]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for change in changes {
        for rps in RPS {
            for p0 in P0 {
                for share in SHARES {
                    cells.push(Cell {
                        rps,
                        p0,
                        share,
                        change: *change,
                    });
                }
            }
        }
    }
    cells
}

/// Runs `runs` rollouts of each of `cells` under each of `kinds`. All rules see the same rollouts.
pub fn run(seed: u64, cells: &[Cell], runs: u32, kinds: &[Kind]) -> Vec<Row> {
    on_all_cores(seed, cells.len(), |number, random| {
        let cell = cells[number];
        let mut tallies: Vec<(Kind, Tally)> =
            kinds.iter().map(|it| (*it, Tally::default())).collect();
        for run in 0..runs {
            let windows = cell.windows(random);
            for (kind, tally) in &mut tallies {
                if *kind == Kind::Kayenta && !run.is_multiple_of(KAYENTA_ONE_IN) {
                    continue;
                }
                let mut rule = kind.rule(&cell, random);
                tally.run(&windows, rule.as_mut());
            }
        }
        Row { cell, tallies }
    })
}

/// Runs `runs` rollouts of each cell under one rule, split into pieces so that no core waits.
pub fn run_one(seed: u64, cells: &[Cell], runs: u32, kind: Kind) -> Vec<(Cell, Tally)> {
    const PIECE: u32 = 1000;
    let pieces = runs.div_ceil(PIECE) as usize;
    let tallies = on_all_cores(seed, cells.len() * pieces, |number, random| {
        let cell = cells[number / pieces];
        let mut tally = Tally::default();
        for _ in 0..runs.min(PIECE) {
            let mut rule = kind.rule(&cell, random);
            tally.run(&cell.windows(random), rule.as_mut());
        }
        tally
    });
    let merged = tallies.chunks(pieces).map(|pieces| {
        let mut sum = Tally::default();
        pieces.iter().for_each(|it| sum.merge(it));
        sum
    });
    cells.iter().copied().zip(merged).collect()
}
