//! The SHA-256 digest of a certificate, which names exactly that one.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

const BYTES: usize = 32;

/// The SHA-256 digest of a certificate in DER.
///
/// It is written as `openssl x509 -noout -fingerprint -sha256` does, and read with or without colons and
/// with what that command writes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "give the 64 hexadecimal digits of a SHA-256 fingerprint".to_owned();
        let digits = text.rsplit_once('=').map_or(text, |(_, digits)| digits);
        let digits = digits.trim().replace(':', "");
        if digits.len() != 2 * BYTES || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_other_programs_write_it() {
        let fingerprint = Fingerprint::of(b"abc");
        let shown = fingerprint.to_string();
        assert!(shown.starts_with("BA:78:16:BF:") && shown.ends_with(":15:AD"));
        for text in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace(':', ""),
            format!("sha256 Fingerprint={shown}\n"),
        ] {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
        for text in [
            "",
            "AB",
            &shown[1..],
            &shown.replace('B', "G"),
            &"é".repeat(32),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
