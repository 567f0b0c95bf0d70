//! Tokens: `dlt_<id>_<43 letters>`, of which only the id and a digest are stored.
//!
//! 256 random bits cannot be guessed, so a fast digest is enough.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctutils::CtEq;
use protocol::is_harmless;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::secret::Secret;

/// The public part of a token: 1 to 16 letters from `a` to `z` and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(Box<str>);

/// Why a text is no [`TokenId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTokenId;

/// The SHA-256 of the 256 random bits of a token; as text 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// What a token is for: at most 256 bytes, each character harmless on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenNote(Box<str>);

/// A token that was just made.
#[derive(Debug)]
pub struct NewToken {
    /// Its public part.
    pub id: TokenId,
    /// The token as its user has to say it. It is stored nowhere.
    pub text: Secret,
    /// What is stored.
    pub digest: TokenDigest,
}

const MOST_ID_BYTES: usize = 16;

/// Letters of an id that was just made: easily read aloud, and a million of them.
const ID_LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const ID_LENGTH: usize = 4;

/// How often another id is tried; with a hundred thousand tokens nine of ten are free.
const MOST_ATTEMPTS: usize = 100;

const MOST_NOTE_BYTES: usize = 256;

const SECRET_BYTES: usize = 32;

impl NewToken {
    /// Makes a token whose id is not taken.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes, or nearly all ids are taken.
    pub fn make(is_taken: impl Fn(&TokenId) -> bool) -> Result<Self, String> {
        let random = |bytes: &mut [u8]| {
            getrandom::fill(bytes).map_err(|why| format!("the system gives no random bytes: {why}"))
        };
        for _ in 0..MOST_ATTEMPTS {
            let mut numbers = [0; ID_LENGTH];
            random(&mut numbers)?;
            let letters = numbers
                .map(|number| char::from(ID_LETTERS[usize::from(number) % ID_LETTERS.len()]));
            let id = TokenId(letters.iter().collect::<String>().into());
            if is_taken(&id) {
                continue;
            }
            let mut bits = Zeroizing::new([0; SECRET_BYTES]);
            random(&mut *bits)?;
            let letters = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bits));
            let text = format!("dlt_{id}_{}", *letters).into_bytes();
            return Ok(Self {
                text: Secret::new(text).expect("a token is short"),
                digest: TokenDigest::of(&bits),
                id,
            });
        }
        Err("nearly all ids of tokens are taken; remove some (broker token rm ID)".to_owned())
    }
}

/// A token as its user says it.
pub(super) struct SaidToken {
    pub(super) id: TokenId,
    bits: Zeroizing<[u8; SECRET_BYTES]>,
}

impl SaidToken {
    /// The token, if the secret has its form.
    pub(super) fn parse(secret: &Secret) -> Option<Self> {
        let text = str::from_utf8(secret.expose()).ok()?;
        let (id, letters) = text.strip_prefix("dlt_")?.split_once('_')?;
        let mut bits = Zeroizing::new([0; SECRET_BYTES]);
        let count = URL_SAFE_NO_PAD.decode_slice(letters, &mut *bits).ok()?;
        let id = id.parse().ok()?;
        (count == SECRET_BYTES).then_some(Self { id, bits })
    }

    /// Compares in the same time for all digests. Without one it compares with another.
    pub(super) fn is_of(&self, digest: Option<&TokenDigest>) -> bool {
        let other = TokenDigest([0; 32]);
        let is_equal = TokenDigest::of(&self.bits)
            .0
            .ct_eq(&digest.unwrap_or(&other).0);
        is_equal.to_bool() && digest.is_some()
    }
}

impl TokenDigest {
    fn of(bits: &[u8; SECRET_BYTES]) -> Self {
        Self(Sha256::digest(bits).into())
    }
}

impl FromStr for TokenId {
    type Err = BadTokenId;

    fn from_str(text: &str) -> Result<Self, BadTokenId> {
        let is_letter = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let is_id = (1..=MOST_ID_BYTES).contains(&text.len()) && text.bytes().all(is_letter);
        is_id.then(|| Self(text.into())).ok_or(BadTokenId)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadTokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the id of a token has 1 to {MOST_ID_BYTES} letters from a to z and digits"
        )
    }
}

