//! What others wrote, as it can be kept.

use sha2::{Digest as _, Sha256};

/// Most bytes of an alert's name.
pub(super) const NAME_MAX: usize = 200;
/// Most bytes of what it says: it becomes part of the rollout's history.
pub(super) const DETAIL_MAX: usize = 2000;
/// Most bytes of what tells an alert from others: an index of Postgres has rows of 2.7 kB at most.
pub(super) const KEY_MAX: usize = 256;

/// A text that Postgres takes (it keeps no NUL) and that is no longer than `max` bytes. One that had
/// to be cut ends with what tells it from others that begin alike.
pub(super) fn bounded(text: &str, max: usize) -> String {
    let kept = text.replace('\0', "\u{fffd}");
    if kept.len() <= max {
        return kept;
    }
    let digest: [u8; 32] = Sha256::digest(text).into();
    let (first, _) = digest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let mark = format!("… #{:016x}", u64::from_be_bytes(*first));
    let end = kept.floor_char_boundary(max.saturating_sub(mark.len()));
    format!("{}{mark}", kept.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_they_may_be_and_stay_different() {
        assert_eq!(bounded("p99 > 2 s", NAME_MAX), "p99 > 2 s");
        assert_eq!(bounded("a\0b", NAME_MAX), "a\u{fffd}b");
        let long = "ä".repeat(KEY_MAX);
        let (one, other) = (bounded(&long, KEY_MAX), bounded(&(long + "b"), KEY_MAX));
        assert!(one.len() <= KEY_MAX && other.len() <= KEY_MAX, "{one}");
        assert!(one.starts_with("ää") && one != other, "{one} {other}");
    }
}
