//! What one bad and one good request add to the log of an e-value: the formulas of the method.
//!
//! Each is a likelihood ratio of an alternative against a null, made such that its expectation is at
//! most 1 under every member of the null. Products of such factors over windows are non-negative
//! supermartingales, and by Ville's inequality `P(sup E ≥ 1/α) ≤ α`: one may look at every window.

use crate::special::{ln, ln_1p};

/// What one bad request of the candidate adds, and what one bad request of stable adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relative {
    /// `ln g + lb`.
    pub candidate: f64,
    /// `lb`.
    pub stable: f64,
}

impl Relative {
    /// The two-sample increment (§2.1): null `p_c ≤ θ0·p_b`, alternative `p_c = g·θ0·p_b`, `g > 1`;
    /// with `g < 1` the null `p_c ≥ θ0·p_b`.
    ///
    /// `ratio` is requests of the candidate for each request of stable in this window.
    /// It is the likelihood ratio of X_c given X_c + X_b (Lindon & Malek, arXiv 2011.03567), which
    /// holds for Poisson counts and, because `(1 + p(a−1))^N ≤ e^(Np(a−1))`, for single requests too.
    pub fn new(null_ratio: f64, multiplier: f64, ln_multiplier: f64, ratio: f64) -> Self {
        let odds = null_ratio * ratio;
        let stable = ln_1p(-odds * (multiplier - 1.0) / (odds * multiplier + 1.0));
        Self {
            candidate: ln_multiplier + stable,
            stable,
        }
    }

    /// The increment of a window's bad requests.
    pub fn of(self, candidate_bad: f64, stable_bad: f64) -> f64 {
        candidate_bad * self.candidate + stable_bad * self.stable
    }
}

/// The increment of one arm against a bound δ on its rate, for rare events (§2.1, floor and history):
/// null `p ≤ δ` for `g > 1`, null `p ≥ δ` for `g < 1`; `ℓ = X·ln g − N·δ·(g−1)`.
pub fn rare(bound: f64, multiplier: f64, ln_multiplier: f64, requests: f64, bad: f64) -> f64 {
    bad * ln_multiplier - requests * bound * (multiplier - 1.0)
}

/// The exact increment of one arm for a rate that need not be small (§2.1, ceiling).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bernoulli {
    /// What a bad request adds: `ln(q/c)`.
    pub bad: f64,
    /// What a good request adds: `ln((1−q)/(1−c))`.
    pub good: f64,
}

impl Bernoulli {
    /// Null `p ≤ ceiling`, alternative `p = alternative > ceiling`, both within (0, 1).
    pub fn new(ceiling: f64, alternative: f64) -> Self {
        Self {
            bad: ln(alternative / ceiling),
            good: ln((1.0 - alternative) / (1.0 - ceiling)),
        }
    }

    /// The increment of a window's requests.
    pub fn of(self, requests: f64, bad: f64) -> f64 {
        bad * self.bad + (requests - bad) * self.good
    }
}

/// The two-sample block e-value for events that are not rare (§2.2; Turner, Ly & Grünwald, "Generic
/// E-variables for exact sequential k-sample tests", and the package safestats), with a margin.
///
/// The alternative is `(p_a, q)` where `q` is stable's rate as known *before* this block and `p_a` has
/// `multiplier` times the odds of `margin·q`. The null is `p_c ≤ margin·p_b`; its member nearest to
/// the alternative, `(margin·p*, p*)`, solves
/// `N_c·(p_a − m·p*)·(1 − p*) + N_b·(q − p*)·(1 − m·p*) = 0`, for `m = 1` the weighted mean of p_a and q.
/// At `p_c = m·p_b` the factor of a candidate's request and that of a stable's are linear in `p_b`, and
/// that equation makes their weighted mean 1; hence by the inequality of the means the product's
/// expectation is at most 1, and below the line the candidate's factor is smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    candidate: Bernoulli,
    stable: Bernoulli,
}

impl Block {
    /// `None` when the alternative is not beyond the null: there is nothing to bet on.
    pub fn new(
        margin: f64,
        multiplier: f64,
        stable_rate: f64,
        requests: (f64, f64),
    ) -> Option<Self> {
        let (candidate, stable) = requests;
        let null = margin * stable_rate;
        if !(0.0 < stable_rate
            && stable_rate < 1.0
            && null < 1.0
            && candidate > 0.0
            && stable > 0.0)
        {
            return None;
        }
        let odds = multiplier * null / (1.0 - null);
        let alternative = odds / (1.0 + odds);
        let nearest = nearest(margin, alternative, stable_rate, candidate, stable)?;
        let null = margin * nearest;
        let fits = 0.0 < nearest && nearest < 1.0 && 0.0 < null && null < 1.0;
        let beyond = (alternative > null) == (multiplier > 1.0);
        (fits && beyond).then(|| Self {
            candidate: Bernoulli::new(null, alternative),
            stable: Bernoulli::new(nearest, stable_rate),
        })
    }

    /// The increment of a window's requests.
    pub fn of(self, candidate: (f64, f64), stable: (f64, f64)) -> f64 {
        self.candidate.of(candidate.0, candidate.1) + self.stable.of(stable.0, stable.1)
    }
}

/// The smaller root of the null's equation, which lies between the two rates.
fn nearest(margin: f64, alternative: f64, rate: f64, candidate: f64, stable: f64) -> Option<f64> {
    // Shares instead of counts: the squares below must not lose digits for huge windows.
    let all = candidate + stable;
    let (c, b) = (candidate / all, stable / all);
    let linear = c * (alternative + margin) + b * (1.0 + margin * rate);
    let constant = c * alternative + b * rate;
    let discriminant = linear * linear - 4.0 * margin * constant;
    if discriminant < 0.0 {
        return None;
    }
    // The form without cancellation: the larger root is (linear + √…)/(2·margin).
    Some(2.0 * constant / (linear + crate::special::sqrt(discriminant)))
}
