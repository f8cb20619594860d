//! What the figures must come to, and whether they do.

/// One promise and what was measured.
#[derive(Debug, Clone)]
pub struct Target {
    /// What is promised.
    pub what: String,
    /// The bound, in words.
    pub bound: String,
    /// What was measured, in words.
    pub measured: String,
    /// Whether it is kept.
    pub met: bool,
}

impl Target {
    /// A measured number that must not exceed `most`; both shown by `show`.
    pub fn at_most(
        what: impl Into<String>,
        measured: f64,
        most: f64,
        show: impl Fn(f64) -> String,
    ) -> Self {
        Self {
            what: what.into(),
            bound: format!("≤ {}", show(most)),
            measured: show(measured),
            met: measured <= most,
        }
    }

    /// A measured number that must reach `least`.
    pub fn at_least(
        what: impl Into<String>,
        measured: f64,
        least: f64,
        show: impl Fn(f64) -> String,
    ) -> Self {
        Self {
            what: what.into(),
            bound: format!("≥ {}", show(least)),
            measured: show(measured),
            met: measured >= least,
        }
    }

    /// Something that must hold.
    pub fn holds(what: impl Into<String>, met: bool) -> Self {
        Self {
            what: what.into(),
            bound: "always".to_owned(),
            measured: if met { "always" } else { "not always" }.to_owned(),
            met,
        }
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Minutes, or "never" for what is infinite.
pub fn minutes(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.2} min"),
        false => "never".to_owned(),
    }
}

/// A plain number.
pub fn number(value: f64) -> String {
    format!("{value:.0}")
}
