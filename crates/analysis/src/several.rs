//! What several gates say together (§2.5).
//!
//! A rollback needs the weighted mean of the gates' e-values at `1/α`: valid whatever their dependence,
//! and never later than Bonferroni with the same weights. A pass needs every gate's own pass, which
//! needs no correction. [`Verdict::together`] is for verdicts alone, when each gate keeps its own α.

use crate::{
    special::{ln, log_sum_exp, real},
    verdict::Verdict,
};

/// One gate's evidence for a rollback.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// How much it weighs, above 0; critical metrics weigh more. Only proportions matter.
    pub weight: f64,
    /// `ln E` that it is worse than acceptable.
    pub log_e: f64,
    /// What it says by itself.
    pub verdict: Verdict,
}

/// What all of them come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Together {
    /// `ln Σ w·E`, weights summing to 1; a rollback at `ln(1/α)`.
    pub log_e: f64,
    /// Whether that is a rollback.
    pub rolls_back: bool,
    /// Which metrics are proven worse, each by itself: at most α of those named are named wrongly in
    /// expectation (e-BH, Wang & Ramdas 2022).
    pub named: Vec<usize>,
    /// What they say.
    pub verdict: Verdict,
}

/// Combines `metrics` at `alpha`. Weights that are not above 0, and evidence that is NaN, count as
/// nothing: they can neither roll back nor pass.
pub fn together(metrics: &[Metric], alpha: f64) -> Together {
    let usable = |it: &&Metric| it.weight > 0.0 && it.weight.is_finite() && !it.log_e.is_nan();
    let whole: f64 = metrics.iter().filter(usable).map(|it| it.weight).sum();
    let terms = metrics.iter().filter(usable);
    let terms = terms.map(|it| it.log_e + ln(it.weight / whole));
    let log_e = log_sum_exp(terms);
    let rolls_back = log_e >= -ln(alpha);
    let unusable = metrics.iter().any(|it| !usable(&it));
    let verdicts = metrics.iter().map(|it| it.verdict);
    let verdict = match unusable {
        true => Verdict::together(verdicts.chain([Verdict::Continue])),
        false => Verdict::together(verdicts),
    };
    let named = named(metrics, alpha);
    let first = named.first().and_then(|it| metrics.get(*it));
    let verdict = match (rolls_back, verdict, first.map(|it| it.verdict)) {
        (false, _, _) | (true, Verdict::Rollback(_), _) => verdict,
        (true, _, Some(Verdict::Rollback(grounds))) => Verdict::Rollback(grounds),
        (true, _, _) => Verdict::Rollback(crate::verdict::Grounds::Comparison),
    };
    Together {
        log_e,
        rolls_back,
        named,
        verdict,
    }
}

/// e-BH: the k metrics with the largest evidence, for the largest k with `E_(k) ≥ m/(k·α)`.
fn named(metrics: &[Metric], alpha: f64) -> Vec<usize> {
    let mut order: Vec<(usize, f64)> = metrics.iter().map(|it| it.log_e).enumerate().collect();
    order.retain(|(_, log_e)| !log_e.is_nan());
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all = real(metrics.len() as u64);
    let enough = |(place, (_, log_e)): (usize, &(usize, f64))| {
        *log_e >= ln(all / (real(place as u64 + 1) * alpha))
    };
    let last = order.iter().enumerate().rposition(enough);
    let count = last.map_or(0, |it| it + 1);
    order.iter().take(count).map(|it| it.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Grounds, Hold};

    fn metric(weight: f64, e: f64, verdict: Verdict) -> Metric {
        Metric {
            weight,
            log_e: ln(e),
            verdict,
        }
    }

    #[test]
    fn the_mean_of_evidence_decides_and_names_what_moved() {
        let weak = metric(1.0, 1.0, Verdict::Continue);
        let strong = metric(1.0, 100.0, Verdict::Continue);
        let both = together(&[weak, strong], 0.05);
        assert!((both.log_e - ln(50.5)).abs() < 1e-12);
        assert_eq!(both.verdict, Verdict::Rollback(Grounds::Comparison));
        assert_eq!(both.named, [1]);
        let none = together(&[weak, weak], 0.05);
        assert_eq!((none.verdict, none.named.len()), (Verdict::Continue, 0));
    }

    #[test]
    fn weights_move_the_mean() {
        let weak = metric(9.0, 0.0, Verdict::Continue);
        let strong = metric(1.0, 100.0, Verdict::Continue);
        assert!(!together(&[weak, strong], 0.05).rolls_back);
        let heavy = Metric {
            weight: 9.0,
            ..strong
        };
        assert!(together(&[weak, heavy], 0.05).rolls_back);
    }

    #[test]
    fn all_must_pass_and_none_never_do() {
        let pass = metric(1.0, 0.1, Verdict::Pass);
        let wait = metric(1.0, 0.1, Verdict::Continue);
        let hold = metric(1.0, 0.1, Verdict::Hold(Hold::NoTraffic));
        assert_eq!(together(&[pass, pass], 0.05).verdict, Verdict::Pass);
        assert_eq!(together(&[pass, wait], 0.05).verdict, Verdict::Continue);
        let held = together(&[wait, hold, pass], 0.05).verdict;
        assert_eq!(held, Verdict::Hold(Hold::NoTraffic));
        assert_eq!(together(&[], 0.05).verdict, Verdict::Continue);
        let broken = Metric {
            log_e: f64::NAN,
            ..pass
        };
        assert_eq!(together(&[pass, broken], 0.05).verdict, Verdict::Continue);
    }
}
