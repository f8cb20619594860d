//! The one-sided normal mixture (Howard, Ramdas, McAuliffe & Sekhon, "Time-uniform, nonparametric,
//! nonasymptotic confidence sequences", 2021; the package confseq).

use crate::special::{ln, ln_1p, ln_normal, sqrt};

/// An e-process for sums of zero-mean normal terms with known variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalMixture {
    rho: f64,
}

/// The mixture's parameter that makes its two-sided boundary the lowest at variance `v` for level
/// `alpha`: `ρ = v / (2·ln(1/α) + ln(1 + 2·ln(1/α)))`.
pub fn best_rho(v: f64, alpha: f64) -> f64 {
    let twice = -2.0 * ln(alpha);
    v / (twice + ln_1p(twice))
}

impl NormalMixture {
    /// The one-sided mixture that is the sharpest at variance `v` for level `alpha` below ½.
    pub fn one_sided(v: f64, alpha: f64) -> Self {
        Self {
            rho: best_rho(v, 2.0 * alpha),
        }
    }

    /// `ln E` of a sum `s` whose terms' variances add up to `v` (§2.3):
    /// `½·ln(4ρ/(v+ρ)) + s²/(2(v+ρ)) + ln Φ(s/√(v+ρ))`.
    pub fn log_e(&self, s: f64, v: f64) -> f64 {
        let spread = v + self.rho;
        let z = s / sqrt(spread);
        0.5 * ln(4.0 * self.rho / spread) + 0.5 * z * z + ln_normal(z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_confseq() {
        // confseq, test/uniform_boundaries_unittest.cpp.
        assert!((best_rho(100.0, 0.05) - 12.600_56).abs() < 1e-5);
        let mixture = NormalMixture::one_sided(100.0, 0.05);
        assert!((mixture.log_e(10.0, 100.0) + 0.065_023_91).abs() < 1e-8);
        let (mut low, mut high) = (0.0, 100.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            match mixture.log_e(middle, 100.0) < -ln(0.05) {
                true => low = middle,
                false => high = middle,
            }
        }
        assert!((low - 27.660_71).abs() < 1e-5, "{low}");
    }
}
