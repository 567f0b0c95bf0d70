//! What a client is told of the messages that it has published.

use protocol::Reached;

/// Confirms messages. Of several that wait one is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The number of messages answered in total.
    pub(crate) answered: u64,
    /// The copies made of those that no earlier receipt has answered.
    pub(crate) copies: u64,
    /// How far those are kept, for a client that has asked.
    pub(crate) reached: Option<Reached>,
}

impl Receipt {
    /// One that says what this and the next one say.
    pub(super) fn and(self, next: Self) -> Self {
        let reached = match (self.reached, next.reached) {
            (Some(before), Some(after)) => Some(Reached {
                level: before.level.min(after.level),
                position: after.position.or(before.position),
            }),
            // A client is told from its first question on.
            (before, after) => after.or(before),
        };
        Self {
            answered: next.answered,
            copies: self.copies + next.copies,
            reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{AckLevel, Position};

    use super::*;

    #[test]
    fn of_two_receipts_one_is_made_that_promises_no_more_than_either() {
        let receipt = |answered, copies, reached| Receipt {
            answered,
            copies,
            reached,
        };
        let at = |level, position: &str| {
            let position = Position::parse(position.as_bytes()).ok();
            Some(Reached { level, position })
        };
        let disk = at(AckLevel::Disk, "aaaa.1:5");
        let os = at(AckLevel::Os, "aaaa.1:7");
        let mem = at(AckLevel::Mem, "");
        for (first, second, both) in [
            (None, None, None),
            (disk, os, at(AckLevel::Os, "aaaa.1:7")),
            (os, mem, at(AckLevel::Mem, "aaaa.1:7")),
            (None, disk, disk),
        ] {
            let merged = receipt(3, 4, first).and(receipt(5, 6, second));
            assert_eq!(merged, receipt(5, 10, both));
        }
    }
}
