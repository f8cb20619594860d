//! One measurement of a statistical gate: what it adds to the evidence, and how the gate stands then.

use super::{
    Evidence, Gate, GateState, Measurement, NoDataCause, Reading, Verdict, evidence::Test,
};

impl Gate {
    /// Folds one measurement into a statistical gate's evidence.
    ///
    /// A window that was folded in may pass the gate. Without one a pass stands only while the source
    /// is in order and nothing was scraped since: whatever cannot be read, fails closed.
    pub(super) fn weigh(
        &self,
        test: &Test,
        state: &GateState,
        known: Evidence,
        measurement: &Measurement,
        ends: bool,
    ) -> (GateState, Evidence) {
        let mut evidence = known.clone();
        let now_ms = measurement.at.as_millisecond();
        let folded = test
            .fold(&mut evidence, &measurement.reading)
            .and_then(|is_window| {
                let open = test.verdict(&evidence, now_ms) == Verdict::Inconclusive;
                let looks = ends && open && !state.looked && evidence.watermark_ms().is_some();
                if looks {
                    test.final_look(&mut evidence)?;
                }
                Ok((is_window, looks))
            });
        let (is_window, looked) = match folded {
            Ok(it) => it,
            Err(error) => return (self.blind(state, measurement, &error.to_string()), known),
        };
        let verdict = test.verdict(&evidence, now_ms);
        let quiet = match &measurement.reading {
            Reading::NoData { cause, .. } => *cause == NoDataCause::NothingNew,
            Reading::Value { .. }
            | Reading::Judged { .. }
            | Reading::Counts { .. }
            | Reading::Histograms { .. }
            | Reading::Pair { .. } => false,
        };
        let stands = is_window || (quiet && state.verdict == Verdict::Pass);
        let verdict = match verdict {
            _ if evidence.watermark_ms().is_none() => Verdict::NoData,
            Verdict::Pass if !stands => Verdict::Inconclusive,
            verdict => verdict,
        };
        let known_now = evidence.watermark_ms().is_some();
        let next = GateState {
            verdict,
            measured: state.measured.saturating_add(1),
            good_in_a_row: u32::from(verdict == Verdict::Pass),
            bad_in_a_row: u32::from(verdict == Verdict::Fail),
            last: Some(measurement.clone()),
            evidence: known_now
                .then(|| test.sentence(&evidence, &self.name))
                .flatten(),
            looked: state.looked || looked,
        };
        (next, evidence)
    }

    /// A measurement that could not be judged.
    pub(super) fn blind(
        &self,
        state: &GateState,
        measurement: &Measurement,
        why: &str,
    ) -> GateState {
        GateState {
            verdict: Verdict::NoData,
            measured: state.measured.saturating_add(1),
            good_in_a_row: 0,
            last: Some(measurement.clone()),
            evidence: Some(format!("{}: {why}", self.name)),
            ..state.clone()
        }
    }
}
