//! The text of a token (RFC 7515 §7.1): header, claims and signature, each checked before the next is looked at.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::crypto;
use serde_json::{Map, Value};

use super::claims::Claims;
use super::json;
use super::keys::{JwtKey, JwtKeys, name_of};

/// Why a token is refused. `Display` is for the operator, and harmless in a terminal; the client is told only that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRefusal(Box<str>);

/// What came of a token.
#[derive(Debug)]
pub(in crate::auth::identity) enum Refused {
    Wrong(JwtRefusal),
    /// Right in all, but over.
    Expired,
}

/// A token whose signature and form are right.
#[derive(Debug)]
pub(super) struct CheckedToken {
    pub(super) claims: Claims,
    pub(super) key: super::keys::KeyThumbprint,
}

/// What `typ` may say, if it says something: other tokens are for other purposes (RFC 8725 §3.11, RFC 9068 §2.1).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Checks a token by all but what the settings say.
pub(super) fn check(
    text: &[u8],
    keys: &JwtKeys,
    now: Timestamp,
) -> Result<CheckedToken, JwtRefusal> {
    let refused = |why: &dyn fmt::Display| JwtRefusal::new(why);
    let text = str::from_utf8(text).map_err(|_| refused(&"it is no text"))?;
    let parts: Vec<&str> = text.split('.').collect();
    let &[header, claims, signature] = parts.as_slice() else {
        let why = format!("it has {} parts, not 3", parts.len());
        return Err(refused(&why));
    };
    let told =
        |part: &'static str| move |why: String| JwtRefusal::new(&format!("its {part}: {why}"));
    let decoded = object(header).map_err(told("header"))?;
    let candidates = candidates(&decoded, keys).map_err(told("header"))?;
    let signed = &text.as_bytes()[..header.len() + 1 + claims.len()];
    let is_by = |key: &JwtKey| {
        // Wrong letters in a signature are a wrong signature.
        crypto::verify(signature, signed, &key.key, key.algorithm).unwrap_or(false)
    };
    let key = candidates.into_iter().find(|key| is_by(key));
    let key = key.ok_or_else(|| refused(&"its signature is not by that key"))?;
    let claims = object(claims).map_err(told("claims"))?;
    Ok(CheckedToken {
        claims: Claims::parse(&claims, now).map_err(told("claims"))?,
        key: key.thumbprint,
    })
}

/// The name that a token shows by these keys, and whether it would by the claims alone.
#[cfg(fuzzing)]
pub(crate) fn shows(text: &[u8], claims: &[u8], keys: &JwtKeys) -> (Option<String>, bool) {
    let now = Timestamp::UNIX_EPOCH;
    let name = check(text, keys, now).ok();
    let name = name.map(|token| token.claims.name.to_string());
    let claims = json::object(claims);
    (
        name,
        claims.is_ok_and(|claims| Claims::parse(&claims, now).is_ok()),
    )
}

fn object(part: &str) -> Result<Map<String, Value>, String> {
    let decoded = URL_SAFE_NO_PAD.decode(part);
    let decoded = decoded.map_err(|_| "it is not base64url without padding".to_owned())?;
    json::object(&decoded)
}

/// The keys that may have signed a token with this header, of which there is one at least.
fn candidates<'k>(
    header: &Map<String, Value>,
    keys: &'k JwtKeys,
) -> Result<Vec<&'k JwtKey>, String> {
    // Its extensions have to be understood, and this broker has none (RFC 7515 §4.1.11).
    if header.contains_key("crit") {
        return Err("crit names what this broker does not know".to_owned());
    }
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{name} is no text")),
    };
    if let Some(said) = text("typ")? {
        let lower = said.to_ascii_lowercase();
        let kind = lower.strip_prefix("application/").unwrap_or(&lower);
        if !TYPES.contains(&kind) {
            return Err(format!("typ is {said:?}, which is for another purpose"));
        }
    }
    let alg = text("alg")?.ok_or("it has no alg")?;
    let id = text("kid")?;
    let named = |key: &&JwtKey| id.is_none_or(|id| key.id.as_deref() == Some(id));
    let named: Vec<&JwtKey> = keys.iter().filter(named).collect();
    if named.is_empty() {
        return Err(match id {
            Some(id) => format!("no key has the kid {id:?}"),
            None => "there are no keys".to_owned(),
        });
    }
    let fitting: Vec<_> = named
        .into_iter()
        .filter(|key| name_of(key.algorithm) == alg)
        .collect();
    match fitting.is_empty() {
        true => Err(format!("alg is {alg:?}, and no such key is for that")),
        false => Ok(fitting),
    }
}

impl JwtRefusal {
    pub(super) fn new(why: &dyn fmt::Display) -> Self {
        // A part of it may be the client's, which is quoted and may be long.
        Self(why.to_string().chars().take(MOST_SHOWN).collect())
    }
}

/// Maximum characters of a reason.
const MOST_SHOWN: usize = 200;

impl fmt::Display for JwtRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
