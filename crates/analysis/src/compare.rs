//! The gate that compares the candidate's rate of bad requests with stable's in the same time (§2.1).
//!
//! ```text
//!   window ──> totals by share ──────────────────────> exact test at a gate's end ─┐
//!     │                                                                            v
//!     ├─> ceiling, a window at a time ───────────┐                              verdict
//!     └─> block ──(÷ φ)──> relative, floor ──min─┼─weighted mean──≥ 1/α ─────────> ^
//!                     ├──> history ──────────────┘                                 │
//!                     └──> inferior, under ────────mean───────────≥ 1/β ───────────┘
//! ```

mod evidence;
mod final_look;
mod judge;
mod policy;
mod state;

use serde::{Deserialize, Serialize};

pub use evidence::Evidence;
pub use policy::{Baseline, ComparePolicy, GRID, HISTORY_DAYS, PASS_GRID, Restart, history_bound};
pub use state::{COMPARE_VERSION, CompareState, Decision};

use crate::{
    ceiling::Ceiling,
    counts::{Arm, InputError, Order, Window, order},
    dispersion::{Roughness, fitted_chance},
    increment::{Relative, rare},
    mixture::{Mixture, due},
    range::PolicyError,
    special::{ln, real},
    strata::Strata,
    verdict::Verdict,
};
use state::{Blame, Processes, Spent, Wanted};

/// Points of the ceiling's mixture.
const CEILING_POINTS: usize = crate::ceiling::ALTERNATIVES.len();

/// A compare gate: a checked policy and what is computed from it once.
#[derive(Debug, Clone)]
pub struct Compare {
    policy: ComparePolicy,
    fingerprint: u64,
    /// Multipliers and their logs.
    up: Vec<(f64, f64)>,
    down: Vec<(f64, f64)>,
    ceiling: Option<Ceiling>,
    needed: Needed,
}

/// How much evidence is needed, as logs, and what the parts of it weigh.
#[derive(Debug, Clone, Copy)]
struct Needed {
    /// `−ln α_seq`.
    rollback: f64,
    /// `−ln β`.
    pass: f64,
    /// What comparison, history and ceiling weigh, as logs.
    weights: [f64; 3],
    /// `ln 2`, for the mean of two.
    ln_2: f64,
    /// The log of the most terms that a mixture's sum has.
    ln_terms: f64,
}

/// The logs of the parts that a verdict is made of, as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parts {
    /// `ln E_rel`: beyond the margin of stable.
    pub relative: f64,
    /// `ln E_floor`: above the floor.
    pub floor: Option<f64>,
    /// `ln E_hist`: above stable's past.
    pub history: Option<f64>,
    /// `ln E_ceil`: above the ceiling.
    pub ceiling: Option<f64>,
    /// `ln E` of all, attribution gates applied; a rollback at `ln(1/α_seq)`.
    pub rollback: f64,
    /// `ln E` of all, as if nothing were shared with stable.
    pub ungated: f64,
    /// `ln E_pass`; a pass at `ln(1/β)`.
    pub pass: f64,
}

impl Compare {
    /// A gate of `policy`.
    ///
    /// # Errors
    /// A number of the policy that is out of its range.
    pub fn new(policy: ComparePolicy) -> Result<Self, PolicyError> {
        policy.check()?;
        let logs = |grid: &[f64]| grid.iter().map(|it| (*it, ln(*it))).collect();
        Ok(Self {
            fingerprint: policy.fingerprint(),
            up: logs(&policy.grid),
            down: logs(&policy.pass_grid),
            ceiling: policy.ceiling.map(Ceiling::new),
            needed: Needed::new(&policy),
            policy,
        })
    }

    /// The policy.
    pub fn policy(&self) -> &ComparePolicy {
        &self.policy
    }

