//! Signatures of Standard Webhooks: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
//!
//! A secret is `whsec_` and the base64 of 24 to 64 bytes. Several secrets, one a line, give several
//! signatures, so that sender and receiver can change over one after the other.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// What every secret begins with.
pub(super) const PREFIX: &str = "whsec_";
/// Bytes of a key, as the specification has it.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Most secrets at a time; a rotation needs two.
const KEYS_MAX: usize = 8;
/// Most signatures that are looked at in one header.
const SIGNATURES_MAX: usize = 16;
/// How far a timestamp may be off, in seconds, either way; the specification's libraries have it.
const TOLERANCE_SECONDS: u64 = 5 * 60;

/// The keys of one receiver or sender.
#[derive(Debug)]
pub(super) struct Keys(Vec<SecretSlice<u8>>);

impl Keys {
    /// The keys in `text`, one a line. `Err` is a sentence without any of the text.
    pub(super) fn parse(text: &SecretString) -> Result<Self, String> {
        let lines = text
            .expose_secret()
            .lines()
            .map(str::trim)
            .filter(|it| !it.is_empty());
        let keys: Option<Vec<SecretSlice<u8>>> = lines.map(key).collect();
        match keys {
            Some(keys) if (1..=KEYS_MAX).contains(&keys.len()) => Ok(Self(keys)),
            Some(_) | None => Err(format!(
                "the secret is not 1 to {KEYS_MAX} lines of {PREFIX} and the base64 of {} to {} bytes",
                KEY_BYTES.start(),
                KEY_BYTES.end()
            )),
        }
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let signatures = self
            .0
            .iter()
            .filter_map(|key| mac(key, id, timestamp, body));
        let signatures: Vec<String> = signatures
            .map(|it| format!("v1,{}", STANDARD.encode(it)))
            .collect();
        signatures.join(" ")
    }
}

fn key(line: &str) -> Option<SecretSlice<u8>> {
    let key = STANDARD.decode(line.strip_prefix(PREFIX)?).ok()?;
    KEY_BYTES
        .contains(&key.len())
        .then(|| SecretSlice::from(key))
}

fn mac(key: &SecretSlice<u8>, id: &str, timestamp: &str, body: &[u8]) -> Option<Vec<u8>> {
    // HMAC takes keys of any length, so there always is one.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().to_vec())
}

/// Whether `signature_header` holds a signature of this message by one of the secrets (one a line),
/// and `timestamp` is within five minutes of `now`. Takes the same time however much of a signature
/// is right. A receiver must also refuse an `id` that it has seen.
pub fn verify(
    secret: &SecretString,
    id: &str,
    timestamp: &str,
    body: &[u8],
    signature_header: &str,
    now: Timestamp,
) -> bool {
    let Ok(keys) = Keys::parse(secret) else {
        return false;
    };
    let Ok(seconds) = timestamp.parse::<i64>() else {
        return false;
    };
    if now.as_second().abs_diff(seconds) > TOLERANCE_SECONDS {
        return false;
    }
    let presented = signature_header
        .split_ascii_whitespace()
        .take(SIGNATURES_MAX);
    let presented = presented.filter_map(|it| STANDARD.decode(it.strip_prefix("v1,")?).ok());
    let presented: Vec<Vec<u8>> = presented.collect();
    let mut found = Choice::from(0);
    for expected in keys
        .0
        .iter()
        .filter_map(|key| mac(key, id, timestamp, body))
    {
        for signature in &presented {
            found |= expected.ct_eq(signature);
        }
    }
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_published_example_is_signed_and_verified() {
        let keys = Keys::parse(&secret(SECRET)).unwrap();
        assert_eq!(keys.sign(ID, TIMESTAMP, BODY), SIGNATURE);
        let now = at(1_614_265_330);
        assert!(verify(&secret(SECRET), ID, TIMESTAMP, BODY, SIGNATURE, now));
        let among_others = format!("v1a,AAAA v1,AAAA {SIGNATURE} v2,x");
        assert!(verify(
            &secret(SECRET),
            ID,
            TIMESTAMP,
            BODY,
            &among_others,
            now
        ));
    }

    #[test]
    fn anything_changed_is_refused() {
        let now = at(1_614_265_330);
        let other = format!("whsec_{}", STANDARD.encode([7; 24]));
        for (secret_text, id, timestamp, body, signature) in [
            (other.as_str(), ID, TIMESTAMP, BODY, SIGNATURE),
            ("", ID, TIMESTAMP, BODY, SIGNATURE),
            (SECRET, "msg_other", TIMESTAMP, BODY, SIGNATURE),
            (SECRET, ID, "1614265331", BODY, SIGNATURE),
            (SECRET, ID, "soon", BODY, SIGNATURE),
            (SECRET, ID, TIMESTAMP, br#"{"test":2432232314}"#, SIGNATURE),
            (SECRET, ID, TIMESTAMP, BODY, ""),
            (SECRET, ID, TIMESTAMP, BODY, "v1,"),
            (
                SECRET,
                ID,
                TIMESTAMP,
                BODY,
                "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                SECRET,
                ID,
                TIMESTAMP,
                BODY,
                "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
            (
                SECRET,
                ID,
                TIMESTAMP,
                BODY,
                "v1,h0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ] {
            assert!(
                !verify(&secret(secret_text), id, timestamp, body, signature, now),
                "{id} {signature}"
            );
        }
    }

    #[test]
    fn five_minutes_either_way_and_no_more() {
        for (offset, fits) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let now = at(1_614_265_330 + offset);
            let verified = verify(&secret(SECRET), ID, TIMESTAMP, BODY, SIGNATURE, now);
            assert_eq!(verified, fits, "{offset}");
        }
        assert!(!verify(
            &secret(SECRET),
            ID,
            &i64::MIN.to_string(),
            BODY,
            SIGNATURE,
            at(0)
        ));
    }

    #[test]
    fn several_lines_sign_several_times_and_any_verifies() {
        let new = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = Keys::parse(&secret(&format!("{new}\n\n{SECRET}\n"))).unwrap();
        let header = both.sign(ID, TIMESTAMP, BODY);
        assert_eq!(header.split(' ').count(), 2);
        for one in [SECRET, &new] {
            assert!(verify(
                &secret(one),
                ID,
                TIMESTAMP,
                BODY,
                &header,
                at(1_614_265_330)
            ));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        for text in [
            "",
            "hunter2",
            "whsec_",
            "whsec_aHVudGVyMg==",
            "whsec_!",
            &format!("{SECRET}\nhunter2"),
        ] {
            let said = Keys::parse(&secret(text)).unwrap_err();
            assert!(
                !said.contains("hunter2") && !said.contains("aHVudGVyMg"),
                "{said}"
            );
        }
    }
}
