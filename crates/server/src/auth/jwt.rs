//! Signed tokens of others (JWT, RFC 7519): taken apart, held against a key, and their claims checked.
//!
//! Only three algorithms are known, each bound to a kind of key: a token cannot choose to be unsigned,
//! nor to have a public key taken for a shared secret. The signatures themselves are `ring`'s work.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token that is looked at: what CI providers send is about 2 KiB.
const TEXT_MAX: usize = 16 << 10;
/// By how many seconds two clocks may differ.
const LEEWAY: i64 = 30;

/// The claims of a token.
pub(crate) type Claims = Map<String, Value>;

/// Why a token is refused; for the caller, whose token it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

fn refuse<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// A public key of a provider.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its name.
    kid: Option<String>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed: 4, x, y.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.material.algorithm())
            .finish_non_exhaustive()
    }
}

impl Material {
    /// The one algorithm that a key of this kind is good for.
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
            Self::Ed25519(_) => Algorithm::EdDsa,
        }
    }
}

/// A key as providers publish it (RFC 7517).
#[derive(Debug, Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key; `None` for one that is of no use here: of another kind, or not for signatures.
    pub(crate) fn key(&self) -> Option<Key> {
        let bytes = |it: &Option<String>| URL_SAFE_NO_PAD.decode(it.as_deref()?).ok();
        let curve = self.crv.as_deref().unwrap_or_default();
        let (material, algorithm) = match (self.kty.as_str(), curve) {
            ("RSA", _) => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                (Material::Rsa { n, e }, "RS256")
            }
            ("EC", "P-256") => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                (Material::P256([vec![4], x, y].concat()), "ES256")
            }
            ("OKP", "Ed25519") => (Material::Ed25519(bytes(&self.x)?), "EdDSA"),
            _ => return None,
        };
        let for_this =
            |it: &Option<String>, wanted: &str| it.as_deref().is_none_or(|it| it == wanted);
        let good = for_this(&self.purpose, "sig") && for_this(&self.alg, algorithm);
        good.then(|| Key {
            kid: self.kid.clone(),
            material,
        })
    }
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A token whose signature has not been checked: nothing in it is to be believed.
pub(crate) struct Unverified<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Refused> {
        let shape = || Refused("it is not a signed JWT in compact form".to_owned());
        if text.len() > TEXT_MAX {
            return refuse(format!("it is longer than {TEXT_MAX} bytes"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(shape)?;
        let (header, payload) = signed.split_once('.').ok_or_else(shape)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| shape());
        let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| shape())?;
        let claims = serde_json::from_slice(&bytes(payload)?).map_err(|_| shape())?;
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            "EdDSA" | "Ed25519" => Algorithm::EdDsa,
            other => {
                let other: String = other.chars().take(20).collect();
                return refuse(format!(
                    "its algorithm is {other:?}; RS256, ES256 and EdDSA are accepted"
                ));
            }
        };
        if header.crit.is_some() {
            return refuse("it demands extensions (crit) that are not known here");
        }
        if header.typ.is_some_and(|it| !it.eq_ignore_ascii_case("JWT")) {
            return refuse("it is of another type (typ) than JWT");
        }
        Ok(Self {
            algorithm,
            kid: header.kid,
            signed,
            signature: bytes(signature)?,
            claims,
        })
    }

    /// Who it says has signed it: tells where to look for the key, and nothing else.
    pub(crate) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The key that it must be signed with: the one it names, or the only one of its kind.
    pub(crate) fn key<'k>(&self, keys: &'k [Key]) -> Option<&'k Key> {
        let mut fitting = keys.iter().filter(|key| {
            let named = self.kid.is_none() || key.kid == self.kid;
            named && key.material.algorithm() == self.algorithm
        });
        let key = fitting.next()?;
        fitting.next().is_none().then_some(key)
    }

    /// The claims, if `key` has signed them.
    pub(crate) fn verify(self, key: &Key) -> Result<Claims, Refused> {
        let (message, signature) = (self.signed.as_bytes(), self.signature.as_slice());
        let checked =
            match (&key.material, self.algorithm) {
                (Material::Rsa { n, e }, Algorithm::Rs256) => RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
                (Material::P256(point), Algorithm::Es256) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                        .verify(message, signature)
                }
                (Material::Ed25519(point), Algorithm::EdDsa) => {
                    UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
                }
                (Material::Rsa { .. } | Material::P256(_) | Material::Ed25519(_), _) => {
                    return refuse("its algorithm is not that of the key it names");
                }
            };
        match checked {
            Ok(()) => Ok(self.claims),
            Err(_) => refuse("its signature is wrong"),
        }
    }
}

/// Checks who made the claims, for whom, and for when; gives when they end, leeway included. Whoever
/// is for several audiences is for none: another one of them could pass the token on.
pub(crate) fn check(
    claims: &Claims,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<Timestamp, Refused> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(issuer) {
        return refuse(format!("its issuer (iss) is not {issuer}"));
    }
    let meant = match claims.get("aud") {
        Some(Value::String(it)) => it == audience,
        Some(Value::Array(all)) => matches!(all.as_slice(), [Value::String(it)] if it == audience),
        _ => false,
    };
    if !meant {
        return refuse(format!("its audience (aud) is not {audience} alone"));
    }
    // Seconds, with a fraction perhaps; what is no number is refused, not left out.
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            // No clock shows a time beyond these.
            Some(it) if it.abs() < 1e11 => {
                #[expect(clippy::cast_possible_truncation, reason = "whole seconds are meant")]
                let seconds = it.floor() as i64;
                Ok(Some(seconds))
            }
            Some(_) | None => refuse(format!("its {name} is no time")),
        },
    };
    let now = now.as_second();
    let (expires, begins, made) = (time("exp")?, time("nbf")?, time("iat")?);
    let Some(expires) = expires else {
        return refuse("it has no end (exp)");
    };
    let Some(made) = made else {
        return refuse("it does not say when it was made (iat)");
    };
    let end = expires + LEEWAY;
    if now >= end {
        return refuse("it has expired (exp)");
    }
    if begins.is_some_and(|it| it > now + LEEWAY) || made > now + LEEWAY {
        return refuse("it is from the future (nbf, iat)");
    }
    Timestamp::from_second(end).map_err(|_| Refused("its exp is no time".to_owned()))
}

/// The subject: a text that is not empty and can stand in one line of a history.
pub(crate) fn subject(claims: &Claims) -> Result<&str, Refused> {
    let text = claims.get("sub").and_then(Value::as_str);
    match text.filter(|it| is_plain(it)) {
        Some(text) => Ok(text),
        None => refuse("it does not say whom it is about (sub)"),
    }
}

/// Whether a foreign text can stand in a history: short, in one line, without blanks around it.
pub(crate) fn is_plain(text: &str) -> bool {
    let fits = (1..=255).contains(&text.len()) && text.trim() == text;
    fits && !text
        .chars()
        .any(|it| it.is_control() || is_bidirectional(it))
}

/// Characters that make a text look like another one.
fn is_bidirectional(it: char) -> bool {
    matches!(it, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
