//! What is known of a number's noise before the rollout: measured on stable's own past, or nothing.

use serde::{Deserialize, Serialize};

use crate::special::{real, sqrt};

/// What is known of the number's noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Noise {
    /// From at least a day of stable's past.
    Known {
        /// The standard deviation of a batch's mean.
        deviation: f64,
        /// How one batch's mean resembles the next one's, −1 to 1.
        autocorrelation: f64,
    },
    /// Nothing; it is estimated as the rollout goes.
    Unknown,
}

impl Noise {
    /// From the means of consecutive batches of stable's past; [`Noise::Unknown`] for less than a
    /// hundred, a number that is not finite, or means that never differ.
    pub fn of(means: &[f64]) -> Self {
        const LEAST: usize = 100;
        let count = real(means.len() as u64);
        let mean = means.iter().sum::<f64>() / count;
        let square = |it: f64| it * it;
        let variance = means.iter().map(|it| square(it - mean)).sum::<f64>() / (count - 1.0);
        let next = means.iter().skip(1);
        let pairs = means.iter().zip(next).map(|(a, b)| (a - mean) * (b - mean));
        let autocorrelation = pairs.sum::<f64>() / (variance * (count - 1.0));
        let deviation = sqrt(variance);
        let usable = means.len() >= LEAST && deviation > 0.0 && deviation.is_finite();
        match usable && autocorrelation.is_finite() {
            // A series that resembles itself less than chance is taken as independent.
            true => Self::Known {
                deviation,
                autocorrelation: autocorrelation.clamp(0.0, 0.99),
            },
            false => Self::Unknown,
        }
    }
}
