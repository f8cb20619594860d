//! The likelihood ratio of a t statistic under a shift against none (§2.3, no history).

use crate::special::{exp, ln, ln_gamma, sqrt};

/// Terms on each side of the integrand's peak, at most; it has vanished long before.
const TERMS_MAX: u32 = 20_000;
/// The step of the sum, in standard deviations of the integrand about its peak.
const STEP: f64 = 0.2;
/// What is below this on a log scale against the peak does not count.
const VANISHED: f64 = -42.0;

/// `ln f_nct(t; ν, √n·δ)/f_t(t; ν)` of `n` values with this mean and this sum of squares about it.
/// The t statistic is written so that values without spread need no division by zero:
/// `t/√(ν+t²) = mean·√n/√(squares + n·mean²)`. 0 when all values are 0.
pub fn log_ratio(mean: f64, squares: f64, n: f64, shift: f64) -> f64 {
    let length = sqrt(squares + n * mean * mean);
    if length == 0.0 || n < 2.0 {
        return 0.0;
    }
    let noncentrality = sqrt(n) * shift;
    let a = noncentrality * (mean * sqrt(n) / length);
    let nu = n - 1.0;
    let norm = 0.5 * (nu - 1.0) * std::f64::consts::LN_2 + ln_gamma(0.5 * (nu + 1.0));
    -0.5 * noncentrality * noncentrality + ln_integral(nu, a) - norm
}

/// `ln ∫₀^∞ y^ν·e^(−y²/2 + a·y) dy`, by equal steps in `ln y`: the integrand is smooth and vanishes
/// at both ends, where such a sum converges faster than any power of its step.
fn ln_integral(nu: f64, a: f64) -> f64 {
    let log = |u: f64| {
        let y = exp(u);
        (nu + 1.0) * u - 0.5 * y * y + a * y
    };
    let peak_y = 0.5 * (a + sqrt(a * a + 4.0 * (nu + 1.0)));
    let peak = ln(peak_y);
    let top = log(peak);
    let step = STEP / sqrt(peak_y * peak_y + nu + 1.0);
    let mut sum = 1.0;
    for direction in [step, -step] {
        for count in 1..TERMS_MAX {
            let term = log(peak + direction * f64::from(count)) - top;
            if term < VANISHED {
                break;
            }
            sum += exp(term);
        }
    }
    top + ln(sum * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_ratio() {
        // §4.2: t = 2.1, ν = 7, μ = 1.3. Eight values with that t: mean 1, squares from t = √n·mean/sd.
        let n = 8.0;
        let sd = sqrt(n) / 2.1;
        let ratio = log_ratio(1.0, 7.0 * sd * sd, n, 1.3 / sqrt(n));
        assert!((ratio - 1.536_687_62).abs() < 1e-8, "{ratio}");
    }

    #[test]
    fn the_integral_of_known_cases() {
        // a = 0: 2^((ν−1)/2)·Γ((ν+1)/2).
        for nu in [1.0, 2.0, 5.0, 40.0, 500.0] {
            let exact = 0.5 * (nu - 1.0) * std::f64::consts::LN_2 + ln_gamma(0.5 * (nu + 1.0));
            assert!(
                (ln_integral(nu, 0.0) - exact).abs() < 1e-11 * exact.abs().max(1.0),
                "{nu}"
            );
        }
    }

    #[test]
    fn values_without_spread_are_no_division_by_zero() {
        assert_eq!(log_ratio(0.0, 0.0, 5.0, 1.0), 0.0);
        assert!(log_ratio(1.0, 0.0, 5.0, 1.0).is_finite());
        assert!(log_ratio(-1.0, 0.0, 5.0, 4.0) < 0.0);
    }
}
