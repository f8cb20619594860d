//! Totals for each planned share of traffic, and what can be said of them together.
//!
//! Totals over several shares must never be pooled: when a ramp meets a bad hour of the whole service,
//! more of the candidate's requests fall into that hour and a healthy candidate looks worse (Simpson's
//! paradox, §4.1 pitfall 1). So totals are kept by share, and estimates combine strata.

use serde::{Deserialize, Serialize};

use crate::{
    counts::Arm,
    increment::{Relative, rare},
    special::{exp, ln, log_sum_exp, real},
};

/// Most shares that are kept apart. A ramp has five or six; what comes after the eighth joins the
/// stratum of the nearest share.
pub const STRATA_MAX: usize = 8;
/// Multipliers that bounds from below are found with: closer to 1 than those that decide, because a
/// bound cannot come nearer to the estimate than the square root of the smallest.
const ABOVE: [f64; 7] = [1.03, 1.15, 1.5, 2.2, 3.5, 6.0, 15.0];
/// Multipliers that bounds from above are found with.
const BELOW: [f64; 7] = [0.97, 0.85, 0.65, 0.45, 0.28, 0.15, 0.03];
/// Halvings in the search for a bound: the ends are e^±30 apart, so this is beyond the last bit.
const HALVINGS: u32 = 60;

/// The totals of all windows with one planned share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stratum {
    /// The candidate's planned share, in hundredths of a percent.
    pub share: u32,
    /// The candidate's totals.
    pub candidate: Arm,
    /// Stable's totals.
    pub stable: Arm,
}

impl Stratum {
    /// Bad requests of both arms.
    pub fn bad(&self) -> u64 {
        self.candidate.bad.saturating_add(self.stable.bad)
    }

    /// Requests of the candidate for one of stable; `None` when an arm has none.
    pub fn ratio(&self) -> Option<f64> {
        let both = self.candidate.requests > 0 && self.stable.requests > 0;
        both.then(|| real(self.candidate.requests) / real(self.stable.requests))
    }

    /// The chance that a bad request is the candidate's when its rate is `θ` times stable's:
    /// `π(θ) = θr/(1+θr)`. `None` when an arm has no requests.
    pub fn chance(&self, theta: f64) -> Option<f64> {
        self.ratio().map(|it| theta * it / (1.0 + theta * it))
    }
}

/// All strata of a rollout, in order of their first window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Strata(Vec<Stratum>);

impl Strata {
    /// Adds a window's counts to their stratum.
    pub fn add(&mut self, share: u32, candidate: Arm, stable: Arm) {
        let full = self.0.len() >= STRATA_MAX;
        let nearest = self.0.iter_mut().min_by_key(|it| it.share.abs_diff(share));
        match nearest {
            Some(it) if full || it.share == share => {
                it.candidate = it.candidate.plus(candidate);
                it.stable = it.stable.plus(stable);
            }
            Some(_) | None => self.0.push(Stratum {
                share,
                candidate,
                stable,
            }),
        }
    }

