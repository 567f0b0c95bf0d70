//! The keys of an authorization server: a JSON Web Key Set (RFC 7517) in a file.
//!
//! A key is for one algorithm, which its own type decides and no token: a token cannot have a public key taken for a
//! secret one.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::json;
use crate::auth::identity::file::{check_private, check_unwritable, open, read_bytes};

/// The keys of a file that signatures can be checked with.
pub struct JwtKeys {
    keys: Vec<JwtKey>,
}

/// A key, and the one algorithm that it is for.
pub(super) struct JwtKey {
    pub(super) id: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    pub(super) thumbprint: KeyThumbprint,
    pub(super) key: DecodingKey,
}

/// A digest of a key, by which it is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyThumbprint([u8; 32]);

const MOST_FILE_BYTES: usize = 1 << 20;

/// Maximum keys of a file: each may have to be tried for a token that names none.
const MOST_KEYS: usize = 64;

/// Bytes of a secret that HS256 needs at least (RFC 7518 §3.2).
const LEAST_SECRET: usize = 32;

/// Bits of a modulus that RS256 needs at least (RFC 7518 §3.3), and those that the library takes at most.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Bytes of a coordinate of P-256, and of a key of Ed25519.
const COORDINATE: usize = 32;

/// Members of a key that only its owner should have, but for `k`.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Reads a file of keys.
///
/// # Errors
///
/// Why it cannot be taken, with what to do; or each mistake in it.
pub fn read_jwt_keys(path: &Path) -> Result<JwtKeys, Vec<String>> {
    let told = |why: String| format!("{}: {why}", path.display());
    let cannot = |why: std::io::Error| vec![format!("{} cannot be read: {why}", path.display())];
    let one = |why| vec![why];
    let file = open(path).map_err(cannot)?;
    check_unwritable(&file, path).map_err(one)?;
    let bytes = read_bytes(&file, path, "a file of keys", MOST_FILE_BYTES).map_err(one)?;
    let keys = JwtKeys::parse(&Zeroizing::new(bytes));
    let keys = keys.map_err(|mistakes| mistakes.into_iter().map(told).collect::<Vec<_>>())?;
    if keys.has_secrets() {
        check_private(&file, path).map_err(one)?;
    }
    Ok(keys)
}

impl JwtKeys {
    /// Parses a JSON Web Key Set. Keys that are not for one of the algorithms here are left out (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// Each mistake in it, with the number of its key.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<String>> {
        let set = json::object(bytes)
            .map_err(|why| vec![format!("this is no JSON Web Key Set (RFC 7517): {why}")])?;
        let Some(Value::Array(members)) = set.get("keys") else {
            return Err(vec![
                "this is no JSON Web Key Set (RFC 7517): it has no list \"keys\"".to_owned(),
            ]);
        };
        if members.len() > MOST_KEYS {
            let count = members.len();
            return Err(vec![format!(
                "{count} keys are too many, at most {MOST_KEYS}"
            )]);
        }
        let (mut keys, mut mistakes) = (Vec::new(), Vec::new());
        for (at, member) in members.iter().enumerate() {
            let parsed = match member {
                Value::Object(members) => JwtKey::parse(members),
                _ => Err("it is no object".to_owned()),
            };
            match parsed {
                Ok(key) => keys.extend(key),
                Err(why) => mistakes.push(format!("key {}: {why}", at + 1)),
            }
        }
        // An empty list says that no token counts; one of other keys alone is a mistake.
        if keys.is_empty() && mistakes.is_empty() && !members.is_empty() {
            mistakes
                .push("none of its keys is for HS256, RS256, ES256 or EdDSA (Ed25519)".to_owned());
        }
        match mistakes.is_empty() {
            true => Ok(Self { keys }),
            false => Err(mistakes),
        }
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &JwtKey> {
        self.keys.iter()
    }

    pub(super) fn contain(&self, thumbprint: &KeyThumbprint) -> bool {
        self.keys.iter().any(|key| key.thumbprint == *thumbprint)
    }

    fn has_secrets(&self) -> bool {
        self.keys
            .iter()
            .any(|key| key.algorithm == Algorithm::HS256)
    }
}

