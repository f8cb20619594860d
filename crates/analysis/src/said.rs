//! The end of every gate's sentence: what its verdict means, and when it was reached.

use crate::{
    verdict::Verdict,
    words::{duration, percent},
};

/// Chances of error that are kept: of a false rollback, of a false pass.
pub(crate) type Chances = (f64, f64);

/// The verdict in words, reached `seconds` after the first window began.
pub(crate) fn said(verdict: Verdict, (alpha, beta): Chances, seconds: f64) -> String {
    let after = duration(seconds);
    match verdict {
        Verdict::Rollback(_) => {
            let chance = percent(alpha);
            format!("false alarm chance ≤ {chance}; decided after {after}")
        }
        Verdict::Pass => {
            let chance = percent(beta);
            format!("false pass chance ≤ {chance}; decided after {after}")
        }
        Verdict::Hold(hold) => format!("held after {after}: {hold}"),
        Verdict::Continue => format!("not enough data after {after}"),
    }
}

/// From the first window's beginning to `until_ms`, in seconds.
pub(crate) fn seconds(from_ms: Option<i64>, until_ms: Option<i64>) -> f64 {
    from_ms.zip(until_ms).map_or(0.0, |(from, until)| {
        until.saturating_sub(from) as f64 / 1000.0
    })
}