    /// The strata.
    pub fn iter(&self) -> impl Iterator<Item = &Stratum> + Clone {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The candidate's totals over all strata, for people to read.
    pub fn candidate(&self) -> Arm {
        self.0
            .iter()
            .fold(Arm::default(), |sum, it| sum.plus(it.candidate))
    }

    /// Stable's totals over all strata, for people to read.
    pub fn stable(&self) -> Arm {
        self.0
            .iter()
            .fold(Arm::default(), |sum, it| sum.plus(it.stable))
    }

    /// The ratio of the candidate's rate to stable's, estimated within strata (Mantel & Haenszel
    /// 1959); `None` when stable had no bad requests beside the candidate's.
    pub fn rate_ratio(&self) -> Option<f64> {
        let (mut candidate, mut stable) = (0.0, 0.0);
        for it in &self.0 {
            let (c, b) = (real(it.candidate.requests), real(it.stable.requests));
            if c + b > 0.0 {
                candidate += real(it.candidate.bad) * b / (c + b);
                stable += real(it.stable.bad) * c / (c + b);
            }
        }
        (stable > 0.0).then(|| candidate / stable)
    }

    /// `ln E` of all totals against the ratio `theta`, tempered by `phi`; see [`Relative`].
    fn log_e(&self, theta: f64, grid: &[f64], phi: f64) -> f64 {
        let each = grid.iter().map(|g| {
            let ln_g = ln(*g);
            let strata = self.0.iter().filter_map(|it| {
                let increment = Relative::new(theta, *g, ln_g, it.ratio()?);
                Some(increment.of(real(it.candidate.bad), real(it.stable.bad)))
            });
            strata.sum::<f64>() / phi
        });
        log_sum_exp(each) - ln(real(grid.len() as u64))
    }

    /// The smallest ratio of rates that the totals do not refute: the largest θ with `E(θ) ≥ 1/α`
    /// (§2.2, "invert E over θ0"). `None` when none is refuted.
    ///
    /// Shares within a stratum are taken as constant, so this is for display and the harm cap; the
    /// decision itself uses each window's own ratio of requests.
    pub fn ratio_at_least(&self, alpha: f64, phi: f64) -> Option<f64> {
        let refuted = |log_theta: f64| self.log_e(exp(log_theta), &ABOVE, phi) >= -ln(alpha);
        search(|it| !refuted(it)).map(exp)
    }

    /// The largest ratio of rates that the totals do not refute: the smallest θ with `E(θ) ≥ 1/β`.
    /// `None` when none is refuted.
    pub fn ratio_at_most(&self, beta: f64, phi: f64) -> Option<f64> {
        search(|it| self.log_e(exp(it), &BELOW, phi) >= -ln(beta)).map(exp)
    }
}

/// The largest rate that an arm's totals do not refute, valid at any time: the smallest δ against
/// which [`rare`] reaches `1/β`; 1 when even that is not refuted.
pub fn rate_at_most(arm: Arm, beta: f64, phi: f64) -> f64 {
    let refuted = |log_rate: f64| {
        let rate = exp(log_rate);
        let each = BELOW.iter().map(|g| {
            let (requests, bad) = (real(arm.requests), real(arm.bad));
            rare(rate, *g, ln(*g), requests, bad) / phi
        });
        log_sum_exp(each) - ln(real(BELOW.len() as u64)) >= -ln(beta)
    };
    search(refuted).map_or(1.0, |it| exp(it).min(1.0))
}

/// The smallest point from which on `holds` is true, for a condition that is false, then true.
/// `None` when it is never true. A condition that is true everywhere gives `None` too: such a bound
/// would say nothing.
fn search(holds: impl Fn(f64) -> bool) -> Option<f64> {
    let (mut low, mut high) = (-30.0_f64, 30.0_f64);
    if holds(low) || !holds(high) {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strata(windows: &[(u32, [u64; 4])]) -> Strata {
        let mut strata = Strata::default();
        for (share, [nc, xc, nb, xb]) in windows {
            strata.add(*share, Arm::new(*nc, *xc), Arm::new(*nb, *xb));
        }
        strata
    }

    #[test]
    fn a_ramp_into_a_bad_hour_does_not_make_a_healthy_candidate_look_worse() {
        // 1 % bad at a share of 10 %, then 10 % bad for both at a share of 50 %.
        let ramp = strata(&[(1000, [1000, 10, 9000, 90]), (5000, [5000, 500, 5000, 500])]);
        let pooled = ramp.candidate().rate() / ramp.stable().rate();
        assert!(pooled > 2.0, "{pooled}");
        let ratio = ramp.rate_ratio().unwrap();
        assert!((ratio - 1.0).abs() < 1e-12, "{ratio}");
        assert!(ramp.ratio_at_least(0.05, 1.0).is_none_or(|it| it < 1.0));
    }

    #[test]
    fn bounds_enclose_the_estimate_and_tighten() {
        let few = strata(&[(2500, [1000, 9, 3000, 3])]);
        let many = strata(&[(2500, [10_000, 90, 30_000, 30])]);
        let bounds = |it: &Strata| {
            let least = it.ratio_at_least(0.05, 1.0).unwrap();
            (least, it.ratio_at_most(0.05, 1.0).unwrap())
        };
        let ((a, d), (b, c)) = (bounds(&few), bounds(&many));
        assert!(a < b && b < 9.0 && 9.0 < c && c < d, "{a} {b} {c} {d}");
    }

    #[test]
    fn no_bad_requests_bound_the_rate_by_the_price_of_looking_often() {
        // The rule of three says 3/N; looking at any time costs a little more (§2.1).
        let bound = rate_at_most(Arm::new(10_000, 0), 0.05, 1.0);
        assert!((3e-4..6e-4).contains(&bound), "{bound}");
        assert_eq!(rate_at_most(Arm::new(0, 0), 0.05, 1.0), 1.0);
    }

    #[test]
    fn nothing_is_known_of_an_arm_without_requests() {
        let alone = strata(&[(10_000, [1000, 900, 0, 0])]);
        assert_eq!(alone.rate_ratio(), None);
        assert_eq!(alone.ratio_at_least(0.05, 1.0), None);
        assert_eq!(alone.ratio_at_most(0.05, 1.0), None);
    }

    #[test]
    fn a_ninth_share_joins_the_nearest() {
        let mut strata = Strata::default();
        for share in 1..=9 {
            strata.add(share * 100, Arm::new(10, 1), Arm::new(20, 0));
        }
        assert_eq!(strata.len(), STRATA_MAX);
        assert_eq!(strata.candidate(), Arm::new(90, 9));
        let last = strata.iter().last().unwrap();
        assert_eq!((last.share, last.stable.requests), (800, 40));
    }
}