impl JwtKey {
    /// The key, or none if it is for something else.
    fn parse(members: &Map<String, Value>) -> Result<Option<Self>, String> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("{name:?} is no text")),
        };
        let kind = text("kty")?.ok_or("it has no \"kty\"")?;
        let (usage, alg, curve) = (text("use")?, text("alg")?, text("crv")?);
        let algorithm = match (kind, curve) {
            ("oct", _) => Algorithm::HS256,
            ("RSA", _) => Algorithm::RS256,
            ("EC", Some("P-256")) => Algorithm::ES256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDSA,
            _ => return Ok(None),
        };
        let is_for_it = alg.is_none_or(|alg| alg == name_of(algorithm));
        let is_to_verify = match members.get("key_ops") {
            None => true,
            Some(Value::Array(uses)) => uses.iter().any(|it| it == "verify"),
            Some(_) => return Err("\"key_ops\" is no list".to_owned()),
        };
        if !is_for_it || !is_to_verify || usage.is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        if let Some(private) = PRIVATE.iter().find(|name| members.contains_key(**name)) {
            return Err(format!(
                "{private:?} is a part of its private half, which signs tokens; only the public half belongs here"
            ));
        }
        let bytes = |name: &str| {
            let letters = text(name)?.ok_or_else(|| format!("it has no {name:?}"))?;
            let decoded = URL_SAFE_NO_PAD.decode(letters).map(Zeroizing::new);
            decoded.map_err(|_| format!("{name:?} is not base64url without padding"))
        };
        let (key, digested) = Self::material(algorithm, bytes)?;
        let digest = Sha256::new().chain_update(name_of(algorithm));
        Ok(Some(Self {
            id: text("kid")?.map(Into::into),
            algorithm,
            thumbprint: KeyThumbprint(digest.chain_update(&*digested).finalize().into()),
            key,
        }))
    }

    /// The key for the library, and the bytes by which it is told from others.
    fn material(
        algorithm: Algorithm,
        bytes: impl Fn(&str) -> Result<Zeroizing<Vec<u8>>, String>,
    ) -> Result<(DecodingKey, Zeroizing<Vec<u8>>), String> {
        let sized = |name: &str| match bytes(name)? {
            found if found.len() == COORDINATE => Ok(found),
            found => Err(format!(
                "{name:?} has {} bytes, not {COORDINATE}",
                found.len()
            )),
        };
        match algorithm {
            Algorithm::RS256 => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                let (modulus, exponent) = (without_zeros(&modulus), without_zeros(&exponent));
                let spare = modulus
                    .first()
                    .map_or(0, |first| first.leading_zeros() as usize);
                let bits = modulus.len() * 8 - spare;
                if !MODULUS_BITS.contains(&bits) {
                    let (least, most) = (MODULUS_BITS.start(), MODULUS_BITS.end());
                    return Err(format!(
                        "its modulus has {bits} bits; RS256 takes {least} to {most}"
                    ));
                }
                let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
                Ok((key, Zeroizing::new([modulus, exponent].concat())))
            }
            Algorithm::ES256 => {
                // An uncompressed point (SEC 1 §2.3.3).
                let point = Zeroizing::new([&[4][..], &*sized("x")?, &*sized("y")?].concat());
                Ok((DecodingKey::from_ec_der(&point), point))
            }
            Algorithm::EdDSA => {
                let key = sized("x")?;
                Ok((DecodingKey::from_ed_der(&key), key))
            }
            _ => {
                let secret = bytes("k")?;
                if secret.len() < LEAST_SECRET {
                    let length = secret.len();
                    return Err(format!(
                        "its secret has {length} bytes; HS256 needs {LEAST_SECRET} random ones at least"
                    ));
                }
                Ok((DecodingKey::from_secret(&secret), secret))
            }
        }
    }
}

/// What `alg` calls it (RFC 7518 §3.1, RFC 8037 §3.1).
pub(super) fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
        _ => "HS256",
    }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl PartialEq for JwtKeys {
    fn eq(&self, other: &Self) -> bool {
        let of = |key: &JwtKey| (key.id.clone(), key.algorithm, key.thumbprint);
        self.keys.iter().map(of).eq(other.keys.iter().map(of))
    }
}

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKeys({self})")
    }
}

