//! The ledger: figures of every message and copy, which must balance.

use std::fmt;
use std::ops::AddAssign;

use crate::engine::stats::tally::Tally;

/// Sums over all connections, including ended ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) account: Totals,
    /// Copies given to outboxes.
    pub(crate) taken: u64,
    /// Copies queued in outboxes at this moment.
    pub(crate) waiting: u64,
    /// Bytes of them.
    pub(crate) waiting_bytes: u64,
    pub(crate) tally: Tally,
}

/// Counts of one connection's own messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages accepted.
    pub(crate) published: u64,
    /// Messages with a subscriber, or kept in the log.
    pub(crate) matched: u64,
    /// All others.
    pub(crate) unmatched: u64,
    /// Messages kept in the log, because their topics keep messages, or for sessions.
    pub(crate) kept: u64,
    /// Frames answered by an `ERROR`; each filter counts as one.
    pub(crate) refused: u64,
    /// Copies made, one for each subscriber of each message.
    pub(crate) copies: u64,
    /// Copies whose subscriber had left or unsubscribed before delivery.
    pub(crate) withdrawn: u64,
    /// Bytes received.
    pub(crate) bytes: u64,
    /// Those of them with which messages were published, topics and attributes included.
    pub(crate) publish_bytes: u64,
}

impl Ledger {
    /// Whether every message and every copy is accounted for.
    pub(crate) fn is_balanced(&self) -> bool {
        let Totals {
            published,
            matched,
            unmatched,
            copies,
            withdrawn,
            ..
        } = self.account;
        let Tally {
            written,
            dropped,
            discarded,
            ..
        } = self.tally;
        published == matched + unmatched
            && copies == self.taken + withdrawn
            && self.taken == written + self.waiting + dropped.total() + discarded
    }
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.account += other.account;
        self.taken += other.taken;
        self.waiting += other.waiting;
        self.waiting_bytes += other.waiting_bytes;
        self.tally += other.tally;
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.matched += other.matched;
        self.unmatched += other.unmatched;
        self.kept += other.kept;
        self.refused += other.refused;
        self.copies += other.copies;
        self.withdrawn += other.withdrawn;
        self.bytes += other.bytes;
        self.publish_bytes += other.publish_bytes;
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_balanced() {
            "balanced"
        } else {
            "DOES NOT BALANCE, please report it"
        };
        let Self {
            account,
            waiting,
            tally,
            ..
        } = self;
        write!(
            f,
            "{verdict}: {} published = {} matched + {} unmatched, {} kept, {} refused; \
             {} copies = {} written + {waiting} waiting + {} + {} discarded + {} withdrawn",
            account.published,
            account.matched,
            account.unmatched,
            account.kept,
            account.refused,
            account.copies,
            tally.written,
            tally.dropped,
            tally.discarded,
            account.withdrawn,
        )?;
        if !self.is_balanced() {
            // At the boundary between publishers and outboxes.
            write!(f, "; {} taken", self.taken)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stats::tally::Reason;

    #[test]
    fn one_copy_too_many_or_too_few_anywhere_shows() {
        let mut balanced = Ledger {
            account: Totals {
                published: 5,
                matched: 3,
                unmatched: 2,
                kept: 2,
                refused: 1,
                copies: 10,
                withdrawn: 1,
                bytes: 50,
                publish_bytes: 40,
            },
            taken: 9,
            waiting: 2,
            waiting_bytes: 20,
            tally: Tally {
                written: 4,
                discarded: 1,
                bytes: 100,
                ..Tally::default()
            },
        };
        balanced.tally.dropped.add(Reason::Full, 2);
        assert!(balanced.is_balanced());
        let changes: [fn(&mut Ledger); 9] = [
            |ledger| ledger.account.published += 1,
            |ledger| ledger.account.matched += 1,
            |ledger| ledger.account.unmatched += 1,
            |ledger| ledger.account.copies += 1,
            |ledger| ledger.account.withdrawn += 1,
            |ledger| ledger.waiting += 1,
            |ledger| ledger.tally.written += 1,
            |ledger| ledger.tally.dropped.add(Reason::Memory, 1),
            |ledger| ledger.tally.discarded += 1,
        ];
        for change in changes {
            let mut ledger = balanced;
            change(&mut ledger);
            assert!(!ledger.is_balanced(), "{ledger}");
        }
        let mut twice = balanced;
        twice += balanced;
        assert!(twice.is_balanced());
    }
}
