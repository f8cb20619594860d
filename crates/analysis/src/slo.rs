//! Objectives and error budgets (§2.4).
//!
//! - [`Burn`] is a gate: does the candidate alone burn its budget many times too fast?
//! - [`is_burning`] is the multi-window alert of the SRE workbook on the whole service. It holds a
//!   rollout; it does not blame the candidate.
//! - [`excess`] and [`share_within`] bound the harm of a rollout: errors beyond what stable would have
//!   had, and the next share that cannot spend more than a slice of the budget.

mod burn;

use serde::{Deserialize, Serialize};

pub use burn::{BURN_VERSION, Burn, BurnPolicy, BurnState};

use crate::{
    counts::Arm,
    special::real,
    strata::{Strata, rate_at_most},
};

/// A burn rate and the two windows that must both exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BurnAlert {
    /// How many times faster than sustainable.
    pub rate: f64,
    /// The long window, in seconds: that it matters.
    pub long_seconds: u32,
    /// The short window, in seconds: that it still goes on.
    pub short_seconds: u32,
}

/// The alerts of the SRE workbook, chapter 5, that are fast enough to matter to a rollout.
pub const BURN_ALERTS: [BurnAlert; 2] = [
    BurnAlert {
        rate: 14.4,
        long_seconds: 3_600,
        short_seconds: 300,
    },
    BurnAlert {
        rate: 6.0,
        long_seconds: 21_600,
        short_seconds: 1_800,
    },
];

/// Whether the whole service burns its budget at `rate` in both windows. `objective` is the share of
/// good requests promised, such as 0.999. Windows without requests do not burn.
pub fn is_burning(objective: f64, rate: f64, long: Arm, short: Arm) -> bool {
    let ceiling = rate * (1.0 - objective);
    // Written so that NaN, of a broken objective, burns: it must not look like calm.
    let calm = |it: Arm| it.requests == 0 || it.rate() < ceiling;
    !calm(long) && !calm(short)
}

/// Errors of the candidate beyond the acceptable ratio to stable's, with confidence 1 − `alpha`: of
/// X errors at a ratio of at least θ, those beyond θ0 are `X·(1 − θ0/θ)`. 0 when θ may be below θ0.
///
/// Compared with a part of the budget it is the harm cap: it also stops a regression below a floor,
/// which no other evidence does, once it has cost that much.
pub fn excess(strata: &Strata, null_ratio: f64, alpha: f64, phi: f64) -> f64 {
    let least = strata.ratio_at_least(alpha, phi).unwrap_or(0.0);
    match least > null_ratio {
        true => real(strata.candidate().bad) * (1.0 - null_ratio / least),
        false => 0.0,
    }
}

/// The largest share of traffic, 0 to 1, at which the candidate cannot spend more than `budget` bad
/// requests of `requests` in the time ahead, at the worst rate that its counts do not refute at
/// `beta`. What is known of no requests allows only what the budget itself is of all of them.
pub fn share_within(candidate: Arm, beta: f64, requests: f64, budget: f64) -> f64 {
    let worst = rate_at_most(candidate, beta, 1.0) * requests;
    match budget > 0.0 && worst > 0.0 {
        true => (budget / worst).min(1.0),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_needs_both_windows() {
        let [fast, _] = BURN_ALERTS;
        let bad = Arm::new(10_000, 200);
        let good = Arm::new(10_000, 5);
        let burning = |long, short| is_burning(0.999, fast.rate, long, short);
        assert!(burning(bad, bad));
        assert!(!burning(bad, good));
        assert!(!burning(good, bad));
        assert!(!burning(Arm::default(), bad));
        assert!(is_burning(f64::NAN, fast.rate, bad, bad));
    }

    #[test]
    fn harm_is_counted_only_where_it_is_proven() {
        let mut strata = Strata::default();
        strata.add(2500, Arm::new(1000, 1), Arm::new(3000, 3));
        assert_eq!(excess(&strata, 1.1, 0.05, 1.0), 0.0);
        strata.add(2500, Arm::new(10_000, 300), Arm::new(30_000, 30));
        let harm = excess(&strata, 1.1, 0.05, 1.0);
        assert!((200.0..301.0).contains(&harm), "{harm}");
    }

    #[test]
    fn more_known_good_requests_allow_a_larger_share() {
        let share = |arm| share_within(arm, 0.05, 60_000.0, 300.0);
        let shares = [0, 300, 10_000].map(|it| share(Arm::new(it, 0)));
        assert!((shares[0] - 0.005).abs() < 1e-12, "{shares:?}");
        assert!(shares[0] < shares[1] && shares[1] < shares[2], "{shares:?}");
        assert_eq!(shares[2], 1.0);
        assert_eq!(share_within(Arm::new(9, 0), 0.05, 1.0, 0.0), 0.0);
    }
}
