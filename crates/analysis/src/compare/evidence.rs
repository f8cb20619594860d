//! What a verdict rests on, in numbers and in plain words.

use serde::{Deserialize, Serialize};

use super::{Compare, CompareState, Parts};
use crate::{
    counts::Arm,
    said::{said, seconds},
    strata::rate_at_most,
    verdict::{Grounds, Verdict},
    words::{count, percent, short},
};

/// What a compare gate knows, for people and for the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// How the gate stands.
    pub verdict: Verdict,
    /// The candidate's totals that were compared.
    pub candidate: Arm,
    /// Stable's totals that were compared.
    pub stable: Arm,
    /// Totals left out as warm-up: the candidate's, stable's.
    pub warming: (Arm, Arm),
    /// The candidate's rate as a multiple of stable's, estimated within each share; `None` when
    /// stable had no bad requests.
    pub ratio: Option<f64>,
    /// The smallest ratio that is not refuted at `alpha`; `None` when none is.
    pub ratio_at_least: Option<f64>,
    /// The largest ratio that is not refuted at `beta`; `None` when none is.
    pub ratio_at_most: Option<f64>,
    /// The largest rate of the candidate that is not refuted at `beta`.
    pub candidate_rate_at_most: f64,
    /// The chance of a false rollback that is kept.
    pub alpha: f64,
    /// The chance of a false pass that is kept.
    pub beta: f64,
    /// The over-dispersion by which evidence is divided.
    pub phi: f64,
    /// The logs of the e-values.
    pub parts: Parts,
    /// From the first window's beginning to the decision, or to the last window's end, in seconds.
    pub seconds: f64,
}

impl Compare {
    /// What `state` knows.
    pub fn evidence(&self, state: &CompareState) -> Evidence {
        let policy = &self.policy;
        let phi = self.phi(state);
        let mut strata = state.strata.clone();
        if let Some(it) = &state.block {
            strata.add(it.share, it.candidate, it.stable);
        }
        let candidate = strata.candidate();
        let decided_ms = state.decision.map(|it| it.at_ms).or(state.passed_ms);
        let until_ms = decided_ms.or(state.watermark_ms);
        Evidence {
            verdict: state.verdict,
            candidate,
            stable: strata.stable(),
            warming: state.warming,
            ratio: strata.rate_ratio(),
            ratio_at_least: strata.ratio_at_least(policy.alpha, phi),
            ratio_at_most: strata.ratio_at_most(policy.beta, phi),
            candidate_rate_at_most: rate_at_most(candidate, policy.beta, phi),
            alpha: policy.alpha,
            beta: policy.beta,
            phi,
            parts: self.parts(state),
            seconds: seconds(state.started_ms, until_ms),
        }
    }
}

impl Evidence {
    /// One sentence; `bad` names what is bad: `errors`.
    pub fn sentence(&self, bad: &str) -> String {
        let mut parts = vec![format!(
            "{bad}: candidate {} of {} requests, stable {} of {}",
            count(self.candidate.bad),
            count(self.candidate.requests),
            count(self.stable.bad),
            count(self.stable.requests),
        )];
        let (candidate, stable) = self.warming;
        if candidate.requests + stable.requests > 0 {
            let all = count(candidate.requests.saturating_add(stable.requests));
            parts.push(format!("{all} more while warming up"));
        }
        parts.extend(self.in_ratio());
        parts.extend(self.because());
        parts.push(said(self.verdict, (self.alpha, self.beta), self.seconds));
        parts.join("; ")
    }

    fn in_ratio(&self) -> Option<String> {
        let bound = match self.verdict {
            Verdict::Rollback(_) => self.ratio_at_least.map(|it| ("at least", it)),
            Verdict::Hold(_) | Verdict::Pass | Verdict::Continue => {
                self.ratio_at_most.map(|it| ("at most", it))
            }
        };
        match (self.ratio, bound) {
            (Some(ratio), Some((word, bound))) => {
                let (ratio, bound) = (short(ratio), short(bound));
                Some(format!("ratio about {ratio} ({word} {bound})"))
            }
            (Some(ratio), None) => Some(format!("ratio about {}", short(ratio))),
            (None, Some((word, bound))) => Some(format!("ratio {word} {}", short(bound))),
            (None, None) => None,
        }
    }

    /// What is said beside the verdict itself.
    fn because(&self) -> Option<String> {
        match self.verdict {
            Verdict::Rollback(Grounds::Comparison) | Verdict::Hold(_) | Verdict::Pass => None,
            Verdict::Rollback(grounds) => Some(grounds.to_string()),
            Verdict::Continue => {
                let rate = percent(self.candidate_rate_at_most);
                Some(format!("candidate's rate at most {rate}"))
            }
        }
    }
}
