//! Secrets in memory.

use std::fmt;

use zeroize::Zeroizing;

/// A secret. No text form shows it, and its memory is overwritten when it is dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why bytes are no [`Secret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSecret {
    /// There are none.
    Empty,
    /// There are too many: more than 1024, or of a JWT more than 8192.
    TooLong,
}

impl Secret {
    /// Maximum bytes of a secret.
    pub const MOST_BYTES: usize = 1024;

    /// Takes the bytes over. Those of a refused secret are overwritten, too.
    pub fn new(bytes: Vec<u8>) -> Result<Self, BadSecret> {
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err(BadSecret::Empty),
            length if length > Self::MOST_BYTES => Err(BadSecret::TooLong),
            _ => Ok(Self(bytes)),
        }
    }

    /// Maximum bytes of a JWT.
    pub const MOST_JWT_BYTES: usize = 8192;

    /// The same for what a client shows, which may be longer if it has the form of a JWT.
    pub fn shown(bytes: Vec<u8>) -> Result<Self, BadSecret> {
        if is_jwt(&bytes) && bytes.len() <= Self::MOST_JWT_BYTES {
            return Ok(Self(Zeroizing::new(bytes)));
        }
        Self::new(bytes)
    }

    /// Whether it has the form of a JWT.
    pub(crate) fn is_jwt(&self) -> bool {
        is_jwt(&self.0)
    }

    /// What it looks like: a token, a JWT or a password.
    pub(crate) fn kind(&self) -> &'static str {
        match self.0.as_slice() {
            token if token.starts_with(b"dlt_") => "token",
            jwt if is_jwt(jwt) => "jwt",
            _ => "password",
        }
    }

    /// Another one with the same bytes, for another thread.
    pub(super) fn copy(&self) -> Self {
        Self(self.0.clone())
    }

    /// The bytes, which must go nowhere but into a hash, or to the user that they belong to.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The first letters of an object in base64url, and parts (RFC 7515 §7.1).
fn is_jwt(bytes: &[u8]) -> bool {
    bytes.starts_with(b"eyJ") && bytes.contains(&b'.')
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for BadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a secret is not empty"),
            Self::TooLong => write!(f, "a secret has at most {} bytes", Secret::MOST_BYTES),
        }
    }
}

impl std::error::Error for BadSecret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new(b"canary".to_vec()).expect("a secret");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(***) Secret(***)");
        assert_eq!(secret.expose(), b"canary");
    }

    #[test]
    fn a_secret_has_a_byte_and_not_too_many() {
        assert_eq!(Secret::new(Vec::new()).err(), Some(BadSecret::Empty));
        assert!(Secret::new(vec![0; Secret::MOST_BYTES]).is_ok());
        let longer = vec![0; Secret::MOST_BYTES + 1];
        assert_eq!(Secret::new(longer).err(), Some(BadSecret::TooLong));
    }

    #[test]
    fn only_what_has_the_form_of_a_jwt_may_be_longer_than_a_password() {
        let padded = |start: &str, length| format!("{start:x<length$}").into_bytes();
        for (start, length, is_taken) in [
            ("eyJhIjox.", Secret::MOST_JWT_BYTES, true),
            ("eyJhIjox.", Secret::MOST_JWT_BYTES + 1, false),
            ("eyJhIjox", Secret::MOST_BYTES + 1, false),
            ("dlt_a.", Secret::MOST_BYTES + 1, false),
            ("a.b", Secret::MOST_BYTES, true),
        ] {
            let shown = Secret::shown(padded(start, length));
            assert_eq!(shown.is_ok(), is_taken, "{start} {length}");
        }
        assert!(Secret::new(padded("eyJhIjox.", Secret::MOST_BYTES + 1)).is_err());
        assert_eq!(Secret::shown(Vec::new()).err(), Some(BadSecret::Empty));
    }

    #[test]
    fn a_secret_is_told_by_its_form_alone() {
        for (text, kind) in [
            ("dlt_k3f9_AAAA", "token"),
            ("eyJhIjox.b.c", "jwt"),
            ("eyJhIjox", "password"),
            ("a.b.c", "password"),
            ("dlt", "password"),
        ] {
            let secret = Secret::new(text.into()).expect("a secret");
            assert_eq!(
                (secret.kind(), secret.is_jwt()),
                (kind, kind == "jwt"),
                "{text}"
            );
        }
    }
}
