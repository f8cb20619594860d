//! Ranges of a policy's numbers, with an error that names the field.

/// A policy's number that is out of its range; for a grid without points, how many it has.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {value}, not within {} to {}", brief(*least), brief(*most))]
pub struct PolicyError {
    /// The field, as it is written in a document.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// The least that is allowed.
    pub least: f64,
    /// The most that is allowed.
    pub most: f64,
}

/// A bound as people write it: not hundreds of digits.
fn brief(bound: f64) -> String {
    match bound == 0.0 || (1e-6..1e9).contains(&bound.abs()) {
        true => bound.to_string(),
        false => format!("{bound:e}"),
    }
}

/// Checks one number; NaN is in no range.
pub(crate) fn within(
    field: &'static str,
    value: f64,
    least: f64,
    most: f64,
) -> Result<(), PolicyError> {
    let error = PolicyError {
        field,
        value,
        least,
        most,
    };
    (least <= value && value <= most).then_some(()).ok_or(error)
}

/// Checks a chance of error. Not above one half: such a promise is none, and some formulas need it.
pub(crate) fn chance(field: &'static str, value: f64) -> Result<(), PolicyError> {
    within(field, value, 1e-12, 0.49)
}
