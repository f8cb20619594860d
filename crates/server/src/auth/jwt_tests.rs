//! Tokens by the vectors of RFC 7515, and every way to forge one.

use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::*;

const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RS256: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const P256_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const P256_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const ES256: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(jwk: Value) -> Option<Key> {
    serde_json::from_value::<Jwk>(jwk).unwrap().key()
}

fn rsa() -> Key {
    key(json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "rsa"})).unwrap()
}

fn p256() -> Key {
    key(json!({"kty": "EC", "crv": "P-256", "x": P256_X, "y": P256_Y, "kid": "ec"})).unwrap()
}

fn rfc(header: &Value, signature: &str) -> String {
    format!("{}.{PAYLOAD}.{signature}", encode(header.to_string()))
}

fn verify(text: &str, key: &Key) -> Result<Claims, Refused> {
    Unverified::parse(text)?.verify(key)
}

/// A token that `sign` signs.
fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[test]
fn published_signatures_are_right_and_any_changed_byte_is_not() {
    for (algorithm, signature, key) in [("RS256", RS256, rsa()), ("ES256", ES256, p256())] {
        let text = rfc(&json!({"alg": algorithm}), signature);
        let claims = verify(&text, &key).unwrap();
        assert_eq!(claims["iss"], "joe");
        for place in (0..text.len()).step_by(7) {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'B' { b'C' } else { b'B' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&changed, &key).is_err(), "{place}");
        }
    }
}

#[test]
fn an_edwards_key_signs_too() {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())});
    let claims = json!({"sub": "x"});
    let text = token(&json!({"alg": "EdDSA"}), &claims, |it| {
        pair.sign(it).as_ref().to_vec()
    });
    assert_eq!(verify(&text, &key(jwk).unwrap()).unwrap()["sub"], "x");
}

#[test]
fn no_token_chooses_how_it_is_checked() {
    let random = SystemRandom::new();
    let claims = json!({"iss": "joe"});
    let modulus = URL_SAFE_NO_PAD.decode(RSA_N).unwrap();
    // Unsigned, and signed with what everybody knows taken for a secret.
    let refused = |text: &str, words: &str| {
        for key in [rsa(), p256()] {
            let why = verify(text, &key).unwrap_err().0;
            assert!(why.contains(words), "{why}");
        }
    };
    for alg in ["none", "None", "NONE", ""] {
        refused(
            &token(&json!({"alg": alg}), &claims, |_| Vec::new()),
            "algorithm",
        );
    }
    for secret in [modulus.as_slice(), RSA_N.as_bytes(), b""] {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let sign = |it: &[u8]| hmac::sign(&secret, it).as_ref().to_vec();
        refused(
            &token(&json!({"alg": "HS256", "kid": "rsa"}), &claims, sign),
            "algorithm",
        );
        // The same under another name fails by its signature.
        let sign = |it: &[u8]| hmac::sign(&secret, it).as_ref().to_vec();
        let text = token(&json!({"alg": "RS256"}), &claims, sign);
        assert_eq!(
            verify(&text, &rsa()).unwrap_err().0,
            "its signature is wrong"
        );
        assert!(verify(&text, &p256()).unwrap_err().0.contains("algorithm"));
    }
    for header in [
        json!({"alg": "RS256", "crit": ["b64"], "b64": false}),
        json!({"alg": "RS256", "typ": "at+jwt"}),
    ] {
        assert!(verify(&rfc(&header, RS256), &rsa()).is_err(), "{header}");
    }
    // A key in the header is nobody's key.
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
    let pair = pair.unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let own = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
    let header = json!({"alg": "ES256", "jwk": own});
    let sign = |it: &[u8]| pair.sign(&random, it).unwrap().as_ref().to_vec();
    let text = token(&header, &claims, sign);
    assert!(verify(&text, &p256()).is_err());
    assert!(verify(&text, &key(own).unwrap()).is_ok());
}

