//! What a latency gate's verdict rests on.

use serde::{Deserialize, Serialize};

use super::{Latency, LatencyState, boundary::Boundary};
use crate::{
    counts::Arm,
    said::{said, seconds},
    verdict::Verdict,
    words::{count, percent, short},
};

/// What a latency gate knows, for people and for the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyEvidence {
    /// How the gate stands.
    pub verdict: Verdict,
    /// The bound at which the candidate looks worst, in the metric's unit; `None` before any is
    /// compared.
    pub bound: Option<f64>,
    /// The candidate's requests since that bound is compared, and those slower than it.
    pub candidate: Arm,
    /// Stable's.
    pub stable: Arm,
    /// How many bounds are compared.
    pub bounds: u32,
    /// `ln E` of all bounds together.
    pub log_e: f64,
    /// The chance of a false rollback that is kept.
    pub alpha: f64,
    /// The chance of a false pass that is kept.
    pub beta: f64,
    /// From the first window's beginning to the decision, or to the last window's end, in seconds.
    pub seconds: f64,
}

impl Latency {
    /// What `state` knows.
    pub fn evidence(&self, state: &LatencyState) -> LatencyEvidence {
        let log_e = |it: &&Boundary| it.log_e();
        let boundaries = state.boundaries.iter();
        let worst = boundaries.max_by(|a, b| log_e(a).total_cmp(&log_e(b)));
        let arm = |n: u64, x: u64| Arm::new(n, x);
        let until_ms = state.decided_ms.or(state.passed_ms).or(state.watermark_ms);
        LatencyEvidence {
            verdict: state.verdict,
            bound: worst.map(|it| it.bound),
            candidate: worst.map_or(arm(state.requests.0, 0), |it| arm(it.requests.0, it.slow.0)),
            stable: worst.map_or(arm(state.requests.1, 0), |it| arm(it.requests.1, it.slow.1)),
            bounds: state.boundaries.len() as u32,
            log_e: state.log_e(),
            alpha: self.policy.alpha,
            beta: self.policy.beta,
            seconds: seconds(state.started_ms, until_ms),
        }
    }
}

impl LatencyEvidence {
    /// One sentence; bounds are taken as seconds.
    pub fn sentence(&self) -> String {
        let said = said(self.verdict, (self.alpha, self.beta), self.seconds);
        let Some(bound) = self.bound else {
            let requests = self.candidate.requests.saturating_add(self.stable.requests);
            return format!(
                "latency: {} requests, none compared yet; {said}",
                count(requests)
            );
        };
        let bound = match bound < 1.0 {
            true => format!("{} ms", short(bound * 1000.0)),
            false => format!("{} s", short(bound)),
        };
        format!(
            "latency: {} of candidate's {} requests took over {bound}, {} of stable's {}; {said}",
            percent(self.candidate.rate()),
            count(self.candidate.requests),
            percent(self.stable.rate()),
            count(self.stable.requests),
        )
    }
}
