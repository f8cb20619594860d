//! What one bad and one good request add to the log of an e-value: the formulas of the method.
//!
//! Each is a likelihood ratio of an alternative against a null, made such that its expectation is at
//! most 1 under every member of the null. Products of such factors over windows are non-negative
//! supermartingales, and by Ville's inequality `P(sup E ≥ 1/α) ≤ α`: one may look at every window.

use crate::{
    lanes::ln_each,
    special::{ln, ln_1p, sqrt},
};

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

/// Multipliers to bet on, and their logs. Several at a time, and arrays of numbers instead of arrays of
/// bets: most of the work is logarithms, which are several times cheaper so (`lanes.rs`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers<const N: usize> {
    values: [f64; N],
    logs: [f64; N],
}

impl<const N: usize> Multipliers<N> {
    /// These, above 0.
    pub fn new(values: [f64; N]) -> Self {
        Self {
            values,
            logs: values.map(ln),
        }
    }

    /// [`rare`] for each.
    pub fn rare(&self, bound: f64, requests: f64, bad: f64) -> [f64; N] {
        both(&self.values, &self.logs, |value, log| {
            rare(bound, value, log, requests, bad)
        })
    }
}

/// [`Relative`] for several multipliers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relatives<const N: usize> {
    candidate: [f64; N],
    stable: [f64; N],
}

impl<const N: usize> Relatives<N> {
    /// As [`Relative::new`], by `ln((1+o)/(1+o·g))`: the same number, though without the digits that
    /// `ln_1p` keeps where it is near 0, of which a sum of counts shows nothing.
    pub fn new(null_ratio: f64, multipliers: &Multipliers<N>, ratio: f64) -> Self {
        let odds = null_ratio * ratio;
        let mut stable = each(&multipliers.values, |it| (1.0 + odds) / (1.0 + odds * it));
        ln_each(&mut stable);
        Self {
            candidate: both(&multipliers.logs, &stable, |log, stable| log + stable),
            stable,
        }
    }

    /// The increments of a window's bad requests, by multiplier.
    pub fn of(&self, candidate_bad: f64, stable_bad: f64) -> [f64; N] {
        both(&self.candidate, &self.stable, |candidate, stable| {
            Relative { candidate, stable }.of(candidate_bad, stable_bad)
        })
    }
}

/// Works a number out of each: a loop, where `map` would not become vector instructions.
#[inline(always)]
fn each<const N: usize>(one: &[f64; N], from: impl Fn(f64) -> f64) -> [f64; N] {
    let mut out = *one;
    for it in &mut out {
        *it = from(*it);
    }
    out
}

/// Works numbers out of two each, place by place.
#[inline(always)]
fn both<const N: usize>(
    one: &[f64; N],
    other: &[f64; N],
    from: impl Fn(f64, f64) -> f64,
) -> [f64; N] {
    let mut out = *one;
    for (out, other) in out.iter_mut().zip(other) {
        *out = from(*out, *other);
    }
    out
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
///
/// One for each of `N` multipliers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blocks<const N: usize> {
    /// 1, or 0 where there is nothing to bet on.
    weights: [f64; N],
    /// What a bad and a good request of the candidate add.
    candidate: [[f64; N]; 2],
    /// What a bad and a good request of stable add.
    stable: [[f64; N]; 2],
}

impl<const N: usize> Blocks<N> {
    /// Bets on these multipliers. One whose alternative is not beyond the null adds 0.
    pub fn new(
        margin: f64,
        multipliers: &Multipliers<N>,
        stable_rate: f64,
        requests: (f64, f64),
    ) -> Self {
        let mut bets = Self {
            weights: [0.0; N],
            candidate: [[0.0; N]; 2],
            stable: [[0.0; N]; 2],
        };
        let null = margin * stable_rate;
        // Rates of counts are far above the first.
        let fits = LEAST_RATE < stable_rate
            && stable_rate < 1.0
            && null < 1.0
            && requests.0 > 0.0
            && requests.1 > 0.0;
        if !fits {
            return bets;
        }
        let null_odds = null / (1.0 - null);
        let mut given = [null_odds, margin, stable_rate, 1.0 - stable_rate];
        ln_each(&mut given);
        let [ln_odds, ln_margin, ln_stable, ln_stable_good] = given;
        // Shares instead of counts: squares must not lose digits for huge windows.
        let all = requests.0 + requests.1;
        let shares = (requests.0 / all, requests.1 / all);
        let odds = each(&multipliers.values, |it| it * null_odds);
        // p*, stable's rate at the nearest member of the null.
        let mut rates = each(&odds, |it| {
            nearest(margin, it / (1.0 + it), stable_rate, shares)
        });
        let places = bets.weights.iter_mut().zip(&mut rates);
        for ((weight, rate), (multiplier, odds)) in places.zip(multipliers.values.iter().zip(&odds))
        {
            match is_beyond(*multiplier, *odds, *rate, margin * *rate) {
                true => *weight = 1.0,
                // Any rate that is one: what follows then comes to a number.
                false => *rate = 0.5 / (1.0 + margin),
            }
        }
        let mut logs = [
            each(&odds, |it| 1.0 + it),
            rates,
            each(&rates, |it| 1.0 - it),
            each(&rates, |it| 1.0 - margin * it),
        ];
        ln_each(logs.as_flattened_mut());
        let [whole, rate, good, null_good] = &logs;
        let of_null = both(&multipliers.logs, rate, |log, rate| {
            log + ln_odds - (ln_margin + rate)
        });
        bets.candidate = [
            both(&of_null, whole, |it, whole| it - whole),
            both(whole, null_good, |whole, good| -whole - good),
        ];
        bets.stable = [
            each(rate, |it| ln_stable - it),
            each(good, |it| ln_stable_good - it),
        ];
        bets
    }

    /// The increments of a window's requests and bad ones, by multiplier.
    pub fn of(&self, candidate: (f64, f64), stable: (f64, f64)) -> [f64; N] {
        let arm = |[bad, good]: &[[f64; N]; 2], (requests, slow): (f64, f64)| {
            both(bad, good, |bad, good| {
                Bernoulli { bad, good }.of(requests, slow)
            })
        };
        let (ours, theirs) = (arm(&self.candidate, candidate), arm(&self.stable, stable));
        let sums = both(&ours, &theirs, |ours, theirs| ours + theirs);
        both(&self.weights, &sums, |weight, sum| weight * sum)
    }
}

/// The least rate that is bet on in blocks: what is worked out from it is still a normal number.
const LEAST_RATE: f64 = 1e-100;

/// Whether an alternative is beyond the null's nearest member `(null, rate)`, and that is a rate.
fn is_beyond(multiplier: f64, odds: f64, rate: f64, null: f64) -> bool {
    let fits = LEAST_RATE < rate && rate < 1.0 && 0.0 < null && null < 1.0;
    // Odds instead of rates, without dividing: p_a > m·p*.
    fits && (odds > null * (1.0 + odds)) == (multiplier > 1.0)
}

/// The smaller root of the null's equation, which lies between the two rates; NaN where there is none.
/// `shares` are the candidate's and stable's of the window's requests.
#[inline(always)]
fn nearest(margin: f64, alternative: f64, rate: f64, shares: (f64, f64)) -> f64 {
    let (c, b) = shares;
    let linear = c * (alternative + margin) + b * (1.0 + margin * rate);
    let constant = c * alternative + b * rate;
    let discriminant = linear * linear - 4.0 * margin * constant;
    // The form without cancellation: the larger root is (linear + √…)/(2·margin).
    2.0 * constant / (linear + sqrt(discriminant))
}
