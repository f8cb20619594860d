//! Exact upper tails: the chance of at least so many bad requests of the candidate, given all.
//!
//! Where an exact sum would take too long Chernoff's bound is used instead; it is larger, so a test
//! by it rejects less often and keeps its promise.

use crate::special::{chernoff_exponent, exp, ln, ln_1p, ln_binomial, real, sqrt};

/// Most terms that one tail sums up. Enough for a standard deviation of about 50,000.
const TERMS_MAX: u64 = 1_000_000;
/// Most multiplications of one convolution: some milliseconds.
const PRODUCTS_MAX: usize = 4_000_000;
/// What is below this part of a sum does not change it.
const NEGLIGIBLE: f64 = 1e-18;
/// Standard deviations about the mean that a stratum's distribution is kept for: the rest weighs less
/// than 1e-30 and is added to the tail.
const SPREAD: f64 = 12.0;
/// The weight of what is not kept, for every stratum.
const LOST: f64 = 1e-28;

/// A stratum of an exact test: `bad` bad requests of both arms, each the candidate's with `chance`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Draws {
    pub(crate) bad: u64,
    pub(crate) law: Law,
}

/// How many of a stratum's bad requests are the candidate's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Law {
    /// Each with this chance: binomial.
    Binomial(f64),
    /// Drawn without replacement from this many requests of the candidate and of stable: Fisher's.
    Hypergeometric(u64, u64),
}

impl Draws {
    fn mean(self) -> f64 {
        real(self.bad) * self.chance()
    }

    fn chance(self) -> f64 {
        match self.law {
            Law::Binomial(chance) => chance,
            Law::Hypergeometric(c, b) => real(c) / real(c.saturating_add(b)).max(1.0),
        }
    }

    /// The smallest and largest count that can be.
    fn support(self) -> (u64, u64) {
        match self.law {
            Law::Binomial(_) => (0, self.bad),
            Law::Hypergeometric(c, b) => (self.bad.saturating_sub(b), self.bad.min(c)),
        }
    }

    /// `ln P(X = x)`.
    fn ln_mass(self, x: u64) -> f64 {
        let n = real(self.bad);
        match self.law {
            Law::Binomial(chance) => ln_binomial(real(x), n, chance),
            Law::Hypergeometric(c, b) => {
                let (c, b, x) = (real(c), real(b), real(x));
                let p = n / (c + b);
                ln_binomial(x, c, p) + ln_binomial(n - x, b, p) - ln_binomial(n, c + b, p)
            }
        }
    }

    /// `P(X = x+1) / P(X = x)`.
    fn step(self, x: u64) -> f64 {
        let (n, x) = (real(self.bad), real(x));
        match self.law {
            Law::Binomial(chance) => (n - x) / (x + 1.0) * chance / (1.0 - chance),
            Law::Hypergeometric(c, b) => {
                (n - x) / (x + 1.0) * (real(c) - x) / (real(b) - n + x + 1.0)
            }
        }
    }
}

/// `P(X ≥ x)` for the sum of all strata's candidates' bad requests, or a bound above it.
pub(crate) fn upper_tail(strata: &[Draws], x: u64) -> f64 {
    let mean: f64 = strata.iter().map(|it| it.mean()).sum();
    // Below its mean nothing is remarkable; a p-value of 1 says so without a sum.
    if real(x) <= mean {
        return 1.0;
    }
    match strata {
        [] => 1.0,
        [one] => single(*one, x).unwrap_or_else(|| chernoff(strata, x)),
        several => convolved(several, x).unwrap_or_else(|| chernoff(several, x)),
    }
}

/// `P(X ≥ x)` for X binomial with `n` trials of chance `p`, or a bound above it.
pub(crate) fn binomial_tail(x: u64, n: u64, p: f64) -> f64 {
    let draws = Draws {
        bad: n,
        law: Law::Binomial(p),
    };
    upper_tail(&[draws], x)
}

/// The tail of one stratum above its mean: terms fall, so they are summed until they vanish.
fn single(draws: Draws, x: u64) -> Option<f64> {
    let (_, last) = draws.support();
    if x > last {
        return Some(0.0);
    }
    let first = draws.ln_mass(x);
    let (mut term, mut sum) = (1.0_f64, 0.0_f64);
    let mut at = x;
    while term > NEGLIGIBLE * sum {
        sum += term;
        if at == last {
            break;
        }
        if at - x >= TERMS_MAX {
            return None;
        }
        term *= draws.step(at);
        at += 1;
    }
    Some(exp(first + ln(sum)).min(1.0))
}

/// The kept part of one distribution: the masses from `from` on.
struct Kept {
    from: u64,
    masses: Vec<f64>,
}

fn kept(draws: Draws) -> Option<Kept> {
    let (least, most) = draws.support();
    let mean = draws.mean();
    let deviation = sqrt(mean * (1.0 - draws.chance())).max(1.0);
    let reach = SPREAD * deviation + 40.0;
    let from = ((mean - reach).max(0.0) as u64).max(least);
    let until = ((mean + reach) as u64 + 1).min(most);
    if until < from || until - from > TERMS_MAX {
        return None;
    }
    let masses = (from..=until).map(|x| exp(draws.ln_mass(x))).collect();
    Some(Kept { from, masses })
}

