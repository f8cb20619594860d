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
/// What the session's cookie is called.
pub(crate) const SESSION: &str = "sluice-session";
/// What the cookie is called that binds a sign-in under way to its browser.
pub(crate) const SIGN_IN: &str = "sluice-sign-in";

/// How cookies are set. Browsers keep a cookie that is named `__Host-…` only if it is `Secure`, comes
/// over a connection they hold for secure, and is for this host alone: no other site of the domain,
/// and nobody on the way, can plant one. People who use a server on their own machine over plain
/// http, where not every browser takes such cookies, get plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookies {
    /// Whether they are `__Host-` and `Secure`.
    pub(crate) secure: bool,
}

impl Cookies {
    fn name(self, name: &str) -> String {
        match self.secure {
            true => format!("__Host-{name}"),
            false => name.to_owned(),
        }
    }

    /// The value of a cookie of ours; `None` when it is not there, or twice: then somebody else
    /// has set one of them.
    pub(crate) fn read<'a>(self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let name = self.name(name);
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
    pub(crate) fn set(self, name: &str, value: &str, until: Timestamp) -> Option<HeaderValue> {
        let left = until.duration_since(Timestamp::now());
        self.line(name, value, left.max(SignedDuration::ZERO).as_secs())
    }

    /// Takes a cookie back.
    pub(crate) fn clear(self, name: &str) -> Option<HeaderValue> {
        self.line(name, "", 0)
    }

    fn line(self, name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let name = self.name(name);
        HeaderValue::from_str(&format!(
            "{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        ))
        .ok()
    }
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

    const HOST: Cookies = Cookies { secure: true };
    const PLAIN: Cookies = Cookies { secure: false };

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
        let check = |cookies_: Cookies, lines: &[&str], expect: Option<&str>| {
            let headers = cookies(lines);
            assert_eq!(cookies_.read(&headers, SESSION), expect, "{lines:?}");
        };
        check(HOST, &["a=b; __Host-sluice-session=abc"], Some("abc"));
        check(HOST, &["a=b", "__Host-sluice-session=abc"], Some("abc"));
        check(HOST, &["sluice-session=abc"], None);
        check(PLAIN, &["sluice-session=abc"], Some("abc"));
        check(PLAIN, &["sluice-session=abc; sluice-session=def"], None);
        check(PLAIN, &["xsluice-session=abc"], None);
        check(PLAIN, &[], None);
    }

    #[test]
    fn cookies_are_out_of_reach_of_scripts_and_other_sites() {
        let until = Timestamp::now() + SignedDuration::from_secs(100);
        let line = HOST.set(SESSION, "abc", until).unwrap();
        let line = line.to_str().unwrap();
        assert!(
            line.starts_with("__Host-sluice-session=abc; Path=/; Max-Age="),
            "{line}"
        );
        assert!(line.ends_with("HttpOnly; SameSite=Lax; Secure"), "{line}");
        assert!(!line.contains("Domain"), "{line}");
        let line = PLAIN.clear(SESSION).unwrap();
        assert!(line.to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(PLAIN.set(SESSION, "a\nb", until), None);
    }
}