impl fmt::Display for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys of JWT", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::super::examples::{EC, ED, RSA, SECRET, SMALL_MODULUS, secret_key, set};
    use super::*;

    fn mistakes(text: &str) -> String {
        let mistakes = JwtKeys::parse(text.as_bytes()).expect_err(text);
        mistakes.join("\n")
    }

    /// A key with another member, or the same with another value.
    fn with(key: &str, member: &str) -> String {
        let mut members = json::object(key.as_bytes()).expect("a key");
        members.extend(json::object(member.as_bytes()).expect("a member"));
        Value::from(members).to_string()
    }

    #[test]
    fn keys_for_other_algorithms_or_uses_are_left_out() {
        let p384 = with(EC, r#"{"crv":"P-384"}"#);
        let encrypting = with(RSA, r#"{"use":"enc"}"#);
        let others = [
            p384,
            encrypting,
            with(RSA, r#"{"alg":"PS256"}"#),
            with(RSA, r#"{"alg":"none"}"#),
            with(RSA, r#"{"key_ops":["encrypt"]}"#),
            r#"{"kty":"new"}"#.to_owned(),
        ];
        let mut all: Vec<&str> = others.iter().map(|key| &**key).collect();
        let secret = secret_key();
        all.extend([RSA, EC, ED, &secret]);
        let keys = JwtKeys::parse(set(&all).as_bytes()).expect("it is right");
        let found: Vec<_> = keys
            .iter()
            .map(|key| (key.id.as_deref(), name_of(key.algorithm)))
            .collect();
        assert_eq!(
            found,
            [
                (Some("rsa"), "RS256"),
                (Some("ec"), "ES256"),
                (Some("ed"), "EdDSA"),
                (Some("k1"), "HS256")
            ]
        );
        for key in &others {
            assert!(mistakes(&set(&[key])).contains("none of its keys"), "{key}");
        }
        // This says that no token counts.
        assert!(
            JwtKeys::parse(b"{\"keys\":[]}")
                .expect("it is right")
                .is_empty()
        );
    }

    #[test]
    fn each_mistake_of_a_key_is_told() {
        let short = URL_SAFE_NO_PAD.encode(&SECRET[..31]);
        for (key, why) in [
            (
                with(&secret_key(), &format!(r#"{{"k":"{short}"}}"#)),
                "31 bytes",
            ),
            (with(&secret_key(), r#"{"k":7}"#), "no text"),
            (r#"{"kty":"oct"}"#.to_owned(), "no \"k\""),
            (
                with(RSA, &format!(r#"{{"n":"{SMALL_MODULUS}"}}"#)),
                "1024 bits",
            ),
            (with(RSA, r#"{"n":"AAAA"}"#), "0 bits"),
            (with(RSA, r#"{"n":"a="}"#), "base64url"),
            (with(RSA, r#"{"d":"AAAA"}"#), "private"),
            (with(EC, r#"{"y":"AAAA"}"#), "3 bytes"),
            (with(ED, r#"{"x":"AAAA"}"#), "3 bytes"),
            (r#"{"k":"AAAA"}"#.to_owned(), "kty"),
            ("7".to_owned(), "no object"),
        ] {
            let told = mistakes(&set(&[EC, &key]));
            assert!(
                told.starts_with("key 2: ") && told.contains(why),
                "{key}: {told}"
            );
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[],"keys":[]}"#,
            "<html>",
        ] {
            assert!(mistakes(text).contains("no JSON Web Key Set"), "{text}");
        }
        assert!(mistakes(&set(&["7"; 65])).contains("too many"));
        let most = JwtKeys::parse(set(&[EC; 64]).as_bytes()).expect("it is right");
        assert!(most.len() == 64 && !most.is_empty());
        assert_eq!(mistakes(&set(&["7", "8"])).lines().count(), 2);
    }

    #[test]
    fn a_file_with_secrets_is_for_the_broker_alone_and_no_other_may_write_any() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        for (key, mode, is_taken) in [
            (EC, 0o644, true),
            (EC, 0o664, false),
            (EC, 0o646, false),
            (&*secret_key(), 0o644, false),
            (&*secret_key(), 0o640, true),
            (&*secret_key(), 0o600, true),
        ] {
            fs::write(&path, set(&[key])).expect("room");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
            let read = read_jwt_keys(&path);
            assert_eq!(read.is_ok(), is_taken, "{mode:o}: {read:?}");
            if let Err(mistakes) = read {
                assert!(mistakes[0].contains("type: chmod 6"), "{mistakes:?}");
            }
            fs::remove_file(&path).expect("it is there");
        }
        assert!(!format!("{:?}", JwtKeys::parse(set(&[&secret_key()]).as_bytes())).contains("ef"));
    }

    #[test]
    fn other_keys_are_not_the_same_as_these() {
        let parse = |keys: &[&str]| JwtKeys::parse(set(keys).as_bytes()).expect("it is right");
        let secret = secret_key();
        assert_eq!(parse(&[EC, ED]), parse(&[EC, ED]));
        for other in [
            &[EC][..],
            &[ED, EC],
            &[EC, RSA],
            &[EC, &with(ED, r#"{"kid":"x"}"#)],
            &[&secret],
        ] {
            assert_ne!(parse(&[EC, ED]), parse(other));
        }
        let thumbprint = parse(&[EC]).keys[0].thumbprint;
        assert!(parse(&[ED, EC]).contain(&thumbprint) && !parse(&[ED]).contain(&thumbprint));
    }
}
