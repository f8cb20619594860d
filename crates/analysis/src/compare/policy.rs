//! What a compare gate promises and how it looks for trouble.

use serde::{Deserialize, Serialize};

use crate::{
    counts::Arm,
    dispersion::Dispersion,
    fingerprint::Fingerprint,
    range::{PolicyError, chance, within},
    share::ShareCheck,
};

/// The multipliers that rollback evidence bets on (§2.1).
pub const GRID: [f64; 12] = [
    1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 30.0, 100.0,
];
/// The multipliers that evidence for a pass bets on (§2.1).
pub const PASS_GRID: [f64; 7] = [0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8];
/// Most points of a grid; more would only make the state larger.
const GRID_MAX: usize = 24;
/// Days of stable's past that the history component needs (§2.1).
pub const HISTORY_DAYS: usize = 7;
/// How far above its worst day stable is still itself (§2.1).
const HISTORY_SLACK: f64 = 1.25;

/// The promises and settings of a compare gate. All of it is fixed before the first window: what is
/// chosen after looking voids the error rates (§4.1 pitfall 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparePolicy {
    /// The chance that a candidate within margin or floor is ever rolled back, over all looks.
    pub alpha: f64,
    /// The chance that a candidate at or beyond [`pass_ratio`](Self::pass_ratio) ever passes.
    pub beta: f64,
    /// How much worse than stable is acceptable: 0.1 allows 1.1 times stable's rate (θ0 − 1).
    pub margin: f64,
    /// What a pass rules out: this many times stable's rate (θ1).
    pub pass_ratio: f64,
    /// A rate that is acceptable whatever stable's is (δ); 0 for none.
    pub floor: f64,
    /// A rate that is never acceptable, unless stable is as bad.
    pub ceiling: Option<f64>,
    /// A rate that stable never reached in its past (u); see [`history_bound`].
    pub history: Option<f64>,
    /// The part of alpha that is kept for the exact tests at gates' ends.
    pub final_part: f64,
    /// How many such tests there may be; they share that part.
    pub final_looks: u32,
    /// How later starts of a regression are bet on.
    pub restart: Restart,
    /// Over-dispersion as calibrated; `None` counts each window as it comes, with φ = 1.
    pub dispersion: Option<Dispersion>,
    /// Windows that end within this time after the first one are not compared: caches are cold.
    /// The ceiling holds meanwhile.
    pub warm_up_seconds: f64,
    /// How long an arm may be without requests before the gate holds.
    pub patience_seconds: f64,
    /// What holds when stable gets no requests at all.
    pub baseline: Baseline,
    /// The check of the traffic's split, where requests are assigned one by one.
    pub share_check: Option<ShareCheck>,
    /// Whether a candidate that is proven worse, though within the margin, holds instead of passing.
    pub hold_within_margin: bool,
    /// Multipliers above 1 that rollback evidence bets on, equally weighted.
    pub grid: Vec<f64>,
    /// Multipliers below 1 that evidence for a pass bets on, equally weighted.
    pub pass_grid: Vec<f64>,
}

/// How mass is kept for regressions that begin later (§2.1, late onset).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// The mass that is not bet at the start; 0 for none.
    pub mass: f64,
    /// The time in which all but 1/e of it is bet, in seconds.
    pub horizon_seconds: f64,
    /// The part of what is left that is bet when the share changes: more traffic finds more.
    pub step_part: f64,
}

/// What holds without stable's requests (§4.1 pitfall 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Baseline {
    /// The gate holds: nobody can say whether the candidate is to blame.
    Required,
    /// Ceiling and history count alone, as after the switch of blue-green.
    Optional,
}

impl Default for ComparePolicy {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            beta: 0.05,
            margin: 0.1,
            pass_ratio: 2.0,
            floor: 0.0005,
            ceiling: Some(0.05),
            history: None,
            final_part: 0.4,
            final_looks: 1,
            restart: Restart::default(),
            dispersion: None,
            warm_up_seconds: 0.0,
            patience_seconds: 60.0,
            baseline: Baseline::Required,
            share_check: None,
            hold_within_margin: false,
            grid: GRID.to_vec(),
            pass_grid: PASS_GRID.to_vec(),
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            mass: 0.3,
            horizon_seconds: 3600.0,
            step_part: 0.2,
        }
    }
}

impl Restart {
    /// Everything is bet at the start.
    pub const NONE: Self = Self {
        mass: 0.0,
        horizon_seconds: 3600.0,
        step_part: 0.0,
    };
}

impl ComparePolicy {
    /// No margin, no floor and a chance of 1 %: for services in which any worsening counts.
    pub fn strict() -> Self {
        Self {
            alpha: 0.01,
            margin: 0.0,
            floor: 0.0,
            restart: Restart::NONE,
            ..Self::default()
        }
    }

