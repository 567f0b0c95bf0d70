//! The overflow policy of a subscriber: the values of the attribute `slow`.
//!
//! Names and order only; the broker carries them out.

use std::fmt;

/// What the broker drops when an outbox is full. In ascending order of safety: a message that matches
/// several filters follows the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverflowPolicy {
    /// While messages are queued, only the newest of each topic is kept.
    Latest,
    /// Queued messages stay, new messages are dropped.
    DropNewest,
    /// The oldest queued messages are dropped.
    #[default]
    DropOldest,
    /// Publishers wait for a limited time, then the oldest queued messages are dropped.
    Block,
}

impl OverflowPolicy {
    /// All policies, in the order in which an error lists them.
    pub const ALL: [Self; 4] = [
        Self::DropOldest,
        Self::DropNewest,
        Self::Latest,
        Self::Block,
    ];

    /// The value of the attribute `slow`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::DropNewest => "drop-newest",
            Self::DropOldest => "drop-oldest",
            Self::Block => "block",
        }
    }

    /// Parses the value of the attribute `slow`.
    pub fn parse(value: &[u8]) -> Result<Self, BadOverflowPolicy> {
        let asked = |slow: &Self| slow.as_str().as_bytes() == value;
        Self::ALL.into_iter().find(asked).ok_or(BadOverflowPolicy)
    }
}

impl fmt::Display for OverflowPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of the attribute `slow` is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOverflowPolicy;

impl fmt::Display for BadOverflowPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`slow` is one of ")?;
        for (number, slow) in OverflowPolicy::ALL.iter().enumerate() {
            let before = match number {
                0 => "",
                _ if number + 1 == OverflowPolicy::ALL.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}{slow}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadOverflowPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_has_a_unique_name() {
        for slow in OverflowPolicy::ALL {
            assert_eq!(OverflowPolicy::parse(slow.as_str().as_bytes()), Ok(slow));
        }
        assert_eq!(OverflowPolicy::parse(b"never"), Err(BadOverflowPolicy));
        assert_eq!(
            BadOverflowPolicy.to_string(),
            "`slow` is one of drop-oldest, drop-newest, latest or block"
        );
    }
}
