//! What a compare gate has learnt: small, serialisable, and enough to go on from after a crash.

use serde::{Deserialize, Serialize};

use crate::{
    counts::{Arm, InputError, Window},
    dispersion::Roughness,
    mixture::Mixture,
    special::real,
    strata::{STRATA_MAX, Strata},
    verdict::{Grounds, Verdict},
};

/// The layout of [`CompareState`]; a state of another version is refused, never guessed at.
pub const COMPARE_VERSION: u16 = 1;

/// The state of one compare gate over one rollout of one artifact: one e-process for all its steps.
/// A new artifact begins a new one; a retry of the same artifact goes on with this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompareState {
    pub(super) version: u16,
    /// The policy it was begun under.
    pub(super) policy: u64,
    /// Where the first window began.
    pub(super) started_ms: Option<i64>,
    /// Where the last window ended: everything up to here is folded in.
    pub(super) watermark_ms: Option<i64>,
    /// When each arm last had a request.
    pub(super) candidate_seen_ms: Option<i64>,
    pub(super) stable_seen_ms: Option<i64>,
    pub(super) evidence: Processes,
    pub(super) spent_ms: Spent,
    /// Counts of the block under way, when evidence is counted in blocks.
    pub(super) block: Option<Window>,
    pub(super) roughness: Roughness,
    /// Totals of the windows that are compared, by share.
    pub(super) strata: Strata,
    /// Who is to blame for what is bad, warm-up included.
    pub(super) blame: Blame,
    /// The share of the last window, and stable's requests since it is that.
    pub(super) share: u32,
    pub(super) stable_requests: u64,
    /// The last window that added to evidence which stable shares, and that evidence after the last
    /// window.
    pub(super) incident_ms: Option<i64>,
    #[serde(with = "crate::exact")]
    pub(super) ungated: f64,
    /// Totals of the windows that warm-up left out.
    pub(super) warming: (Arm, Arm),
    /// Exact tests that were made.
    pub(super) looks: u32,
    pub(super) decision: Option<Decision>,
    pub(super) passed_ms: Option<i64>,
    pub(super) verdict: Verdict,
}

/// When mass was last bet on later starts: the ceiling's, which counts windows, and the others', which
/// may count blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Spent {
    pub(super) scrape: Option<i64>,
    pub(super) block: Option<i64>,
}

/// The e-processes of a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Processes {
    /// Null: within the margin of stable.
    pub(super) relative: Mixture,
    /// Null: below the floor.
    pub(super) floor: Option<Mixture>,
    /// Null: not above what stable's past showed.
    pub(super) history: Option<Mixture>,
    /// Null: below the ceiling.
    pub(super) ceiling: Option<Mixture>,
    /// Null: at least `pass_ratio` times as bad as stable.
    pub(super) inferior: Mixture,
    /// Null: at least as bad as the floor.
    pub(super) under: Option<Mixture>,
}

/// The candidate's rate against stable's, weighed window by window (Mantel & Haenszel 1959), so that
/// neither a ramp nor a bad hour of both makes one of them look worse.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Blame {
    /// Σ X_c·N_b/N.
    #[serde(with = "crate::exact")]
    candidate: f64,
    /// Σ X_b·N_c/N.
    #[serde(with = "crate::exact")]
    stable: f64,
    /// All requests: the candidate's, stable's.
    requests: (u64, u64),
}

impl Blame {
    pub(super) fn add(&mut self, candidate: Arm, stable: Arm) {
        let (c, b) = (real(candidate.requests), real(stable.requests));
        if c + b > 0.0 {
            self.candidate += real(candidate.bad) * b / (c + b);
            self.stable += real(stable.bad) * c / (c + b);
        }
        self.requests.0 = self.requests.0.saturating_add(candidate.requests);
        self.requests.1 = self.requests.1.saturating_add(stable.requests);
    }

    /// How many times as bad as stable the candidate is, each arm with half a bad request more, as in
    /// [`Arm::smoothed_rate`]; 0 while an arm has no requests.
    pub(super) fn ratio(&self) -> f64 {
        let (c, b) = (real(self.requests.0), real(self.requests.1));
        if c == 0.0 || b == 0.0 {
            return 0.0;
        }
        (self.candidate + 0.5 * b / (c + b)) / (self.stable + 0.5 * c / (c + b))
    }

    fn is_sound(&self) -> bool {
        self.candidate.is_finite() && self.stable.is_finite()
    }
}

/// A rollback that was decided. It stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What weighed most.
    pub grounds: Grounds,
    /// The end of the window that decided.
    pub at_ms: i64,
}

impl CompareState {
    /// How the gate stands after the last window.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The end of the last window that was folded in, in milliseconds since 1970.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// Whether the candidate has had any request yet.
    pub fn has_requests(&self) -> bool {
        self.candidate_seen_ms.is_some()
    }

    /// The rollback that was decided, if one was.
    pub fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// When it first passed at the present share.
    pub fn passed_ms(&self) -> Option<i64> {
        self.passed_ms
    }

    /// The totals that are compared, by share.
    pub fn strata(&self) -> &Strata {
        &self.strata
    }

    /// Whether a state that was read can be gone on with under `policy` with these processes.
    pub(super) fn check(&self, policy: u64, wanted: Wanted) -> Result<(), InputError> {
        if self.version != COMPARE_VERSION {
            return Err(InputError::OtherVersion {
                version: self.version,
                ours: COMPARE_VERSION,
            });
        }
        if self.policy != policy {
            return Err(InputError::OtherPolicy);
        }
        if !self.evidence.is_whole(wanted) {
            return Err(InputError::Damaged {
                what: "its e-processes",
            });
        }
        let sound = self.roughness.is_sound() && self.blame.is_sound();
        if !sound || self.strata.len() > STRATA_MAX {
            return Err(InputError::Damaged { what: "its totals" });
        }
        Ok(())
    }
}

/// The processes of a policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Points of the grid for a rollback, and of the grid for a pass.
    pub(super) points: (usize, usize),
    pub(super) floor: bool,
    pub(super) history: bool,
    pub(super) ceiling: bool,
}

impl Processes {
    /// Whether these are the processes of a policy, each sound and with all its points. One that is
    /// missing would never be bet on, and its null could pass for refuted.
    fn is_whole(&self, wanted: Wanted) -> bool {
        let (up, down) = wanted.points;
        let fits = |process: Option<&Mixture>, wanted: bool, points| match process {
            Some(it) => wanted && it.is_sound(points),
            None => !wanted,
        };
        fits(Some(&self.relative), true, up)
            && fits(self.floor.as_ref(), wanted.floor, up)
            && fits(self.history.as_ref(), wanted.history, up)
            && fits(self.ceiling.as_ref(), wanted.ceiling, super::CEILING_POINTS)
            && fits(Some(&self.inferior), true, down)
            && fits(self.under.as_ref(), wanted.floor, down)
    }
}
