//! Where a message is in the log of a broker: `<store>.<generation>:<sequence>`, such as `k3f9.2:1042`.

use std::fmt;

/// Characters of the identifier of a store: so few that a position can be typed.
const STORE_CHARS: usize = 4;

/// The identifier of a store: lower-case letters and digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId([u8; STORE_CHARS]);

/// Where a message is. Only positions of one store can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The store that has it.
    pub store: StoreId,
    /// Rises with each start of the broker after an end that was not clean, because then sequence numbers may be
    /// given again.
    pub generation: u32,
    /// The number of the message.
    pub sequence: u64,
}

impl StoreId {
    /// Makes an identifier of random bytes.
    pub fn of_random(bytes: [u8; STORE_CHARS]) -> Self {
        // Those that are not mistaken for another one.
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        Self(bytes.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]))
    }

    /// Reads an identifier.
    pub fn parse(text: &str) -> Result<Self, BadPosition> {
        let chars: [u8; STORE_CHARS] = text.as_bytes().try_into().map_err(|_| BadPosition)?;
        let is_allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
        match chars.iter().all(is_allowed) {
            true => Ok(Self(chars)),
            false => Err(BadPosition),
        }
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("letters and digits are UTF-8")
    }
}

impl Position {
    /// Reads a position.
    pub fn parse(text: &[u8]) -> Result<Self, BadPosition> {
        let text = str::from_utf8(text).map_err(|_| BadPosition)?;
        let (epoch, sequence) = text.split_once(':').ok_or(BadPosition)?;
        let (store, generation) = epoch.split_once('.').ok_or(BadPosition)?;
        Ok(Self {
            store: StoreId::parse(store)?,
            generation: number(generation)?,
            sequence: number(sequence)?,
        })
    }
}

/// Digits and nothing else, so that one position has one spelling.
fn number<T: std::str::FromStr + ToString>(text: &str) -> Result<T, BadPosition> {
    let number: T = text.parse().map_err(|_| BadPosition)?;
    match number.to_string() == text {
        true => Ok(number),
        false => Err(BadPosition),
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            generation,
            sequence,
        } = self;
        write!(f, "{store}.{generation}:{sequence}")
    }
}

/// A text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPosition;

impl fmt::Display for BadPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is written as the broker gives it, such as k3f9.2:1042")
    }
}

impl std::error::Error for BadPosition {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for text in [
            "k3f9.2:1042",
            "0000.0:0",
            "zzzz.4294967295:18446744073709551615",
        ] {
            let position = Position::parse(text.as_bytes()).expect("a position");
            assert_eq!(position.to_string(), text);
        }
        let id = StoreId::of_random([0, 31, 32, 255]);
        assert_eq!(id.as_str(), "a9a9");
    }

    #[test]
    fn anything_else_is_no_position() {
        for text in [
            "",
            "k3f9.2",
            "k3f9:1",
            "k3f.2:1",
            "k3f99.2:1",
            "K3f9.2:1",
            "k3f9.-2:1",
            "k3f9.2:+1",
            "k3f9.02:1",
            "k3f9.2:1 ",
            "k3f9.2:18446744073709551616",
            "k3f9.4294967296:1",
            "äa9.2:1",
        ] {
            assert_eq!(
                Position::parse(text.as_bytes()),
                Err(BadPosition),
                "{text:?}"
            );
        }
        assert_eq!(Position::parse(b"\xff\xff\xff\xff.1:1"), Err(BadPosition));
    }
}
