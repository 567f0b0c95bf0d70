//! How safe a message is before its publisher is told so: the values of the attributes `ack` and `level`.
//!
//! Names and order only; the broker carries them out.

use std::fmt;

use crate::attributes::{ACK, Attributes, LEVEL, POSITION};
use crate::position::Position;

/// What a message survives. In ascending order of safety.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckLevel {
    /// It is on its way to its subscribers, in the memory of the broker.
    Mem,
    /// It is written to the system: it survives the end of the broker.
    Os,
    /// It is on the disk: it survives the end of the system.
    Disk,
}

impl AckLevel {
    /// All levels, in ascending order.
    pub const ALL: [Self; 3] = [Self::Mem, Self::Os, Self::Disk];

    /// The value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mem => "mem",
            Self::Os => "os",
            Self::Disk => "disk",
        }
    }

    /// Parses the value of an attribute.
    pub fn parse(value: &[u8]) -> Result<Self, BadAckLevel> {
        let asked = |level: &Self| level.as_str().as_bytes() == value;
        Self::ALL.into_iter().find(asked).ok_or(BadAckLevel)
    }

    /// The level that a publisher asks for, if it does.
    pub fn asked(attributes: &Attributes<'_>) -> Result<Option<Self>, BadAckLevel> {
        let value = attributes.get(ACK);
        value.map(|value| Self::parse(&value)).transpose()
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far messages are kept, as a receipt says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The lowest level of all of them.
    pub level: AckLevel,
    /// Where the last of them is that is kept.
    pub position: Option<Position>,
}

impl Reached {
    /// Reads the attributes of a receipt; none if they do not say.
    pub(crate) fn of(attributes: &Attributes<'_>) -> Option<Self> {
        let level = AckLevel::parse(&attributes.get(LEVEL)?).ok()?;
        let position = attributes.get(POSITION);
        let position = position.and_then(|value| Position::parse(&value).ok());
        Some(Self { level, position })
    }

    /// The attributes of a receipt.
    pub fn attributes(&self) -> Attributes<'static> {
        let mut attributes = Attributes::default();
        let mut push = |key, value: String| {
            let pushed = attributes.push(key, value.as_bytes());
            pushed.expect("these keys are valid");
        };
        push(LEVEL, self.level.to_string());
        if let Some(position) = self.position {
            push(POSITION, position.to_string());
        }
        attributes
    }
}

/// The value of the attribute `ack` is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAckLevel;

impl fmt::Display for BadAckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`ack` is one of mem, os or disk")
    }
}

impl std::error::Error for BadAckLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_a_unique_name() {
        for level in AckLevel::ALL {
            assert_eq!(AckLevel::parse(level.as_str().as_bytes()), Ok(level));
        }
        let refused = Err(BadAckLevel);
        assert_eq!(
            (AckLevel::parse(b"DISK"), AckLevel::parse(b"")),
            (refused, refused)
        );
        assert_eq!(BadAckLevel.to_string(), "`ack` is one of mem, os or disk");
    }

    #[test]
    fn a_receipt_says_how_far_and_where() {
        let position = Position::parse(b"k3f9.2:1042").ok();
        for (reached, word) in [
            (
                Reached {
                    level: AckLevel::Disk,
                    position,
                },
                "level=disk;pos=k3f9.2:1042",
            ),
            (
                Reached {
                    level: AckLevel::Mem,
                    position: None,
                },
                "level=mem",
            ),
        ] {
            let attributes = reached.attributes();
            assert_eq!(attributes.as_word(), word.as_bytes());
            assert_eq!(Reached::of(&attributes), Some(reached));
        }
        assert_eq!(Reached::of(&Attributes::default()), None);
    }
}