    /// The largest acceptable ratio of rates, θ0.
    pub fn null_ratio(&self) -> f64 {
        1.0 + self.margin
    }

    /// The part of alpha that the sequential test may spend.
    pub fn alpha_sequential(&self) -> f64 {
        self.alpha * (1.0 - self.final_part)
    }

    /// The part of alpha that one exact test may spend.
    pub fn alpha_final(&self) -> f64 {
        match self.final_looks {
            0 => 0.0,
            looks => self.alpha * self.final_part / f64::from(looks),
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), PolicyError> {
        chance("alpha", self.alpha)?;
        chance("beta", self.beta)?;
        within("margin", self.margin, 0.0, 100.0)?;
        // A pass must leave room for a rollback to be wrong: θ1 above θ0.
        within("passRatio", self.pass_ratio, self.null_ratio() + 1e-6, 1e4)?;
        within("floor", self.floor, 0.0, 0.5)?;
        within(
            "ceiling",
            self.ceiling.unwrap_or(0.5),
            self.floor.max(1e-6),
            0.999,
        )?;
        within("history", self.history.unwrap_or(0.5), 1e-9, 0.999)?;
        within("finalPart", self.final_part, 0.0, 0.99)?;
        within("finalLooks", f64::from(self.final_looks), 0.0, 1e4)?;
        within("restart.mass", self.restart.mass, 0.0, 0.9)?;
        within(
            "restart.horizonSeconds",
            self.restart.horizon_seconds,
            1.0,
            1e9,
        )?;
        within("restart.stepPart", self.restart.step_part, 0.0, 1.0)?;
        within("warmUpSeconds", self.warm_up_seconds, 0.0, 1e9)?;
        within("patienceSeconds", self.patience_seconds, 0.001, 1e9)?;
        if let Some(it) = &self.dispersion {
            within("dispersion.seed", it.seed, 1.0, 50.0)?;
            within("dispersion.priorBlocks", it.prior_blocks, 1.0, 1e6)?;
            within("dispersion.blockSeconds", it.block_seconds, 0.001, 1e6)?;
        }
        if let Some(it) = &self.share_check {
            chance("shareCheck.alpha", it.alpha)?;
            within("shareCheck.tolerance", it.tolerance, 0.0, 0.9)?;
        }
        check_grid("grid", &self.grid, 1.0 + 1e-6, 1e6)?;
        check_grid("passGrid", &self.pass_grid, 1e-6, 1.0 - 1e-6)
    }

    /// Names the policy: a state of one policy does not continue under another.
    pub(crate) fn fingerprint(&self) -> u64 {
        let (restart, share) = (&self.restart, self.share_check.as_ref());
        let dispersion = self.dispersion.as_ref();
        Fingerprint::default()
            .bytes(b"compare")
            .numbers(&[
                self.alpha,
                self.beta,
                self.margin,
                self.pass_ratio,
                self.floor,
            ])
            .option(self.ceiling)
            .option(self.history)
            .numbers(&[self.final_part, f64::from(self.final_looks)])
            .numbers(&[restart.mass, restart.horizon_seconds, restart.step_part])
            .option(dispersion.map(|it| it.seed))
            .option(dispersion.map(|it| it.prior_blocks))
            .option(dispersion.map(|it| it.block_seconds))
            .numbers(&[self.warm_up_seconds, self.patience_seconds])
            .bytes(&[match self.baseline {
                Baseline::Required => 0,
                Baseline::Optional => 1,
            }])
            .option(share.map(|it| it.alpha))
            .option(share.map(|it| it.tolerance))
            .bytes(&[u8::from(self.hold_within_margin)])
            .numbers(&self.grid)
            .numbers(&self.pass_grid)
            .finish()
    }
}

fn check_grid(field: &'static str, grid: &[f64], least: f64, most: f64) -> Result<(), PolicyError> {
    within(field, grid.len() as f64, 1.0, GRID_MAX as f64)?;
    grid.iter()
        .try_for_each(|it| within(field, *it, least, most))
}

/// The bound that stable's past sets: 1.25 times its worst daily rate, and not below `floor` (§2.1).
/// `None` for less than seven days with requests, or when a day was bad throughout.
pub fn history_bound(days: &[Arm], floor: f64) -> Option<f64> {
    let with_requests = days.iter().filter(|it| it.requests > 0);
    let worst = with_requests
        .clone()
        .map(|it| it.rate())
        .fold(0.0, f64::max);
    // A rule of three: a week without an error still leaves room for the rate that would hide in it.
    let unseen = with_requests
        .clone()
        .map(|it| 3.0 / crate::special::real(it.requests))
        .fold(0.0, f64::max);
    let bound = (HISTORY_SLACK * worst).max(floor).max(unseen);
    (with_requests.count() >= HISTORY_DAYS && bound < 0.5).then_some(bound)
}
