//! The session's cookie: its text, its name, and how it is read and set.
//!
//! The text is an id in base62 (22 characters), by which the session is found, and 43 random
//! characters (256 bits), of which only a hash is kept.

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use rand::distr::{Alphanumeric, SampleString as _};
use uuid::Uuid;

use super::token;

/// Characters of the random part: 62^43 is more than 2^256.
const RANDOM: usize = 43;
/// The session's cookie. Browsers keep a cookie that is named `__Host-…` only if it is `Secure`, comes
/// over a connection that they hold for secure (https, or this machine), and is for this host alone:
/// no other site of the domain, and nobody on the way, can plant one.
pub(crate) const SESSION: &str = "__Host-sluice-session";
/// The cookie that binds a sign-in under way to its browser.
pub(crate) const SIGN_IN: &str = "__Host-sluice-sign-in";

/// The value of a cookie of ours; `None` when it is not there, or twice: then somebody else has set
/// one of them.
pub(crate) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.filter_map(|it| it.to_str().ok());
    let pairs = pairs.flat_map(|it| it.split(';'));
    let mut values = pairs.filter_map(|it| {
        let (key, value) = it.trim().split_once('=')?;
        (key == name).then_some(value)
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Sets a cookie that ends at `until`; `None` for a value that no cookie can hold.
pub(crate) fn set(name: &str, value: &str, until: Timestamp) -> Option<HeaderValue> {
    let left = until.duration_since(Timestamp::now());
    line(name, value, left.max(SignedDuration::ZERO).as_secs())
}

/// Takes a cookie back.
pub(crate) fn clear(name: &str) -> Option<HeaderValue> {
    line(name, "", 0)
}

fn line(name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!(
        "{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax; Secure"
    ))
    .ok()
}

/// A new text for the session `id`.
pub(super) fn generate(id: Uuid) -> String {
    let random = Alphanumeric.sample_string(&mut rand::rng(), RANDOM);
    token::encode(id.as_u128(), token::ID) + &random
}

/// The id in a cookie's text; `None` if it cannot be one of ours.
pub(super) fn parse(text: &str) -> Option<Uuid> {
    let (id, random) = text.split_at_checked(token::ID)?;
    let plain = random.bytes().all(|it| it.is_ascii_alphanumeric());
    let whole = random.len() == RANDOM && plain;
    whole
        .then(|| token::decode(id))
        .flatten()
        .map(Uuid::from_u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_text_is_parsed_back_and_nothing_else_is() {
        let id = Uuid::now_v7();
        let text = generate(id);
        assert_eq!(parse(&text), Some(id));
        assert_ne!(text, generate(id));
        for wrong in [
            "",
            "x",
            &text[1..],
            &format!("{text}x"),
            &text.replace(&text[30..31], ";"),
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name_and_once() {
        let check = |lines: &[&str], expect: Option<&str>| {
            assert_eq!(read(&cookies(lines), SESSION), expect, "{lines:?}");
        };
        check(&["a=b; __Host-sluice-session=abc"], Some("abc"));
        check(&["a=b", "__Host-sluice-session=abc"], Some("abc"));
        check(&["sluice-session=abc"], None);
        check(
            &["__Host-sluice-session=abc; __Host-sluice-session=def"],
            None,
        );
        check(&["x__Host-sluice-session=abc"], None);
        check(&[], None);
    }

    #[test]
    fn cookies_are_out_of_reach_of_scripts_and_other_sites() {
        let until = Timestamp::now() + SignedDuration::from_secs(100);
        let line = set(SESSION, "abc", until).unwrap();
        let line = line.to_str().unwrap();
        assert!(
            line.starts_with("__Host-sluice-session=abc; Path=/; Max-Age="),
            "{line}"
        );
        assert!(line.ends_with("HttpOnly; SameSite=Lax; Secure"), "{line}");
        assert!(!line.contains("Domain"), "{line}");
        let line = clear(SESSION).unwrap();
        assert!(line.to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(set(SESSION, "a\nb", until), None);
    }
}
