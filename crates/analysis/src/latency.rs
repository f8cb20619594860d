//! The gate that asks whether the candidate is slower than stable anywhere (§2.2).
//!
//! For each bucket bound the requests slower than it are bad events, compared by the formulas of
//! [`crate::increment`]; the mean of all bounds' e-values tests "no quantile is worse than the margin"
//! at once. Bounds are chosen by what *earlier* windows showed, so that the choice costs nothing:
//!
//! ```text
//!   window k ──> tails ──> bets on bounds live by windows < k ──> E of each ──mean──≥ 1/α──> roll back
//!                  └─────> past (fading) ──> bounds live for window k+1      └─each ≥ 1/β──> pass
//! ```

mod boundary;
mod evidence;
mod policy;

use serde::{Deserialize, Serialize};

pub use evidence::LatencyEvidence;
pub use policy::LatencyPolicy;

use crate::{
    counts::{InputError, Order, order},
    histogram::Tails,
    mixture::{bet, due},
    range::PolicyError,
    special::{exp, ln, log_sum_exp, real},
    verdict::{Grounds, Hold, Verdict},
};
use boundary::{Boundary, Grids};

/// The layout of [`LatencyState`].
pub const LATENCY_VERSION: u16 = 1;
/// Bounds that are chosen first, and at most later.
const BOUNDS_FIRST: usize = 8;
const BOUNDS_MAX: usize = 10;
/// Requests before the first choice: fewer would choose by noise.
const CHOOSE_AFTER: u64 = 200;
/// Mass that the first bounds share; the rest is for bounds that become interesting later, and for
/// later starts.
const MASS_FIRST: f64 = 0.7;
/// The part of what is left that a later bound gets.
const PART_LATER: f64 = 0.25;

/// Both arms' requests of one window by how long they took.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyWindow {
    /// Where it begins, in milliseconds since 1970, exclusive.
    pub from_ms: i64,
    /// Where it ends, in milliseconds since 1970, inclusive.
    pub until_ms: i64,
    /// The candidate's planned share of traffic, in hundredths of a percent.
    pub share: u32,
    /// The counts.
    pub tails: Tails,
}

/// A latency gate: a checked policy and what is computed from it once.
#[derive(Debug, Clone)]
pub struct Latency {
    policy: LatencyPolicy,
    fingerprint: u64,
    grids: Grids,
}

/// What a latency gate has learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyState {
    version: u16,
    policy: u64,
    started_ms: Option<i64>,
    watermark_ms: Option<i64>,
    candidate_seen_ms: Option<i64>,
    stable_seen_ms: Option<i64>,
    share: u32,
    /// Requests since the first window, warm-up excepted.
    requests: (u64, u64),
    boundaries: Vec<Boundary>,
    /// When mass was last bet on later starts.
    spent_ms: Option<i64>,
    /// Mass that no bound holds yet.
    #[serde(with = "crate::exact")]
    unspent: f64,
    /// When the rollback was decided.
    decided_ms: Option<i64>,
    passed_ms: Option<i64>,
    verdict: Verdict,
}

impl LatencyState {
    /// How the gate stands after the last window.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The end of the last window that was folded in.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// Whether the candidate has had any request yet.
    pub fn has_requests(&self) -> bool {
        self.candidate_seen_ms.is_some()
    }

    /// When it first passed at the present share.
    pub fn passed_ms(&self) -> Option<i64> {
        self.passed_ms
    }

    /// `ln E` of all bounds together.
    pub fn log_e(&self) -> f64 {
        let bounds = self.boundaries.iter().flat_map(|it| it.slower);
        log_sum_exp(bounds.chain([ln(self.unspent)]))
    }
}

impl Latency {
    /// A gate of `policy`.
    ///
    /// # Errors
    /// A number of the policy that is out of its range.
    pub fn new(policy: LatencyPolicy) -> Result<Self, PolicyError> {
        policy.check()?;
        Ok(Self {
            fingerprint: policy.fingerprint(),
            grids: Grids::new(&policy),
            policy,
        })
    }

    /// The policy.
    pub fn policy(&self) -> &LatencyPolicy {
        &self.policy
    }

