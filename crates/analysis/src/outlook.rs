//! What a gate will be able to say, before the rollout: how long until it decides, and the smallest
//! regression that it notices in the time of a step (§2.1, expected decision time).
//!
//! These are medians to plan by, not promises: half of all rollouts take longer.

use serde::{Deserialize, Serialize};

use crate::{
    compare::Compare,
    increment::{Relative, rare},
    special::{ln, log_sum_exp, real},
};

/// A ratio that is as good as a total failure: none above it is looked for.
const RATIO_MAX: f64 = 1e4;
/// Halvings in the search for a time.
const HALVINGS: u32 = 50;

/// The traffic that a step will have.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests a second of both arms together.
    pub requests_per_second: f64,
    /// The candidate's share, 0 to 1.
    pub share: f64,
    /// Stable's rate of bad requests.
    pub stable_rate: f64,
}

impl Compare {
    /// Seconds until a candidate whose rate is `ratio` times stable's is expected to be rolled back;
    /// `None` when it never is: too little worse, or no traffic.
    pub fn seconds_to_roll_back(&self, traffic: &Traffic, ratio: f64) -> Option<f64> {
        let policy = self.policy();
        let rate = (traffic.stable_rate * ratio).min(1.0);
        // What the comparison weighs beside the ceiling.
        let weight = 0.75_f64;
        let grid = &policy.grid;
        let needed = -ln(policy.alpha_sequential()) - ln(weight * (1.0 - policy.restart.mass));
        let theta = policy.null_ratio();
        let relative = gain(needed, grid, |g| self.growth(traffic, rate, theta, g));
        let single = |g: f64| rare(policy.floor, g, ln(g), 1.0, rate) * self.candidate_rps(traffic);
        let floor = match policy.floor > 0.0 {
            true => gain(needed, grid, |g| single(g) / self.roughness()),
            false => Some(0.0),
        };
        Some(relative?.max(floor?))
    }

