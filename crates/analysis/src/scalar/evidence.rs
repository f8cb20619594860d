//! What a scalar gate's verdict rests on, in plain words.

use super::{Limit, LimitState, Scalar, ScalarState, Worse};
use crate::{
    said::{said, seconds},
    words::{count, percent, short},
};

impl Scalar {
    /// One sentence; `name` names the number and `unit` follows it, where it has one.
    pub fn sentence(&self, state: &ScalarState, name: &str, unit: &str) -> String {
        let (word, off) = match self.policy.worse {
            Worse::Higher if state.mean >= 0.0 => ("above", state.mean),
            Worse::Higher => ("below", -state.mean),
            Worse::Lower if state.mean >= 0.0 => ("below", state.mean),
            Worse::Lower => ("above", -state.mean),
        };
        let unit = match unit {
            "" => String::new(),
            unit => format!(" {unit}"),
        };
        let batches = count(u64::from(state.batches));
        let until_ms = state.decided_ms.or(state.passed_ms).or(state.watermark_ms);
        let said = said(
            state.verdict,
            (self.policy.alpha, self.policy.beta),
            seconds(state.started_ms, until_ms),
        );
        format!(
            "{name}: candidate {}{unit} {word} stable over {batches} batches; {said}",
            short(off)
        )
    }
}

impl Limit {
    /// One sentence; `name` names the number.
    pub fn sentence(&self, state: &LimitState, name: &str) -> String {
        let word = match self.policy.worse {
            Worse::Higher => "above",
            Worse::Lower => "below",
        };
        let until_ms = state.decided_ms.or(state.passed_ms).or(state.watermark_ms);
        let said = said(
            state.verdict,
            (self.policy.alpha, self.policy.beta),
            seconds(state.started_ms, until_ms),
        );
        format!(
            "{name}: {} of {} samples {word} {}, {} tolerated; {said}",
            count(state.samples.bad),
            count(state.samples.requests),
            short(self.policy.bound),
            percent(self.policy.tolerated),
        )
    }
}
