//! Gates: a question asked again and again, and the fold that turns measurements into a verdict.
//!
//! Measuring is a driver's work; judging is here and is pure: `fold(state, measurement) -> state`.
//! The state is serialised and committed with the rollout, so a crash and a replay judge alike.
//! A gate fails closed: only a reading that says "good" counts towards a pass (invariant I9).
//!
//! Thresholds and webhooks are judged by rows of readings in one step. Statistical gates gather
//! [`Evidence`] over the whole rollout, by the tests of crate `analysis`; [`counting`] makes whole
//! counts of what a metric source shows.

mod counted;
pub mod counting;
mod evidence;
mod gates;
mod read;
mod reading;
mod shares;
mod threshold;
mod webhook;
mod weigh;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use counted::{Arms, CompareGate, Counters, LatencyGate, Metric, ScalarGate, SloGate};
pub use evidence::Evidence;
pub use gates::Gates;
pub use reading::{HistogramWindow, Measurement, NoDataCause, Reading};
pub use shares::Shares;
pub use threshold::Threshold;
pub use webhook::WebhookGate;

/// How a gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The question was answered well often enough.
    Pass,
    /// The question was answered badly often enough.
    Fail,
    /// There are answers, not yet enough of them to say.
    Inconclusive,
    /// Going on would be unfair or blind, and the candidate is not to blame: both revisions fail
    /// alike, or traffic is not split as asked. It is waited out.
    Hold,
    /// There is no usable answer; the last measurement says why.
    NoData,
}

/// What a gate asks for when it cannot pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GatePolicy {
    /// Take the traffic back to stable.
    Rollback,
    /// Hold at the step until a person decides.
    Pause,
    /// Go on measuring at the step until there is a verdict.
    Extend,
    /// Go on as if it had passed: the gate only tells.
    Promote,
}

/// One gate of an app file, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Its name, unique in the app.
    pub name: String,
    /// What it asks and how answers are judged.
    pub question: Question,
    /// The time between two measurements.
    pub interval: SignedDuration,
    /// What to do when it fails.
    pub on_fail: GatePolicy,
    /// What to do when a gate step's time is over and it is still inconclusive.
    pub on_inconclusive: GatePolicy,
    /// What to do when a gate step's time is over and there is no data. Promotes only where the app
    /// file says so.
    pub on_no_data: GatePolicy,
}

/// The kinds of gate: one file and one row each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Question {
    /// A number compared with a fixed bound.
    Threshold(Threshold),
    /// A service of the user's that answers for itself.
    Webhook(WebhookGate),
    /// Bad requests of candidate and stable, compared.
    Compare(CompareGate),
    /// Latencies of candidate and stable, compared.
    Latency(LatencyGate),
    /// An objective's budget.
    Slo(SloGate),
    /// A plain number of candidate and stable, compared.
    Scalar(ScalarGate),
}

impl Question {
    fn judge(&self, state: &GateState, reading: &Reading) -> Verdict {
        match self {
            Self::Threshold(it) => it.judge(state, reading),
            Self::Webhook(it) => it.judge(state, reading),
            Self::Compare(_) | Self::Latency(_) | Self::Slo(_) | Self::Scalar(_) => Verdict::NoData,
        }
    }

    /// Whether it is asked of the metric source.
    pub fn needs_metrics(&self) -> bool {
        match self {
            Self::Webhook(_) => false,
            Self::Threshold(_)
            | Self::Compare(_)
            | Self::Latency(_)
            | Self::Slo(_)
            | Self::Scalar(_) => true,
        }
    }

    /// Whether it counts how long requests took.
    pub fn is_histogram(&self) -> bool {
        match self {
            Self::Latency(_) => true,
            Self::Threshold(_)
            | Self::Webhook(_)
            | Self::Compare(_)
            | Self::Slo(_)
            | Self::Scalar(_) => false,
        }
    }

    /// Whether it counts requests, from where their counters stood at the measurement before.
    pub fn counts(&self) -> bool {
        match self {
            Self::Threshold(_) | Self::Webhook(_) | Self::Scalar(_) => false,
            Self::Compare(_) | Self::Latency(_) | Self::Slo(_) => true,
        }
    }

