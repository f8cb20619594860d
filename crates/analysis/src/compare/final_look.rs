//! The exact test at a gate's end (§2.1, hybrid final look).
//!
//! A test that may be looked at any time pays for it at a fixed horizon. A part of α is kept for one
//! or a few exact conditional tests, which get that power back; by the union bound the sum of both
//! parts bounds the chance of a false rollback.

use super::{Compare, CompareState};
use crate::{
    counts::InputError,
    special::real,
    strata::Stratum,
    tail::{Draws, Law, binomial_tail, upper_tail},
    verdict::Grounds,
};

/// Above this rate bad requests are not rare, and drawing without replacement says it exactly (§2.1).
const RARE: f64 = 0.05;

/// What the exact test found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FinalLook {
    /// The chance of so many bad requests of the candidate within the margin, given all.
    pub comparison: f64,
    /// The chance of so many below the floor; 0 without a floor, which is then no obstacle.
    pub floor: f64,
    /// What both must not exceed for a rollback.
    pub alpha: f64,
}

impl Compare {
    /// Makes one of the policy's exact tests at the time of the last window. `None` when none is
    /// left, when the rollback is decided already, or when nothing was compared yet.
    ///
    /// # Errors
    /// The state's fault; it is then as it was before.
    pub fn final_look(&self, state: &mut CompareState) -> Result<Option<FinalLook>, InputError> {
        self.check(state)?;
        let Some(watermark_ms) = state.watermark_ms else {
            return Ok(None);
        };
        if state.looks >= self.policy.final_looks || state.decision.is_some() {
            return Ok(None);
        }
        // The block under way is known data; leaving it out would be a choice after looking.
        if let Some(block) = state.block.take() {
            self.end_block(state, &block);
            self.judge(state, watermark_ms);
            if state.decision.is_some() {
                return Ok(None);
            }
        }
        state.looks += 1;
        let look = self.exact_test(state);
        if look.comparison <= look.alpha && look.floor <= look.alpha {
            self.decide(state, Grounds::FinalLook, watermark_ms);
        }
        Ok(Some(look))
    }

    fn exact_test(&self, state: &CompareState) -> FinalLook {
        let phi = self.phi(state);
        let theta = self.policy.null_ratio();
        let strata = state.strata.iter().filter_map(|it| draws(it, theta, phi));
        let strata: Vec<Draws> = strata.collect();
        let compared = state.strata.iter().filter(|it| it.ratio().is_some());
        let x: u64 = compared.map(|it| fewer(it.candidate.bad, phi)).sum();
        let candidate = state.strata.candidate();
        let floor = match self.policy.floor > 0.0 {
            true => binomial_tail(
                fewer(candidate.bad, phi),
                more(candidate.requests, phi),
                self.policy.floor,
            ),
            false => 0.0,
        };
        FinalLook {
            comparison: upper_tail(&strata, x),
            floor,
            alpha: self.policy.alpha_final(),
        }
    }
}

/// A stratum's draws. Over-dispersed counts are worth 1/φ of themselves: dividing a count by φ gives
/// a quasi-Poisson count the variance that the test assumes. Rounding favours the candidate.
fn draws(stratum: &Stratum, theta: f64, phi: f64) -> Option<Draws> {
    let chance = stratum.chance(theta)?;
    let bad = fewer(stratum.candidate.bad, phi) + more(stratum.stable.bad, phi);
    let (c, b) = (stratum.candidate.requests, stratum.stable.requests);
    let often = real(stratum.bad()) > RARE * (real(c) + real(b));
    // With a margin the draws would be Fisher's noncentral ones, whose odds depend on the unknown
    // rate; the binomial law has the larger variance and so errs towards no rollback.
    let law = match often && theta == 1.0 {
        true => Law::Hypergeometric(more(c, phi), more(b, phi)),
        false => Law::Binomial(chance),
    };
    Some(Draws { bad, law })
}

fn fewer(count: u64, phi: f64) -> u64 {
    match phi > 1.0 {
        true => (real(count) / phi).floor() as u64,
        false => count,
    }
}

fn more(count: u64, phi: f64) -> u64 {
    match phi > 1.0 {
        true => (real(count) / phi).ceil() as u64,
        false => count,
    }
}
