//! The text of a token: made, and read back.

use rand::distr::{Alphanumeric, SampleString as _};
use uuid::Uuid;

/// Every token begins with it, for scanners.
const PREFIX: &str = "sluice";
/// Characters of an id: 62^22 is more than 2^128.
pub(super) const ID: usize = 22;
/// Characters of the random part: 62^30 is more than 2^178.
const RANDOM: usize = 30;
/// Characters of the checksum: 62^6 is more than 2^32.
const CRC: usize = 6;
/// The digits.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Who a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A person.
    Person,
    /// A machine: it may not approve.
    Ci,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Ci => "ci",
        }
    }
}

/// A new text for the token `id`.
pub(super) fn generate(kind: Kind, id: Uuid) -> String {
    let random = Alphanumeric.sample_string(&mut rand::rng(), RANDOM);
    let id = encode(id.as_u128(), ID);
    let body = format!("{PREFIX}_{}_{id}_{random}", kind.word());
    let crc = checksum(&body);
    body + &crc
}

/// The kind and the id in a token's text; `None` if it cannot be one of ours.
pub(super) fn parse(text: &str) -> Option<(Kind, Uuid)> {
    let (body, crc) = text.split_at_checked(text.len().checked_sub(CRC)?)?;
    let mut parts = body.split('_');
    let (prefix, kind, id, random) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let kind = [Kind::Person, Kind::Ci]
        .into_iter()
        .find(|it| it.word() == kind)?;
    let whole = parts.next().is_none() && prefix == PREFIX && random.len() == RANDOM;
    let plain = random.bytes().all(|it| it.is_ascii_alphanumeric());
    let right = whole && plain && checksum(body) == crc;
    let id = decode(id).filter(|_| right)?;
    Some((kind, Uuid::from_u128(id)))
}

fn checksum(body: &str) -> String {
    encode(u128::from(crc32fast::hash(body.as_bytes())), CRC)
}

pub(super) fn encode(mut number: u128, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for place in digits.iter_mut().rev() {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        number /= 62;
    }
    String::from_utf8(digits).unwrap_or_default()
}

pub(super) fn decode(text: &str) -> Option<u128> {
    if text.len() != ID {
        return None;
    }
    text.bytes().try_fold(0_u128, |number, byte| {
        let digit = DIGITS.iter().position(|it| *it == byte)?;
        number.checked_mul(62)?.checked_add(digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_back() {
        for id in [Uuid::nil(), Uuid::max(), Uuid::now_v7()] {
            for kind in [Kind::Person, Kind::Ci] {
                let text = generate(kind, id);
                assert_eq!(parse(&text), Some((kind, id)), "{text}");
                assert!(
                    text.bytes()
                        .all(|it| it.is_ascii_alphanumeric() || it == b'_')
                );
            }
        }
        assert_ne!(
            generate(Kind::Ci, Uuid::nil()),
            generate(Kind::Ci, Uuid::nil())
        );
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = generate(Kind::Ci, Uuid::now_v7());
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(parse(&changed), None, "{changed}");
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        for text in [
            "",
            "sluice",
            "sluice_ci__",
            "sluice_ci_ä_öüßöüßöüß",
            "_____",
            "ééé",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let long = "sluice_ci_".to_owned() + &"z".repeat(100_000);
        assert_eq!(parse(&long), None);
        // An id above 2^128 with a right checksum.
        let body = format!("sluice_ci_{}_{}", "z".repeat(ID), "a".repeat(RANDOM));
        let text = format!("{body}{}", checksum(&body));
        assert_eq!(parse(&text), None);
    }
}
