//! Numbers in stored state, bit for bit.
//!
//! JSON has no infinity, and a reader may round a number to its neighbour (serde_json does so by
//! default). A stored state must continue with the very bits it was written with, so its numbers are
//! written as the shortest decimal text that reads back exactly.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}"))
}

pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| D::Error::custom(format!("\"{text}\" is no number")))
}

/// Many numbers as one text, parted by spaces.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        values: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let words: Vec<String> = values.iter().map(|it| format!("{it:?}")).collect();
        words.join(" ").serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(
        deserializer: D,
    ) -> Result<Vec<f64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.split_ascii_whitespace()
            .map(|it| it.parse::<f64>())
            .collect::<Result<_, _>>()
            .map_err(|_| D::Error::custom("not a list of numbers"))
    }
}

/// As many numbers as a state has places for, as [`list`].
pub(crate) mod array {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        values: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        list::serialize(values, serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>, const N: usize>(
        deserializer: D,
    ) -> Result<[f64; N], D::Error> {
        let values = list::deserialize(deserializer)?;
        let count = values.len();
        let wrong = |_| D::Error::custom(format!("{count} numbers instead of {N}"));
        values.try_into().map_err(wrong)
    }
}
