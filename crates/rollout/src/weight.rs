//! A share of an app's traffic, exact to a hundredth of a percent.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A share of traffic in hundredths of a percent (0 to 10,000). Written and read as a percentage:
/// `5`, `12.5`. Integers, so that the weights of an app always sum to exactly [`Weight::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u32);

impl Weight {
    /// No traffic.
    pub const ZERO: Self = Self(0);
    /// All traffic.
    pub const ALL: Self = Self(10_000);

    /// From a percentage; `None` outside 0 to 100, for NaN, and for more than two decimals.
    pub fn from_percent(percent: f64) -> Option<Self> {
        let hundredths = percent * 100.0;
        let rounded = hundredths.round();
        let fits = (0.0..=10_000.0).contains(&rounded) && (hundredths - rounded).abs() < 1e-6;
        fits.then_some(Self(rounded as u32))
    }

    /// From hundredths of a percent, capped at [`Weight::ALL`].
    pub fn from_hundredths(hundredths: u32) -> Self {
        Self(hundredths.min(Self::ALL.0))
    }

    /// The share `part` of `whole` rounded down, capped at all; all when `whole` is zero.
    pub fn of(part: u64, whole: u64) -> Self {
        let hundredths = part.saturating_mul(10_000).checked_div(whole);
        Self(hundredths.map_or(10_000, |it| it.min(10_000) as u32))
    }

    /// Hundredths of a percent.
    pub fn hundredths(self) -> u32 {
        self.0
    }

    /// The percentage, for people and for JSON.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// What is left of all traffic beside this share.
    pub fn rest(self) -> Self {
        Self(Self::ALL.0.saturating_sub(self.0))
    }

    /// The distance between two shares.
    pub fn distance(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }

    /// How many of `replicas` instances carry this share, rounded up; at least one for any traffic.
    pub fn instances(self, replicas: u32) -> u32 {
        let exact = u64::from(self.0) * u64::from(replicas);
        u32::try_from(exact.div_ceil(10_000)).unwrap_or(replicas)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u32(self.0 / 100)
        } else {
            serializer.serialize_f64(self.percent())
        }
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        Self::from_percent(percent)
            .ok_or_else(|| D::Error::custom(format!("{percent} is not a weight from 0 to 100")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_survive_json_and_nonsense_is_refused() {
        for percent in [0.0, 5.0, 12.5, 33.33, 100.0] {
            let weight = Weight::from_percent(percent).unwrap();
            let json = serde_json::to_string(&weight).unwrap();
            assert_eq!(
                serde_json::from_str::<Weight>(&json).unwrap(),
                weight,
                "{json}"
            );
        }
        for percent in [-1.0, 100.5, 0.001, f64::NAN, f64::INFINITY] {
            assert_eq!(Weight::from_percent(percent), None, "{percent}");
        }
    }

    #[test]
    fn instances_are_rounded_up_and_huge_counts_do_not_overflow() {
        assert_eq!(Weight::from_hundredths(500).instances(3), 1);
        assert_eq!(Weight::from_hundredths(5000).instances(3), 2);
        assert_eq!(Weight::ZERO.instances(3), 0);
        assert_eq!(Weight::ALL.instances(u32::MAX), u32::MAX);
        assert_eq!(Weight::of(u64::MAX, 1), Weight::ALL);
    }
}