impl std::error::Error for BadTokenId {}

impl TokenNote {
    /// The note.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenNote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MOST_NOTE_BYTES {
            return Err(format!("a note has at most {MOST_NOTE_BYTES} bytes"));
        }
        match text.chars().find(|letter| !is_harmless(*letter)) {
            Some(letter) => Err(format!(
                "a note has no {letter:?}: it would act on a terminal"
            )),
            None => Ok(Self(text.into())),
        }
    }
}

impl FromStr for TokenDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || "sha256 is 64 hexadecimal digits; `broker token add` writes them".to_owned();
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() || !text.is_ascii() {
            return Err(wanted());
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            let digits = &text[2 * at..2 * at + 2];
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| is_hex)
                .ok_or_else(wanted)?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(***)")
    }
}

#[cfg(test)]
impl TokenDigest {
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_token_has_its_id_and_256_bits_of_which_the_digest_is_kept() {
        let token = NewToken::make(|_| false).expect("random bytes");
        let text = str::from_utf8(token.text.expose()).expect("text");
        let letters = text
            .strip_prefix(&format!("dlt_{}_", token.id))
            .expect("the form");
        assert_eq!(letters.len(), 43);
        let bits: [u8; 32] = URL_SAFE_NO_PAD
            .decode(letters)
            .expect("base64")
            .try_into()
            .expect("256 bits");
        assert_eq!(token.digest, TokenDigest::of(&bits));
        let stored = token.digest.to_string();
        assert_eq!(stored.parse().as_ref(), Ok(&token.digest));
        assert_eq!(stored.to_uppercase().parse().as_ref(), Ok(&token.digest));
        let other = NewToken::make(|_| false).expect("random bytes");
        assert_ne!(other.digest, token.digest);
        assert!(!format!("{token:?}").contains(letters));
    }

    #[test]
    fn a_said_token_is_compared_with_the_digest() {
        let (token, other) = (NewToken::make(|_| false), NewToken::make(|_| false));
        let (token, other) = (token.expect("random bytes"), other.expect("random bytes"));
        let said = SaidToken::parse(&token.text).expect("the form");
        assert_eq!(said.id, token.id);
        assert!(said.is_of(Some(&token.digest)));
        assert!(!said.is_of(Some(&other.digest)) && !said.is_of(None));
        let text = str::from_utf8(token.text.expose()).expect("text");
        for text in [
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            "dlt__",
            "dlt_a_",
            "dlt_a",
        ] {
            let secret = Secret::new(text.into()).expect("a secret");
            assert!(SaidToken::parse(&secret).is_none(), "{text}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_standard() {
        // FIPS 180-4, of 32 zeros.
        let zeros = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(TokenDigest::of(&[0; 32]).to_string(), zeros);
        for text in [
            "",
            "66",
            &zeros[1..],
            &zeros.replace('6', "+"),
            &"é".repeat(32),
        ] {
            assert!(text.parse::<TokenDigest>().is_err(), "{text}");
        }
    }

    #[test]
    fn another_id_is_taken_while_there_is_a_free_one() {
        let asked = Cell::new(0);
        let token = NewToken::make(|_| asked.replace(asked.get() + 1) < 5);
        assert!(token.is_ok() && asked.get() == 6);
        let why = NewToken::make(|_| true).expect_err("none is free");
        assert!(why.contains("broker token rm"), "{why}");
        for text in ["", "A", "a_b", "a-b", "é", "12345678901234567"] {
            assert_eq!(text.parse::<TokenId>(), Err(BadTokenId), "{text}");
        }
    }

    #[test]
    fn a_note_has_at_most_256_bytes_and_none_that_acts_on_a_terminal() {
        let longest = "x".repeat(256);
        assert_eq!(
            longest.parse::<TokenNote>().expect("a note").as_str(),
            longest
        );
        for text in [&*"x".repeat(257), "\u{1b}[2J", "a\nb", "\u{202e}"] {
            assert!(text.parse::<TokenNote>().is_err(), "{text:?}");
        }
    }
}
