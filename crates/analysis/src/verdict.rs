//! What a gate says: four verdicts, in the order in which one overrules the other (§2.5).

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a gate stands. `Rollback` overrules `Hold`, which overrules `Pass`, which overrules
/// `Continue`, for one gate; [`Verdict::together`] is what several gates say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "verdict", content = "because")]
pub enum Verdict {
    /// The candidate is proven worse than the policy allows. Stands once said.
    Rollback(Grounds),
    /// Moving on would be blind or unfair now; the candidate is not to blame.
    Hold(Hold),
    /// The candidate is proven not worse than the policy allows. Never said for want of evidence.
    Pass,
    /// Neither is proven yet. At the end of a gate's time this means "inconclusive".
    Continue,
}

/// Which evidence weighed most for a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grounds {
    /// Worse than stable at the same time, beyond margin and floor.
    Comparison,
    /// Above the absolute ceiling, and much worse than stable.
    Ceiling,
    /// Above what stable's history ever showed, and worse than stable now.
    History,
    /// The exact test at a gate's end.
    FinalLook,
}

/// Why a rollout should stay where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hold {
    /// Candidate and stable are bad alike: something both depend on fails.
    SharedIncident,
    /// No window arrived for longer than the policy allows.
    NoData,
    /// The candidate got no requests for longer than the policy allows.
    NoTraffic,
    /// Stable got no requests for longer than the policy allows, so there is nothing to compare with.
    NoBaseline,
    /// Traffic is not split as planned.
    ShareMismatch,
    /// The candidate is worse than stable, though within the margin.
    WithinMargin,
    /// The histograms of the arms have no bound in common.
    NoCommonBound,
}

impl Verdict {
    /// This verdict at `now_ms`, unless no window came for longer than `patience_seconds`. A rollback
    /// that was decided stands.
    pub(crate) fn unless_silent(
        self,
        watermark_ms: Option<i64>,
        now_ms: i64,
        patience_seconds: f64,
    ) -> Self {
        let since_ms = watermark_ms.map_or(0, |it| now_ms.saturating_sub(it));
        let silent = since_ms as f64 >= patience_seconds * 1000.0;
        match self {
            Self::Rollback(_) => self,
            Self::Hold(_) | Self::Pass | Self::Continue if silent => Self::Hold(Hold::NoData),
            Self::Hold(_) | Self::Pass | Self::Continue => self,
        }
    }

    /// What several gates say together: the one that overrules the others (§2.5). `Continue` for
    /// none, so that no gates at all never pass.
    pub fn together(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut pass = None;
        let mut worst = None;
        for it in verdicts {
            match it {
                // All must pass; one that does not pass yet keeps the others waiting.
                Self::Pass => pass = Some(it),
                Self::Rollback(_) | Self::Hold(_) | Self::Continue => {
                    worst = Some(worst.map_or(it, |worst: Self| worst.min(it)));
                }
            }
        }
        worst.or(pass).unwrap_or(Self::Continue)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rollback(grounds) => write!(f, "roll back: {grounds}"),
            Self::Hold(hold) => write!(f, "hold: {hold}"),
            Self::Pass => f.write_str("pass"),
            Self::Continue => f.write_str("not enough data yet"),
        }
    }
}

impl fmt::Display for Grounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comparison => "worse than stable",
            Self::Ceiling => "above the ceiling, and stable is not",
            Self::History => "above all that stable showed before",
            Self::FinalLook => "worse than stable by the exact test at the end",
        })
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedIncident => "candidate and stable are bad alike",
            Self::NoData => "no data arrives",
            Self::NoTraffic => "the candidate gets no requests",
            Self::NoBaseline => "stable gets no requests to compare with",
            Self::ShareMismatch => "traffic is not split as planned",
            Self::WithinMargin => "worse than stable, within the margin",
            Self::NoCommonBound => "the histograms have no bucket bound in common",
        })
    }
}