    /// The state before the first window.
    pub fn start(&self) -> LatencyState {
        LatencyState {
            version: LATENCY_VERSION,
            policy: self.fingerprint,
            started_ms: None,
            watermark_ms: None,
            candidate_seen_ms: None,
            stable_seen_ms: None,
            share: 0,
            requests: (0, 0),
            boundaries: Vec::new(),
            spent_ms: None,
            unspent: 1.0,
            decided_ms: None,
            passed_ms: None,
            verdict: Verdict::Continue,
        }
    }

    /// Checks a state that was read from where it was stored.
    ///
    /// # Errors
    /// [`InputError::OtherVersion`], [`InputError::OtherPolicy`], [`InputError::Damaged`].
    pub fn check(&self, state: &LatencyState) -> Result<(), InputError> {
        if state.version != LATENCY_VERSION {
            return Err(InputError::OtherVersion {
                version: state.version,
                ours: LATENCY_VERSION,
            });
        }
        if state.policy != self.fingerprint {
            return Err(InputError::OtherPolicy);
        }
        let sound = state.boundaries.iter().all(|it| it.is_sound());
        let few = state.boundaries.len() <= BOUNDS_MAX;
        match sound && few && (0.0..=1.0).contains(&state.unspent) {
            true => Ok(()),
            false => Err(InputError::Damaged {
                what: "its boundaries",
            }),
        }
    }

    /// Folds one window into the state. A window that was folded in before changes nothing.
    ///
    /// # Errors
    /// The window's or state's fault; the state is then as it was before. When a bound that was begun
    /// with is missing from every later window, its evidence stays as it is; when all are missing,
    /// the error is [`InputError::NoCommonBound`] and the caller holds.
    pub fn fold(&self, state: &mut LatencyState, window: &LatencyWindow) -> Result<(), InputError> {
        self.check(state)?;
        if window.until_ms <= window.from_ms {
            return Err(InputError::Backwards {
                from_ms: window.from_ms,
                until_ms: window.until_ms,
            });
        }
        match order(state.watermark_ms, window.from_ms, window.until_ms)? {
            Order::Seen => return Ok(()),
            Order::Next => {}
        }
        let (candidate, stable) = window.tails.requests();
        let known = |it: &Boundary| window.tails.at(it.bound).is_some();
        let begun = !state.boundaries.is_empty();
        if begun && candidate > 0 && stable > 0 && !state.boundaries.iter().any(known) {
            return Err(InputError::NoCommonBound);
        }
        let started_ms = *state.started_ms.get_or_insert(window.from_ms);
        state.watermark_ms = Some(window.until_ms);
        if candidate > 0 {
            state.candidate_seen_ms = Some(window.until_ms);
        }
        if stable > 0 {
            state.stable_seen_ms = Some(window.until_ms);
        }
        if state.share != window.share {
            state.share = window.share;
            state.passed_ms = None;
        }
        let warm_ms = (self.policy.warm_up_seconds * 1000.0) as i64;
        if window.until_ms > started_ms.saturating_add(warm_ms) {
            self.count(state, window);
        }
        self.judge(state, window.until_ms);
        Ok(())
    }

    fn count(&self, state: &mut LatencyState, window: &LatencyWindow) {
        let seconds = window.until_ms.saturating_sub(window.from_ms) as f64 / 1000.0;
        let (candidate, stable) = window.tails.requests();
        state.requests.0 = state.requests.0.saturating_add(candidate);
        state.requests.1 = state.requests.1.saturating_add(stable);
        self.spend(state, window.from_ms);
        let bets = self.grids.bets(&self.policy, (candidate, stable));
        let kept = exp(-seconds / self.policy.memory_seconds);
        for boundary in &mut state.boundaries {
            if let Some(slower) = window.tails.at(boundary.bound) {
                boundary.bet(&self.policy, &self.grids, &bets, slower);
                // Only now may this window say whether the next one is bet on here.
                boundary.remember(kept, (candidate, stable), slower);
            }
        }
        self.choose(state, &window.tails);
    }