#[test]
fn the_key_is_the_one_that_is_named() {
    let keys = [rsa(), p256()];
    let find = |header: Value| {
        let text = rfc(&header, RS256);
        Unverified::parse(&text).unwrap().key(&keys).cloned()
    };
    assert_eq!(find(json!({"alg": "RS256", "kid": "rsa"})), Some(rsa()));
    assert_eq!(find(json!({"alg": "RS256"})), Some(rsa()));
    assert_eq!(find(json!({"alg": "RS256", "kid": "ec"})), None);
    assert_eq!(find(json!({"alg": "ES256", "kid": "rsa"})), None);
    let twice = [rsa(), rsa()];
    let text = rfc(&json!({"alg": "RS256"}), RS256);
    assert_eq!(Unverified::parse(&text).unwrap().key(&twice), None);
}

#[test]
fn only_keys_for_signatures_of_known_kinds_are_taken() {
    for jwk in [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "use": "enc"}),
        json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "PS256"}),
        json!({"kty": "RSA", "n": "=", "e": "AQAB"}),
        json!({"kty": "RSA"}),
        json!({"kty": "EC", "crv": "P-384", "x": P256_X, "y": P256_Y}),
        json!({"kty": "OKP", "crv": "X25519", "x": P256_X}),
    ] {
        assert_eq!(key(jwk.clone()), None, "{jwk}");
    }
    // Too short to be a key: nothing verifies against it.
    let short = key(json!({"kty": "RSA", "n": encode([0xc5; 64]), "e": "AQAB"})).unwrap();
    assert!(verify(&rfc(&json!({"alg": "RS256"}), RS256), &short).is_err());
}

#[test]
fn nonsense_is_no_token() {
    let long = format!("{}.{PAYLOAD}.{RS256}", "a".repeat(TEXT_MAX));
    let padded = rfc(&json!({"alg": "RS256"}), &format!("{RS256}=="));
    let list = format!("{}.{}.{RS256}", encode(r#"{"alg":"RS256"}"#), encode("[1]"));
    let five = "a.b.c.d.e".to_owned();
    for text in [
        "", ".", "..", "...", "a.b.c", "é.é.é", &five, &long, &padded, &list,
    ] {
        assert!(Unverified::parse(text).is_err(), "{text:.80}");
    }
}

#[test]
fn claims_are_for_us_and_for_now() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let good = json!({
        "iss": "https://id.example", "aud": "sluice", "sub": "x",
        "iat": 1_800_000_000 - 10, "exp": 1_800_000_000 + 10,
    });
    let with = |name: &str, value: Value| {
        let mut claims = good.as_object().unwrap().clone();
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.to_owned(), value),
        };
        check(&claims, "https://id.example", "sluice", now)
    };
    let seconds = |offset: i64| json!(1_800_000_000 + offset);
    assert_eq!(with("x", json!(1)).unwrap().as_second(), 1_800_000_040);
    for (name, value, accepted) in [
        ("iss", json!("https://id.example/"), false),
        ("iss", json!("https://ID.example"), false),
        ("iss", json!(["https://id.example"]), false),
        ("iss", json!(null), false),
        ("aud", json!(["sluice"]), true),
        ("aud", json!(["sluice", "other"]), false),
        ("aud", json!([]), false),
        ("aud", json!("sluice-2"), false),
        ("aud", json!(null), false),
        ("exp", seconds(-29), true),
        ("exp", seconds(-30), false),
        ("exp", json!(null), false),
        ("exp", json!("1900000000"), false),
        ("exp", json!(1e300), false),
        ("exp", json!(1_800_000_000.5), true),
        ("nbf", seconds(30), true),
        ("nbf", seconds(31), false),
        ("nbf", json!("never"), false),
        ("iat", seconds(30), true),
        ("iat", seconds(31), false),
        ("iat", json!(null), false),
    ] {
        assert_eq!(
            with(name, value.clone()).is_ok(),
            accepted,
            "{name}: {value}"
        );
    }
}
