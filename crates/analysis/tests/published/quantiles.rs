//! Whether two samples have the same quantile, at every time (Howard and Ramdas, 2022, section 4).
//! Published values: confseq, `QuantileABTest`.

use crate::{minimum, mixtures::BetaBinomial, near};

/// The evidence against quantile `p` for a share of a sample that is below it.
struct Mixture {
    p: f64,
    mixture: BetaBinomial,
    /// The share that is least evidence.
    least: f64,
}

impl Mixture {
    fn new(p: f64, n: f64) -> Self {
        let mixture = BetaBinomial::new(100.0 * p * (1.0 - p), p, 1.0 - p, false);
        let mut new = Self {
            p,
            mixture,
            least: p,
        };
        new.least = minimum(0.0, 1.0, |share| new.of(share, n));
        new
    }

    fn of(&self, share: f64, n: f64) -> f64 {
        let p = self.p;
        self.mixture.log((share - p) * n, p * (1.0 - p) * n)
    }
}

/// One sample, sorted.
struct Sample(Vec<f64>);

impl Sample {
    fn up_from(first: u32) -> Self {
        Self((first..first + 1000).map(f64::from).collect())
    }

    fn len(&self) -> f64 {
        self.0.iter().map(|_| 1.0).sum()
    }

    /// The least evidence that `x` is not this sample's quantile `p`: of what is below it, any count
    /// that ties allow.
    fn evidence(&self, mixture: &Mixture, x: f64) -> f64 {
        let n = self.len();
        let share = |count: usize| self.0.iter().take(count).map(|_| 1.0).sum::<f64>() / n;
        let below = share(self.0.partition_point(|it| *it < x));
        let with = share(self.0.partition_point(|it| *it <= x));
        mixture.of(mixture.least.clamp(below, with), n)
    }
}

/// The chance, at most, of samples so different if quantile `p` of both is the same.
fn p_value(p: f64, shift: u32) -> f64 {
    let (a, b) = (Sample::up_from(1), Sample::up_from(1 + shift));
    let mixture = Mixture::new(p, a.len());
    let both = |x: &f64| a.evidence(&mixture, *x) + b.evidence(&mixture, *x);
    let values = a.0.iter().chain(&b.0);
    let least = values.map(both).fold(f64::INFINITY, f64::min);
    (-least).exp().min(1.0)
}

#[test]
fn a_quantile_of_two_samples() {
    near(p_value(0.5, 70), 0.814_704);
    near(p_value(0.5, 85), 0.083_805_5);
    near(p_value(0.5, 100), 0.005_494_7);
    near(p_value(0.9, 55), 0.034_046_3);
}