    /// Bets a part of the unspent mass on later starts, in equal parts on all bounds.
    fn spend(&self, state: &mut LatencyState, from_ms: i64) {
        let since_ms = from_ms.saturating_sub(*state.spent_ms.get_or_insert(from_ms));
        let part = due(
            since_ms as f64 / 1000.0,
            self.policy.restart_horizon_seconds,
        );
        let bounds = real(state.boundaries.len() as u64);
        if part <= 0.0 || bounds == 0.0 {
            return;
        }
        let mass = state.unspent * part;
        state.unspent -= mass;
        state.spent_ms = Some(from_ms);
        if mass > 0.0 {
            let more = boundary::spread_up(mass / bounds);
            for boundary in &mut state.boundaries {
                bet(&mut boundary.slower, more);
            }
        }
    }

    /// Begins bounds: the first ones spread over the tail once enough requests were seen, later ones
    /// as their tails fill.
    fn choose(&self, state: &mut LatencyState, tails: &Tails) {
        let (candidate, stable) = tails.requests();
        let seen = state.requests.0.saturating_add(state.requests.1);
        if seen < CHOOSE_AFTER || candidate.saturating_add(stable) == 0 {
            return;
        }
        let all = real(candidate) + real(stable);
        let (least, most) = (policy::LIVE.start() * all, policy::LIVE.end() * all);
        let is_new = |bound: f64| !state.boundaries.iter().any(|it| it.bound == bound);
        let slower = tails.slower().iter();
        let slower = slower.map(|(bound, slower)| (*bound, real(slower.0) + real(slower.1)));
        let live = slower.filter(|(_, slower)| (least..=most).contains(slower));
        let fresh = live.filter(|(bound, _)| is_new(*bound));
        let mut fresh: Vec<(f64, f64)> = fresh.map(|it| (it.0, it.1 / all)).collect();
        let first = state.boundaries.is_empty();
        if first {
            policy::thin(&mut fresh, BOUNDS_FIRST);
        } else {
            fresh.truncate(BOUNDS_MAX.saturating_sub(state.boundaries.len()));
        }
        let each = state.unspent * MASS_FIRST / real(fresh.len().max(1) as u64);
        for (bound, _) in fresh {
            let mass = if first {
                each
            } else {
                state.unspent * PART_LATER
            };
            state.unspent -= mass;
            let mut boundary = Boundary::new(bound, mass);
            if let Some(slower) = tails.at(bound) {
                boundary.remember(1.0, tails.requests(), slower);
            }
            state.boundaries.push(boundary);
        }
    }

    fn is_proven_slower(&self, state: &LatencyState) -> bool {
        self.grids.may_roll_back(&state.boundaries) && state.log_e() >= self.grids.needed
    }

    fn judge(&self, state: &mut LatencyState, now_ms: i64) {
        if state.decided_ms.is_some() {
            return;
        }
        if self.is_proven_slower(state) {
            state.decided_ms = Some(now_ms);
            state.passed_ms = None;
            state.verdict = Verdict::Rollback(Grounds::Comparison);
            return;
        }
        // Not inferior at every bound: each must be proven, so no correction is needed (§2.5).
        let proven = |it: &Boundary| it.is_proven(&self.grids);
        let asked = state.passed_ms.is_none() && !state.boundaries.is_empty();
        if asked && state.boundaries.iter().all(proven) {
            state.passed_ms = Some(now_ms);
        }
        let silent = |seen_ms: Option<i64>| {
            let since = seen_ms.or(state.started_ms).unwrap_or(now_ms);
            let patience_ms = (self.policy.patience_seconds * 1000.0) as i64;
            now_ms.saturating_sub(since) >= patience_ms
        };
        state.verdict = if silent(state.candidate_seen_ms) {
            Verdict::Hold(Hold::NoTraffic)
        } else if silent(state.stable_seen_ms) {
            Verdict::Hold(Hold::NoBaseline)
        } else if state.passed_ms.is_some() {
            Verdict::Pass
        } else {
            Verdict::Continue
        };
    }

    /// The verdict at `now_ms`, which is the last window's unless data stopped coming.
    pub fn verdict_at(&self, state: &LatencyState, now_ms: i64) -> Verdict {
        let patience = self.policy.patience_seconds;
        state
            .verdict
            .unless_silent(state.watermark_ms, now_ms, patience)
    }
}
