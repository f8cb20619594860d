//! Whether traffic was really split as planned (sample-ratio mismatch, §4.1 pitfall 2).
//!
//! The Dirichlet-multinomial e-process of Lindon & Malek (arXiv 2011.03567; the author's reference
//! function gives `p = min(1, lm0/lm1)` with concentration 100·share) on counts of requests, one
//! factor a stratum. It holds where requests are assigned one by one; for sticky sessions or
//! connections it would see mismatches that are none, so a policy must ask for it.

use serde::{Deserialize, Serialize};

use crate::{
    counts::SHARE_ALL,
    special::{ln, ln_1p, ln_beta, real},
    strata::{Strata, Stratum},
};

/// The weight of the belief in the planned share, in requests.
pub const CONCENTRATION: f64 = 100.0;

/// When a split counts as another one than planned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareCheck {
    /// The chance of a false mismatch, over all looks together.
    pub alpha: f64,
    /// How far a share may be from the planned one, as a part of it: 0.1 lets 25 % be 22.5 to 27.5 %.
    /// Routers round weights, and nobody wants a rollout held for a tenth of a percent.
    pub tolerance: f64,
}

impl Default for ShareCheck {
    fn default() -> Self {
        Self {
            alpha: 0.001,
            tolerance: 0.1,
        }
    }
}

impl ShareCheck {
    /// Whether the counts refute every share within the tolerance.
    pub fn is_mismatch(&self, strata: &Strata) -> bool {
        self.log_e(strata) >= -ln(self.alpha)
    }

    /// `ln E` against "each stratum's share is within the tolerance of the planned one". Shares of
    /// nothing and of all are skipped: there is no second arm.
    pub fn log_e(&self, strata: &Strata) -> f64 {
        strata.iter().map(|it| self.stratum(it)).sum()
    }

    fn stratum(&self, stratum: &Stratum) -> f64 {
        let planned = f64::from(stratum.share) / f64::from(SHARE_ALL);
        let (c, b) = (
            real(stratum.candidate.requests),
            real(stratum.stable.requests),
        );
        if stratum.share == 0 || stratum.share >= SHARE_ALL || c + b == 0.0 {
            return 0.0;
        }
        let low = planned * (1.0 - self.tolerance);
        let high = (planned * (1.0 + self.tolerance)).min(1.0 - (1.0 - planned) * 0.5);
        let null = (c / (c + b)).clamp(low, high);
        log_bayes_factor((c, b), planned, null)
    }
}

/// `ln(lm1/lm0)`: the counts' likelihood under a share that is uncertain about `planned`, against
/// their likelihood under exactly `null`.
pub fn log_bayes_factor(counts: (f64, f64), planned: f64, null: f64) -> f64 {
    let (c, b) = counts;
    let (a1, a2) = (CONCENTRATION * planned, CONCENTRATION * (1.0 - planned));
    let uncertain = ln_beta(a1 + c, a2 + b) - ln_beta(a1, a2);
    uncertain - c * ln(null) - b * ln_1p(-null)
}
