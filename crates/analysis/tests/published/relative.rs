//! The relative difference of two means, at every time: an asymptotic confidence sequence (Waudby-Smith
//! et al., arXiv 2103.06476, eq. 9 and 161) of the delta method's variance. Published value:
//! GrowthBook, gbstats, `TestSequentialTTest`. Its one-sided form competes in the benchmark.

use crate::near;

/// How many, their sum and the sum of their squares.
struct Sample(f64, f64, f64);

impl Sample {
    fn mean(&self) -> f64 {
        self.1 / self.0
    }

    /// The variance of the mean.
    fn variance(&self) -> f64 {
        (self.2 - self.1 * self.mean()) / (self.0 - 1.0) / self.0
    }
}

/// The relative difference, and half the width of its interval at 5 %.
fn uplift(a: &Sample, b: &Sample, tuning: f64) -> (f64, f64) {
    let ratio = b.mean() / a.mean();
    let n = a.0 + b.0;
    let variance = n * (b.variance() + a.variance() * ratio * ratio) / (a.mean() * a.mean());
    let twice = -2.0 * 0.05_f64.ln();
    let rho = ((twice + twice.ln_1p()) / tuning).sqrt();
    let grown = n * rho * rho + 1.0;
    let reach = 2.0 * grown * (grown.sqrt() / 0.05).ln();
    (ratio - 1.0, (variance * reach).sqrt() / (n * rho))
}

#[test]
fn a_relative_difference_of_means() {
    let a = Sample(3000.0, 1396.87, 52_377.976_7);
    let b = Sample(3461.0, 2422.7, 134_698.29);
    let (difference, half) = uplift(&a, &b, 1000.0);
    near(difference, 0.503_36);
    near(difference - half, -0.558_44);
    near(difference + half, 1.565_16);
}