    /// The state before the first window.
    pub fn start(&self) -> CompareState {
        let up = Mixture::new(self.up.len(), 1.0 - self.policy.restart.mass);
        let down = Mixture::new(self.down.len(), 1.0);
        let floor = self.policy.floor > 0.0;
        let ceiling = Mixture::new(CEILING_POINTS, 1.0 - self.policy.restart.mass);
        CompareState {
            version: COMPARE_VERSION,
            policy: self.fingerprint,
            started_ms: None,
            watermark_ms: None,
            candidate_seen_ms: None,
            stable_seen_ms: None,
            evidence: Processes {
                floor: floor.then(|| up.clone()),
                history: self.policy.history.map(|_| up.clone()),
                relative: up,
                ceiling: self.ceiling.as_ref().map(|_| ceiling),
                under: floor.then(|| down.clone()),
                inferior: down,
            },
            spent_ms: Spent::default(),
            block: None,
            roughness: Roughness::default(),
            strata: Strata::default(),
            blame: Blame::default(),
            share: 0,
            stable_requests: 0,
            incident_ms: None,
            ungated: 0.0,
            warming: (Arm::default(), Arm::default()),
            looks: 0,
            decision: None,
            passed_ms: None,
            verdict: Verdict::Continue,
        }
    }

    /// Checks a state that was read from where it was stored.
    ///
    /// # Errors
    /// [`InputError::OtherVersion`], [`InputError::OtherPolicy`], [`InputError::Damaged`].
    pub fn check(&self, state: &CompareState) -> Result<(), InputError> {
        let wanted = Wanted {
            points: (self.up.len(), self.down.len()),
            floor: self.policy.floor > 0.0,
            history: self.policy.history.is_some(),
            ceiling: self.ceiling.is_some(),
        };
        state.check(self.fingerprint, wanted)
    }

    /// Folds one window into the state. A window that was folded in before changes nothing.
    ///
    /// # Errors
    /// The window's or state's fault; the state is then as it was before.
    pub fn fold(&self, state: &mut CompareState, window: &Window) -> Result<(), InputError> {
        window.check()?;
        self.check(state)?;
        match order(state.watermark_ms, window.from_ms, window.until_ms)? {
            Order::Seen => return Ok(()),
            Order::Next => {}
        }
        let stepped = state.started_ms.is_some() && state.share != window.share;
        note(state, window, stepped);
        let started_ms = *state.started_ms.get_or_insert(window.from_ms);
        let part = self.spent(&mut state.spent_ms.scrape, window, stepped);
        if let (Some(ceiling), Some(mixture)) = (&self.ceiling, &mut state.evidence.ceiling) {
            mixture.spend_part(part);
            let arm = window.candidate;
            ceiling.add(mixture, real(arm.requests), real(arm.bad));
        }
        let warm_until_ms = started_ms.saturating_add(millis(self.policy.warm_up_seconds));
        if window.until_ms <= warm_until_ms {
            state.warming.0 = state.warming.0.plus(window.candidate);
            state.warming.1 = state.warming.1.plus(window.stable);
        } else {
            self.count(state, window, stepped);
        }
        self.judge(state, window.until_ms);
        Ok(())
    }

    /// Counts a window's evidence, at once or with its block.
    fn count(&self, state: &mut CompareState, window: &Window, stepped: bool) {
        let Some(dispersion) = self.policy.dispersion else {
            state
                .strata
                .add(window.share, window.candidate, window.stable);
            return self.bet(state, window, 1.0, stepped);
        };
        // A block has one share, so a change of share ends it.
        if let Some(block) = state.block.take_if(|it| it.share != window.share) {
            self.end_block(state, &block);
        }
        let mut block = state.block.take().unwrap_or(Window {
            candidate: Arm::default(),
            stable: Arm::default(),
            ..*window
        });
        block.until_ms = window.until_ms;
        block.candidate = block.candidate.plus(window.candidate);
        block.stable = block.stable.plus(window.stable);
        if block.seconds() >= dispersion.block_seconds {
            self.end_block(state, &block);
        } else {
            state.block = Some(block);
        }
    }

    /// Bets a whole block, tempered by the roughness of what came before it; only then does the
    /// block itself say how rough it was.
    fn end_block(&self, state: &mut CompareState, block: &Window) {
        let phi = self.phi(state);
        let past = (state.strata.candidate(), state.strata.stable());
        let stepped = state
            .strata
            .iter()
            .last()
            .is_some_and(|it| it.share != block.share);
        self.bet(state, block, phi, stepped);
        let next = (block.candidate, block.stable);
        if let Some(chance) = fitted_chance(past, next) {
            let bad = block.candidate.bad.saturating_add(block.stable.bad);
            state.roughness.add(block.candidate.bad, bad, chance);
        }
        state.strata.add(block.share, block.candidate, block.stable);
    }