    /// The settings, if it compares bad requests.
    pub fn compare(&self) -> Option<&CompareGate> {
        match self {
            Self::Compare(it) => Some(it),
            Self::Threshold(_)
            | Self::Webhook(_)
            | Self::Latency(_)
            | Self::Slo(_)
            | Self::Scalar(_) => None,
        }
    }

    /// What would be good, in words.
    pub fn bound(&self) -> String {
        match self {
            Self::Threshold(it) => it.bound(),
            Self::Webhook(it) => format!("{} must answer pass", it.url),
            Self::Compare(it) => it.bound(),
            Self::Latency(it) => it.bound(),
            Self::Slo(it) => it.bound(),
            Self::Scalar(it) => it.bound(),
        }
    }

    /// Good readings in a row that make it pass.
    pub(crate) fn pass_after(&self) -> u32 {
        match self {
            Self::Threshold(it) => it.pass_after,
            Self::Webhook(it) => it.pass_after,
            // Its own evidence says how much is enough.
            Self::Compare(_) | Self::Latency(_) | Self::Slo(_) | Self::Scalar(_) => 1,
        }
    }

    /// Whether this single reading is good; `None` when it says neither.
    fn is_good(&self, reading: &Reading) -> Option<bool> {
        match self {
            Self::Threshold(it) => it.is_good(reading),
            Self::Webhook(it) => it.is_good(reading),
            Self::Compare(_) | Self::Latency(_) | Self::Slo(_) | Self::Scalar(_) => None,
        }
    }
}

/// What a gate has learnt in one step and attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateState {
    /// How it stands.
    pub verdict: Verdict,
    /// Measurements folded in.
    pub measured: u32,
    /// Good readings in a row, up to now.
    pub good_in_a_row: u32,
    /// Bad readings in a row; a reading without data leaves the row as it is.
    pub bad_in_a_row: u32,
    /// The newest measurement.
    pub last: Option<Measurement>,
    /// What a statistical gate knows after it, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Whether a statistical gate has made the exact test of this step's end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub looked: bool,
}

impl Default for GateState {
    fn default() -> Self {
        Self {
            verdict: Verdict::NoData,
            measured: 0,
            good_in_a_row: 0,
            bad_in_a_row: 0,
            last: None,
            evidence: None,
            looked: false,
        }
    }
}

impl GateState {
    pub(super) fn has(&self, measurement: &Measurement) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| measurement.at <= last.at)
    }
}

impl Gate {
    /// Folds one measurement into the state. A measurement that is not newer than the last one
    /// changes nothing, so that a replay or a late answer is harmless.
    pub fn fold(&self, state: &GateState, measurement: &Measurement) -> GateState {
        if state.has(measurement) {
            return state.clone();
        }
        let mut next = state.clone();
        next.measured = next.measured.saturating_add(1);
        match self.question.is_good(&measurement.reading) {
            Some(true) => {
                next.good_in_a_row = next.good_in_a_row.saturating_add(1);
                next.bad_in_a_row = 0;
            }
            Some(false) => {
                next.bad_in_a_row = next.bad_in_a_row.saturating_add(1);
                next.good_in_a_row = 0;
            }
            None => next.good_in_a_row = 0,
        }
        // A failure stands for its step and attempt: several measurements may be folded in one pass,
        // and the last of them must not hide it.
        if state.verdict != Verdict::Fail {
            next.verdict = self.question.judge(&next, &measurement.reading);
        }
        next.last = Some(measurement.clone());
        next
    }

    /// When the next measurement is due: at once for a gate that was never measured.
    pub fn due(&self, state: &GateState, now: Timestamp) -> Timestamp {
        state
            .last
            .as_ref()
            .map_or(now, |last| crate::time::after(last.at, self.interval))
    }
}

/// The verdict from rows of good and bad readings. `state` already counts `reading`.
fn judge_rows(state: &GateState, reading: &Reading, fail_after: u32, pass_after: u32) -> Verdict {
    if state.bad_in_a_row >= fail_after.max(1) {
        return Verdict::Fail;
    }
    if matches!(reading, Reading::NoData { .. }) {
        return Verdict::NoData;
    }
    if state.good_in_a_row >= pass_after.max(1) {
        return Verdict::Pass;
    }
    Verdict::Inconclusive
}
