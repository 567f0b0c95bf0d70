//! What shall happen to messages whose subscriber is slow.

use std::fmt;

/// What a subscriber wants to happen when more messages wait for it than may, the most careful last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slow {
    /// While anything waits, only the newest message of each topic is kept.
    Latest,
    /// What waits stays, newer messages are dropped.
    DropNewest,
    /// The oldest messages that wait are dropped.
    #[default]
    DropOldest,
    /// Publishers wait a moment, then the oldest are dropped.
    Block,
}

impl Slow {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::DropOldest,
        Self::DropNewest,
        Self::Latest,
        Self::Block,
    ];

    /// The value of the attribute `slow` that asks for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::DropNewest => "drop-newest",
            Self::DropOldest => "drop-oldest",
            Self::Block => "block",
        }
    }

    /// What the value of the attribute `slow` asks for.
    pub fn parse(value: &[u8]) -> Result<Self, BadSlow> {
        let asked = |slow: &Self| slow.as_str().as_bytes() == value;
        Self::ALL.into_iter().find(asked).ok_or(BadSlow)
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of the attribute `slow` is none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSlow;

impl fmt::Display for BadSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`slow` is one of ")?;
        for (number, slow) in Slow::ALL.iter().enumerate() {
            let before = match number {
                0 => "",
                _ if number + 1 == Slow::ALL.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}{slow}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadSlow {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        for slow in Slow::ALL {
            assert_eq!(Slow::parse(slow.as_str().as_bytes()), Ok(slow));
        }
        assert_eq!(Slow::parse(b"never"), Err(BadSlow));
        assert_eq!(
            BadSlow.to_string(),
            "`slow` is one of drop-oldest, drop-newest, latest or block"
        );
    }
}
