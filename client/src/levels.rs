//! What the receipts of several messages say about how safe these are, as one answer.

use protocol::Reached;

/// The lowest level of all messages that asked for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Levels {
    /// None has asked, or none has its receipt yet.
    #[default]
    Unasked,
    /// All that asked were told.
    Lowest(Reached),
    /// One that asked was not told.
    Unknown,
}

impl Levels {
    /// Adds what the receipt of a message that asked says; `None` if it does not say.
    pub(crate) fn add(&mut self, said: Option<Reached>) {
        *self = match (*self, said) {
            (Self::Unknown, _) | (_, None) => Self::Unknown,
            (Self::Unasked, Some(said)) => Self::Lowest(said),
            (Self::Lowest(before), Some(said)) => Self::Lowest(lowest(before, said)),
        };
    }

    /// The answer; the next one begins with no message.
    pub(crate) fn take(&mut self) -> Option<Reached> {
        match std::mem::take(self) {
            Self::Lowest(reached) => Some(reached),
            Self::Unasked | Self::Unknown => None,
        }
    }
}

/// The lower level of both, and the position of the later one if it has any.
pub(crate) fn lowest(earlier: Reached, later: Reached) -> Reached {
    Reached {
        level: earlier.level.min(later.level),
        position: later.position.or(earlier.position),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AckLevel, Position};

    use super::*;

    fn reached(level: AckLevel, position: &str) -> Reached {
        let position = Position::parse(position.as_bytes()).ok();
        Reached { level, position }
    }

    #[test]
    fn the_lowest_level_counts_and_the_last_position() {
        let mut levels = Levels::default();
        levels.add(Some(reached(AckLevel::Disk, "k3f9.2:7")));
        levels.add(Some(reached(AckLevel::Mem, "")));
        levels.add(Some(reached(AckLevel::Os, "k3f9.2:8")));
        levels.add(Some(reached(AckLevel::Mem, "")));
        assert_eq!(levels.take(), Some(reached(AckLevel::Mem, "k3f9.2:8")));
        assert_eq!(levels.take(), None);
    }

    #[test]
    fn one_that_was_not_told_makes_all_unknown() {
        let disk = Some(reached(AckLevel::Disk, "k3f9.2:7"));
        for told in [[None, disk], [disk, None]] {
            let mut levels = Levels::default();
            told.into_iter().for_each(|each| levels.add(each));
            assert_eq!(levels.take(), None);
            levels.add(disk);
            assert_eq!(levels.take(), disk);
        }
    }
}