    /// Seconds until a candidate that is as good as stable is expected to pass; `None` when it never
    /// does.
    pub fn seconds_to_pass(&self, traffic: &Traffic) -> Option<f64> {
        let policy = self.policy();
        let grid = &policy.pass_grid;
        let halves = if policy.floor > 0.0 { 2.0 } else { 1.0 };
        let needed = -ln(policy.beta) + ln(halves);
        let rate = traffic.stable_rate;
        let theta = policy.pass_ratio;
        let inferior = gain(needed, grid, |g| self.growth(traffic, rate, theta, g));
        let single = |g: f64| rare(policy.floor, g, ln(g), 1.0, rate) * self.candidate_rps(traffic);
        let under = gain(needed, grid, |g| single(g) / self.roughness());
        match (inferior, under) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (Some(it), None) | (None, Some(it)) => Some(it),
            (None, None) => None,
        }
    }

    /// The smallest ratio to stable's rate that is expected to be noticed within `seconds`; `None`
    /// when not even a total failure is.
    pub fn ratio_noticed_within(&self, traffic: &Traffic, seconds: f64) -> Option<f64> {
        let noticed = |ratio: f64| {
            let time = self.seconds_to_roll_back(traffic, ratio);
            time.is_some_and(|it| it <= seconds)
        };
        if !noticed(RATIO_MAX) {
            return None;
        }
        let (mut low, mut high) = (1.0, RATIO_MAX);
        for _ in 0..HALVINGS {
            let middle = crate::special::sqrt(low * high);
            match noticed(middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        Some(high)
    }

    fn candidate_rps(&self, traffic: &Traffic) -> f64 {
        traffic.requests_per_second * traffic.share
    }

    fn roughness(&self) -> f64 {
        self.policy().dispersion.map_or(1.0, |it| it.seed)
    }

    /// The expected growth a second of the comparison's e-process with one multiplier.
    fn growth(&self, traffic: &Traffic, rate: f64, theta: f64, g: f64) -> f64 {
        let candidate = self.candidate_rps(traffic);
        let stable = traffic.requests_per_second - candidate;
        let ratio = candidate / stable;
        if !(ratio > 0.0 && ratio.is_finite()) {
            return 0.0;
        }
        let increment = Relative::new(theta, g, ln(g), ratio);
        increment.of(candidate * rate, stable * traffic.stable_rate) / self.roughness()
    }
}

/// The median time in which a mixture of these growths, equally weighted, gains `needed`.
fn gain(needed: f64, grid: &[f64], growth: impl Fn(f64) -> f64) -> Option<f64> {
    let growths: Vec<f64> = grid.iter().map(|it| growth(*it)).collect();
    let best = growths.iter().copied().fold(0.0, f64::max);
    if best <= 0.0 {
        return None;
    }
    let each = ln(real(grid.len() as u64));
    let gained = |time: f64| log_sum_exp(growths.iter().map(|it| it * time)) - each;
    // The best multiplier alone is slower than the mixture of all by at most their number.
    let (mut low, mut high) = (0.0, (needed + each) / best);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        match gained(middle) < needed {
            true => low = middle,
            false => high = middle,
        }
    }
    // The log of a likelihood ratio varies by twice its drift, so the time to a height of `needed` is
    // nearly inverse Gaussian, and its median is below its mean by about one part in `needed`.
    Some(high * (1.0 - 1.0 / needed.max(2.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::ComparePolicy;

    const BUSY: Traffic = Traffic {
        requests_per_second: 100.0,
        share: 0.25,
        stable_rate: 0.001,
    };

    #[test]
    fn expectations_are_near_what_simulations_take() {
        let gate = Compare::new(ComparePolicy::default()).unwrap();
        // The benchmark's medians are 13 minutes and half a minute.
        let double = gate.seconds_to_roll_back(&BUSY, 2.0).unwrap() / 60.0;
        let tenfold = gate.seconds_to_roll_back(&BUSY, 10.0).unwrap() / 60.0;
        assert!((9.0..18.0).contains(&double), "{double}");
        assert!((0.2..1.0).contains(&tenfold), "{tenfold}");

        let pass = gate.seconds_to_pass(&BUSY).unwrap() / 60.0;
        assert!((6.0..26.0).contains(&pass), "{pass}");
    }

    #[test]
    fn more_share_decides_earlier_and_notices_less() {
        let gate = Compare::new(ComparePolicy::strict()).unwrap();
        let few = Traffic {
            share: 0.01,
            ..BUSY
        };
        let time = |it| gate.seconds_to_roll_back(it, 2.0).unwrap();
        assert!(time(&few) > 5.0 * time(&BUSY));
        let ratio = |it| gate.ratio_noticed_within(it, 600.0).unwrap();
        assert!(ratio(&few) > ratio(&BUSY) && ratio(&BUSY) > 1.5);
        let at = ratio(&BUSY);
        assert!((gate.seconds_to_roll_back(&BUSY, at).unwrap() - 600.0).abs() < 60.0);
    }

    #[test]
    fn what_is_acceptable_or_has_no_traffic_is_never_rolled_back() {
        let gate = Compare::new(ComparePolicy::default()).unwrap();
        assert_eq!(gate.seconds_to_roll_back(&BUSY, 1.05), None);
        let rare = Traffic {
            stable_rate: 0.0001,
            ..BUSY
        };
        assert_eq!(gate.seconds_to_roll_back(&rare, 2.0), None);
        for share in [0.0, 1.0] {
            let none = Traffic { share, ..BUSY };
            assert_eq!(gate.seconds_to_roll_back(&none, 10.0), None);
        }
        let silent = Traffic {
            requests_per_second: 0.0,
            ..BUSY
        };
        assert_eq!(gate.ratio_noticed_within(&silent, 1e6), None);
        assert_eq!(gate.seconds_to_pass(&silent), None);
    }
}
