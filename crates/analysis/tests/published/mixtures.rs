//! Mixtures over the size of an effect (Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
//! nonparametric, nonasymptotic confidence sequences", 2021, appendix A), for a sum of deviations `s`
//! of variance `v`. Published values: confseq, test/uniform_boundaries_unittest.cpp.

use analysis::{Arm, Compare, ComparePolicy, Window};
use statrs::function::{
    beta::{beta_reg, ln_beta},
    gamma::{gamma_ur, ln_gamma},
};

use crate::{near, root};

/// The width of a mixture that is best at variance `v`, for two sides.
fn rho(v: f64, alpha: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    v / (twice + twice.ln_1p())
}

/// Where the evidence of a mixture reaches 1/α at the latest.
fn bound(log: impl Fn(f64) -> f64, s_max: f64, alpha: f64) -> f64 {
    root(0.0, s_max, |s| log(s) + alpha.ln())
}

/// For Poisson-like deviations of scale `c`: a gamma mixture.
struct GammaPoisson {
    rho: f64,
    c: f64,
}

impl GammaPoisson {
    fn log(&self, s: f64, v: f64) -> f64 {
        let square = self.c * self.c;
        let (prior, seen) = (self.rho / square, (v + self.rho) / square);
        let shape = s / self.c + seen;
        let of = |shape: f64, rate: f64| ln_gamma(shape) + gamma_ur(shape, rate).ln();
        prior * prior.ln() - of(prior, prior) + of(shape, seen) - shape * seen.ln() + v / square
    }
}

/// For deviations between `-g` and `h`: a beta mixture.
pub(crate) struct BetaBinomial {
    r: f64,
    g: f64,
    h: f64,
    one_sided: bool,
}

impl BetaBinomial {
    /// Best at variance `v_opt`, for a chance of error of 5 %.
    pub(crate) fn new(v_opt: f64, g: f64, h: f64, one_sided: bool) -> Self {
        let rho = rho(v_opt, if one_sided { 0.1 } else { 0.05 });
        Self {
            r: (rho - g * h).max(1e-3 * g * h),
            g,
            h,
            one_sided,
        }
    }

    pub(crate) fn log(&self, s: f64, v: f64) -> f64 {
        let (r, g, h) = (self.r, self.g, self.h);
        let both = g + h;
        let part = |a: f64, b: f64| match self.one_sided {
            true => ln_beta(a, b) + beta_reg(a, b, h / both).ln(),
            false => ln_beta(a, b),
        };
        let seen = part((r + v - g * s) / (g * both), (r + v + h * s) / (h * both));
        v / (g * h) * both.ln()
            - (v + h * s) / (h * both) * g.ln()
            - (v - g * s) / (g * both) * h.ln()
            + seen
            - part(r / (g * both), r / (h * both))
    }
}

/// The rates that so many of `trials` do not rule out at 5 %, ever, of a sequence best at `t_opt`.
fn rates(bad: f64, trials: f64, t_opt: f64) -> (f64, f64) {
    let seen = bad / trials;
    let against = |p: f64| {
        let mixture = BetaBinomial::new(p * (1.0 - p) * t_opt, p, 1.0 - p, false);
        mixture.log((seen - p) * trials, p * (1.0 - p) * trials) + 0.05_f64.ln()
    };
    (root(0.0, seen, |p| -against(p)), root(seen, 1.0, against))
}

#[test]
fn a_gamma_mixture_of_poisson_deviations() {
    let mixture = GammaPoisson {
        rho: rho(100.0, 0.1),
        c: 2.0,
    };
    near(mixture.log(10.0, 100.0), -0.069_912_19);
    near(bound(|s| mixture.log(s, 100.0), 200.0, 0.05), 30.194_9);
}

#[test]
fn beta_mixtures_of_one_side_and_of_two() {
    for (one_sided, log, reached) in [
        (true, -0.071_340_19, 28.412_38),
        (false, -0.694_101_2, 31.430_8),
    ] {
        let mixture = BetaBinomial::new(100.0, 0.2, 0.8, one_sided);
        near(mixture.log(10.0, 100.0), log);
        near(bound(|s| mixture.log(s, 100.0), 500.0, 0.05), reached);
    }
}

#[test]
fn a_confidence_sequence_for_a_rate() {
    for (bad, trials, t_opt, published) in [
        (700.0, 1000.0, 100.0, (0.651_629, 0.745_949)),
        (15.0, 50.0, 50.0, (0.129_556, 0.511_896)),
        (5.0, 50.0, 50.0, (0.013_021, 0.269_264)),
    ] {
        let (low, high) = rates(bad, trials, t_opt);
        near(low, published.0);
        near(high, published.1);
    }
}

/// With stable's rate known beyond doubt, a comparison is a test of one rate: what it rolls back, a
/// confidence sequence for the candidate's rate rules out as well, and it is not far behind.
#[test]
fn a_comparison_with_a_known_rate_agrees_with_the_sequence_for_one() {
    let known = 0.01;
    let policy = ComparePolicy {
        margin: 0.0,
        floor: 0.0,
        ceiling: None,
        ..ComparePolicy::default()
    };
    let gate = Compare::new(policy).unwrap();
    for times in [2_u32, 3, 10] {
        let mut state = gate.start();
        let decided = (1_u32..5_000).find(|second| {
            let window = Window {
                from_ms: i64::from(second - 1) * 1000,
                until_ms: i64::from(*second) * 1000,
                share: 100,
                candidate: Arm::new(100, u64::from(times)),
                stable: Arm::new(10_000_000, 100_000),
            };
            gate.fold(&mut state, &window).unwrap();
            state.decision().is_some()
        });
        let requests = f64::from(decided.unwrap()) * 100.0;
        let low = |requests: f64| rates(requests * f64::from(times) / 100.0, requests, requests).0;
        assert!(low(requests) > known, "x{times} after {requests} requests");
        let before = requests / 4.0;
        assert!(
            low(before) < known,
            "x{times} already after {before} requests"
        );
    }
}
