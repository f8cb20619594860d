//! One answer to a gate's question, with every way in which there can be none.

use std::fmt;

use analysis::{Histogram, Window, scalar::ScalarWindow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verdict;

/// One measurement of one gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// When it was asked.
    pub at: Timestamp,
    /// What was answered.
    pub reading: Reading,
}

/// What a metric source or webhook answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Reading {
    /// A finite number.
    Value {
        /// The number, in the unit the gate names.
        value: f64,
    },
    /// The asked service judged by itself.
    Judged {
        /// Its verdict.
        verdict: Verdict,
        /// Its words, shortened.
        detail: String,
    },
    /// Requests counted since the measurement before, of candidate and stable.
    Counts {
        /// The counts.
        window: Window,
    },
    /// How long the requests since the measurement before took, of candidate and stable.
    Histograms {
        /// The counts.
        window: Box<HistogramWindow>,
    },
    /// A number of the candidate's and stable's at the same time.
    Pair {
        /// The numbers.
        window: ScalarWindow,
    },
    /// No usable answer.
    NoData {
        /// Why.
        cause: NoDataCause,
        /// The facts, in one short sentence.
        detail: String,
    },
}

/// Both revisions' latencies between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistogramWindow {
    /// Where it begins, in milliseconds since 1970, exclusive.
    pub from_ms: i64,
    /// Where it ends, in milliseconds since 1970, inclusive.
    pub until_ms: i64,
    /// The candidate's planned share of traffic, in hundredths of a percent.
    pub share: u32,
    /// The candidate's requests.
    pub candidate: Histogram,
    /// Stable's requests.
    pub stable: Histogram,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value { value } => f.write_str(&short(*value)),
            Self::Judged { detail, .. } => f.write_str(detail),
            Self::Counts { window } => write!(
                f,
                "candidate {} of {}, stable {} of {}",
                window.candidate.bad,
                window.candidate.requests,
                window.stable.bad,
                window.stable.requests
            ),
            Self::Histograms { window } => write!(
                f,
                "candidate {} requests, stable {}",
                window.candidate.requests(),
                window.stable.requests()
            ),
            Self::Pair { window } => write!(
                f,
                "candidate {}, stable {}",
                short(window.candidate),
                short(window.stable)
            ),
            Self::NoData { cause, detail } if cause.is_quiet() => f.write_str(detail),
            Self::NoData { detail, .. } => write!(f, "no data: {detail}"),
        }
    }
}

/// Four significant digits: what people read; the exact number stays in the measurement.
fn short(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    if !magnitude.is_finite() || !(-6.0..4.0).contains(&magnitude) {
        return format!("{value}");
    }
    let decimals = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Every way in which a metric source can fail to give one finite, fresh number. None of them is
/// ever a pass (reliability rule "gates fail closed").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoDataCause {
    /// The query matched no series.
    Empty,
    /// The value is NaN, usually 0/0: there was no traffic.
    NotANumber,
    /// The value is +Inf or -Inf.
    Infinite,
    /// The query gave more than one series where one is needed.
    SeveralSeries,
    /// The source answered with warnings: the answer may be partial.
    Warnings,
    /// The newest sample is too old.
    Stale,
    /// The answer is of another type than an instant vector or scalar.
    WrongType,
    /// The source refused the query (4xx).
    Refused,
    /// The source cannot be reached or failed (5xx).
    Unavailable,
    /// No answer in time.
    Timeout,
    /// The answer is larger than we read.
    TooLarge,
    /// The answer cannot be understood.
    Malformed,
    /// Counting has begun with this measurement; the next one counts from here.
    Begun,
    /// Nothing was scraped since the measurement before.
    NothingNew,
    /// The candidate's share changed in between, so requests before and after would be mixed.
    ShareChanged,
}

impl NoDataCause {
    /// Whether the source is in order and there is merely nothing to learn from this measurement.
    pub fn is_quiet(self) -> bool {
        match self {
            Self::Begun | Self::NothingNew | Self::ShareChanged => true,
            Self::Empty
            | Self::NotANumber
            | Self::Infinite
            | Self::SeveralSeries
            | Self::Warnings
            | Self::Stale
            | Self::WrongType
            | Self::Refused
            | Self::Unavailable
            | Self::Timeout
            | Self::TooLarge
            | Self::Malformed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_shown_with_four_significant_digits() {
        let shown = [
            0.19999999999999998,
            0.0,
            1.0,
            12.3456,
            1234.56,
            0.000123456,
            1e9,
            -0.5,
        ];
        let words = shown.map(short);
        assert_eq!(
            words,
            [
                "0.2",
                "0",
                "1",
                "12.35",
                "1235",
                "0.0001235",
                "1000000000",
                "-0.5"
            ]
        );
    }
}