    /// φ for the next block.
    pub(crate) fn phi(&self, state: &CompareState) -> f64 {
        let seeded = self.policy.dispersion.as_ref();
        seeded.map_or(1.0, |it| state.roughness.phi_seeded(it))
    }

    /// Multiplies each e-process by its factor for these counts.
    fn bet(&self, state: &mut CompareState, window: &Window, phi: f64, stepped: bool) {
        let part = self.spent(&mut state.spent_ms.block, window, stepped);
        let (candidate, stable) = (window.candidate, window.stable);
        let (requests, bad) = (real(candidate.requests), real(candidate.bad));
        let others = real(stable.bad);
        let evidence = &mut state.evidence;
        for mixture in [
            Some(&mut evidence.relative),
            evidence.floor.as_mut(),
            evidence.history.as_mut(),
        ]
        .into_iter()
        .flatten()
        {
            mixture.spend_part(part);
        }
        let both = candidate.requests > 0 && stable.requests > 0;
        if both && bad + others > 0.0 {
            let ratio = requests / real(stable.requests);
            let relative = |theta: f64, (g, ln_g): (f64, f64)| {
                Relative::new(theta, g, ln_g, ratio).of(bad, others) / phi
            };
            let theta = self.policy.null_ratio();
            evidence
                .relative
                .add(self.up.iter().map(|it| relative(theta, *it)));
            let theta = self.policy.pass_ratio;
            evidence
                .inferior
                .add(self.down.iter().map(|it| relative(theta, *it)));
        }
        let single = |bound: f64, (g, ln_g): (f64, f64)| rare(bound, g, ln_g, requests, bad) / phi;
        let floor = self.policy.floor;
        if let Some(mixture) = &mut evidence.floor {
            mixture.add(self.up.iter().map(|it| single(floor, *it)));
        }
        if let Some(mixture) = &mut evidence.under {
            mixture.add(self.down.iter().map(|it| single(floor, *it)));
        }
        if let (Some(mixture), Some(bound)) = (&mut evidence.history, self.policy.history) {
            mixture.add(self.up.iter().map(|it| single(bound, *it)));
        }
    }

    /// The part of the unspent mass that is bet before a window, κ: some with time, more where the
    /// share changes. `spent_ms` is when mass was bet last.
    fn spent(&self, spent_ms: &mut Option<i64>, window: &Window, stepped: bool) -> f64 {
        let restart = &self.policy.restart;
        if restart.mass <= 0.0 {
            return 0.0;
        }
        let since_ms = window
            .from_ms
            .saturating_sub(*spent_ms.get_or_insert(window.from_ms));
        let timely = due(since_ms as f64 / 1000.0, restart.horizon_seconds);
        let step = if stepped { restart.step_part } else { 0.0 };
        if timely > 0.0 {
            *spent_ms = Some(window.from_ms);
        }
        1.0 - (1.0 - timely) * (1.0 - step)
    }
}

/// Notes what holds for every window, warm or not.
fn note(state: &mut CompareState, window: &Window, stepped: bool) {
    state.watermark_ms = Some(window.until_ms);
    if window.candidate.requests > 0 {
        state.candidate_seen_ms = Some(window.until_ms);
    }
    if window.stable.requests > 0 {
        state.stable_seen_ms = Some(window.until_ms);
    }
    if stepped {
        // What was proven at less traffic is asked again: the evidence stays, the verdict does not.
        state.passed_ms = None;
    }
    if stepped || state.started_ms.is_none() {
        state.share = window.share;
        state.stable_requests = 0;
    }
    let stable = window.stable.requests;
    state.stable_requests = state.stable_requests.saturating_add(stable);
    state.blame.add(window.candidate, window.stable);
}

/// Whole milliseconds of some seconds.
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}
