//! The few special functions that the formulas need, built on `libm` alone.
//!
//! Rust leaves the last bit of `f64::ln` and its like to the platform; `libm` is plain arithmetic and
//! gives the same bits everywhere, so that a replay on another machine decides alike.
//! Binomial probabilities follow Loader's saddle-point form ("Fast and accurate computation of
//! binomial probabilities", 2000), because differences of `lgamma` lose all digits for huge counts.

use std::f64::consts::{LN_2, PI};

/// What is smaller than this against the largest term is below the last bit of a sum of logs.
pub(crate) const NEGLIGIBLE: f64 = -45.0;
/// ½·ln(2π).
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;

pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

pub(crate) fn ln_1p(x: f64) -> f64 {
    libm::log1p(x)
}

pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// NaN below 0. The one function of the platform's: IEEE 754 says what its every bit is.
#[inline(always)]
pub(crate) fn sqrt(x: f64) -> f64 {
    x.sqrt()
}

/// A count as a number: exact below 2^53, which [`crate::Arm`] makes sure of.
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// `ln(Σ e^v)`, also for logs far outside of what `exp` can hold. `-inf` for no values.
pub(crate) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return largest;
    }
    let sum: f64 = values
        .map(|it| it - largest)
        .filter(|it| *it > NEGLIGIBLE)
        .map(exp)
        .sum();
    largest + ln(sum)
}

/// `ln(e^a + e^b)`.
pub(crate) fn log_add_exp(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    let gap = small - large;
    if gap.is_nan() || gap <= NEGLIGIBLE {
        return large;
    }
    large + ln_1p(exp(gap))
}

pub(crate) fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// `ln n! − ln(Stirling's approximation of n!)`, for real `n ≥ 0`.
fn stirling_error(n: f64) -> f64 {
    if n <= 15.0 {
        if n == 0.0 {
            return 0.0;
        }
        return ln_gamma(n + 1.0) - (n + 0.5) * ln(n) + n - HALF_LN_TAU;
    }
    let square = n * n;
    let series = 1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square;
    (1.0 / 12.0 - (1.0 / 360.0 - series / square) / square) / n
}

/// The deviance `x·ln(x/m) + m − x` without cancellation where `x` is near `m`.
fn deviance(x: f64, m: f64) -> f64 {
    let difference = x - m;
    if difference.abs() >= 0.1 * (x + m) {
        return if x == 0.0 { m } else { x * ln(x / m) + m - x };
    }
    let v = difference / (x + m);
    let mut sum = difference * v;
    let mut term = 2.0 * x * v;
    for j in 1..1000_u32 {
        term *= v * v;
        let next = sum + term / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// `ln P(X = x)` for X binomial with `n` trials of chance `p`; `-inf` where it cannot be.
pub(crate) fn ln_binomial(x: f64, n: f64, p: f64) -> f64 {
    if !(0.0..=n).contains(&x) || !(0.0..=1.0).contains(&p) {
        return f64::NEG_INFINITY;
    }
    let q = 1.0 - p;
    if p == 0.0 || q == 0.0 {
        let sure = if p == 0.0 { 0.0 } else { n };
        return if x == sure { 0.0 } else { f64::NEG_INFINITY };
    }
    if x == 0.0 {
        return n * ln_1p(-p);
    }
    if x == n {
        return n * ln(p);
    }
    let errors = stirling_error(n) - stirling_error(x) - stirling_error(n - x);
    let spread = HALF_LN_TAU + 0.5 * (ln(x) + ln_1p(-x / n));
    errors - deviance(x, n * p) - deviance(n - x, n * q) - spread
}

/// `n` times the Kullback-Leibler divergence of `x/n` from `p`: the exponent of Chernoff's bound.
pub(crate) fn chernoff_exponent(x: f64, n: f64, p: f64) -> f64 {
    deviance(x, n * p) + deviance(n - x, n * (1.0 - p))
}

/// `ln B(a, b)`, exact to a relative 1e-14 also for huge arguments.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    if b < 15.0 {
        return ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    }
    let sum = a + b;
    // ln Γ(x) = (x − ½)·ln x − x + ½·ln 2π + error(x), where error(x) is that of (x−1)! about x.
    let error = |x: f64| stirling_error(x);
    if a < 15.0 {
        let correction = error(b) - error(sum);
        return ln_gamma(a) + correction + a - a * ln(sum) + (b - 0.5) * ln_1p(-a / sum);
    }
    let correction = error(a) + error(b) - error(sum);
    HALF_LN_TAU - 0.5 * ln(b) + correction + (a - 0.5) * ln(a / sum) + b * ln_1p(-a / sum)
}