fn convolved(strata: &[Draws], x: u64) -> Option<f64> {
    let mut sum = Kept {
        from: 0,
        masses: vec![1.0],
    };
    let mut products = 0_usize;
    for draws in strata {
        let next = kept(*draws)?;
        products += sum.masses.len().saturating_mul(next.masses.len());
        if products > PRODUCTS_MAX {
            return None;
        }
        let mut masses = vec![0.0; sum.masses.len() + next.masses.len() - 1];
        for (offset, a) in sum.masses.iter().enumerate() {
            for (mass, b) in masses.iter_mut().skip(offset).zip(&next.masses) {
                *mass += a * b;
            }
        }
        sum = Kept {
            from: sum.from + next.from,
            masses,
        };
    }
    let skipped = x.saturating_sub(sum.from) as usize;
    // From the smallest mass to the largest, so that none is lost.
    let tail: f64 = sum.masses.iter().skip(skipped).rev().sum();
    Some((tail + LOST * real(strata.len() as u64)).min(1.0))
}

/// `min over λ ≥ 0 of Π E[e^(λX_s)]·e^(−λx)`. A hypergeometric count is below the binomial one with
/// the same mean in every convex order (Hoeffding 1963), so the binomial's bound holds for both.
fn chernoff(strata: &[Draws], x: u64) -> f64 {
    if let [one] = strata {
        let n = real(one.bad);
        return exp(-chernoff_exponent(real(x), n, one.chance()));
    }
    let exponent = |lambda: f64| -> f64 {
        let growth = libm::expm1(lambda);
        let moments: f64 = strata
            .iter()
            .map(|it| real(it.bad) * ln_1p(it.chance() * growth))
            .sum();
        moments - lambda * real(x)
    };
    // Convex in λ: the smallest value by thirds. Any λ gives a valid bound.
    let (mut low, mut high) = (0.0_f64, 50.0_f64);
    for _ in 0..120 {
        let third = (high - low) / 3.0;
        if exponent(low + third) < exponent(high - third) {
            high -= third;
        } else {
            low += third;
        }
    }
    exp(exponent(0.5 * (low + high)).min(0.0))
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{Binomial, DiscreteCDF, Hypergeometric};

    use super::*;

    fn binomial(bad: u64, chance: f64) -> Draws {
        let law = Law::Binomial(chance);
        Draws { bad, law }
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs() + 1e-27, "{a} {b}");
    }

    #[test]
    fn one_stratum_agrees_with_statrs() {
        for (n, p) in [(10, 0.3), (400, 0.05), (5000, 0.5)] {
            let reference = Binomial::new(p, n).unwrap();
            let mean = (n as f64 * p) as u64;
            for x in [mean + 1, mean + 3, n.min(mean + 40), n] {
                near(upper_tail(&[binomial(n, p)], x), reference.sf(x - 1));
            }
        }
    }

    #[test]
    fn drawing_without_replacement_agrees_with_statrs() {
        let reference = Hypergeometric::new(400, 100, 60).unwrap();
        let law = Law::Hypergeometric(100, 300);
        let draws = Draws { bad: 60, law };
        for x in [16, 20, 30, 60] {
            near(upper_tail(&[draws], x), reference.sf(x - 1));
        }
    }

    #[test]
    fn strata_of_one_share_are_one_stratum() {
        let split = [binomial(30, 0.2), binomial(50, 0.2), binomial(20, 0.2)];
        for x in [21, 25, 40] {
            near(upper_tail(&split, x), upper_tail(&[binomial(100, 0.2)], x));
        }
    }

    #[test]
    fn strata_of_different_shares_are_convolved() {
        let strata = [binomial(3, 0.5), binomial(2, 0.1)];
        // P(X ≥ 4) = P(3)·P(≥ 1) + P(2)·P(2) = ⅛·0.19 + ⅜·0.01.
        near(upper_tail(&strata, 4), 0.125 * 0.19 + 0.375 * 0.01);
    }

    #[test]
    fn what_is_too_large_to_sum_gets_a_bound_that_is_not_below_the_truth() {
        let small = [binomial(2000, 0.3), binomial(1000, 0.1)];
        let exact = upper_tail(&small, 780);
        assert!(chernoff(&small, 780) >= exact);
        assert!(chernoff(&small, 780) <= exact * 20.0);
        let huge = [binomial(1_000_000_000_000, 0.3), binomial(7, 0.1)];
        let p = upper_tail(&huge, 300_010_000_000);
        assert!(p > 0.0 && p < 1e-50, "{p}");
    }

    #[test]
    fn below_the_mean_nothing_is_remarkable() {
        assert_eq!(upper_tail(&[binomial(100, 0.5)], 50), 1.0);
        assert_eq!(upper_tail(&[], 0), 1.0);
        assert_eq!(binomial_tail(0, 0, 0.5), 1.0);
        assert_eq!(binomial_tail(3, 2, 0.5), 0.0);
    }
}