/// `ln Φ(x)`, the log of the normal distribution function, also far in the lower tail.
pub(crate) fn ln_normal(x: f64) -> f64 {
    if x > -35.0 {
        return ln(0.5 * libm::erfc(-x / std::f64::consts::SQRT_2));
    }
    let square = x * x;
    let series = 1.0 - (1.0 - (3.0 - 15.0 / square) / square) / square;
    -0.5 * square - ln(-x) - 0.5 * (LN_2 + ln(PI)) + ln(series)
}

#[cfg(test)]
mod tests {
    use statrs::{
        distribution::{Binomial, ContinuousCDF, Discrete, Normal},
        function::beta::ln_beta as reference_ln_beta,
    };

    use super::*;

    fn near(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} {b}");
    }

    #[test]
    fn binomial_probabilities_agree_with_statrs() {
        for (n, p) in [(1, 0.5), (20, 0.01), (100, 0.3), (1000, 0.999), (500, 0.5)] {
            let reference = Binomial::new(p, n).unwrap();
            for x in 0..=n {
                near(ln_binomial(real(x), real(n), p), reference.ln_pmf(x), 1e-9);
            }
        }
    }

    #[test]
    fn binomial_probabilities_sum_to_one() {
        for (n, p) in [(30_u32, 0.2), (2000, 0.01), (2000, 0.77)] {
            let sum: f64 = (0..=n)
                .map(|x| exp(ln_binomial(f64::from(x), f64::from(n), p)))
                .sum();
            near(sum, 1.0, 1e-12);
        }
    }

    #[test]
    fn impossible_counts_have_no_probability() {
        assert_eq!(ln_binomial(3.0, 2.0, 0.5), f64::NEG_INFINITY);
        assert_eq!(ln_binomial(0.0, 2.0, 0.0), 0.0);
        assert_eq!(ln_binomial(2.0, 2.0, 1.0), 0.0);
        assert_eq!(ln_binomial(1.0, 2.0, f64::NAN), f64::NEG_INFINITY);
    }

    #[test]
    fn beta_agrees_with_statrs_and_keeps_its_digits_for_huge_counts() {
        for (a, b) in [
            (0.5, 0.5),
            (3.0, 400.0),
            (20.0, 30.0),
            (14.9, 15.1),
            (1e4, 3e4),
        ] {
            near(ln_beta(a, b), reference_ln_beta(a, b), 1e-10);
        }
        // B(a, b+1) = B(a, b)·b/(a+b)
        let (a, b) = (1e9, 3e9);
        near(ln_beta(a, b + 1.0) - ln_beta(a, b), ln(0.75), 1e-5);
    }

    #[test]
    fn normal_tail_agrees_with_statrs_and_goes_on_below_it() {
        let normal = Normal::new(0.0, 1.0).unwrap();
        for x in [-8.0, -3.0, -1.0, 0.0, 0.5, 4.0] {
            near(ln_normal(x), ln(normal.cdf(x)), 1e-9);
        }
        near(ln_normal(-34.999_999), ln_normal(-35.000_001), 1e-6);
        assert!(ln_normal(-1e6).is_finite());
    }

    #[test]
    fn sums_of_logs_hold_far_outside_of_what_exp_can() {
        near(
            log_sum_exp([1000.0, 1000.0].into_iter()),
            1000.0 + LN_2,
            1e-15,
        );
        near(log_add_exp(-5000.0, -5000.0), -5000.0 + LN_2, 1e-15);
        assert_eq!(log_add_exp(f64::NEG_INFINITY, -3.0), -3.0);
        assert_eq!(log_sum_exp(std::iter::empty()), f64::NEG_INFINITY);
    }
}
