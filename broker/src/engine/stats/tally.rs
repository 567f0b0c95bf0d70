//! Counts of an outbox's messages by result.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// The counts of an outbox so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Messages sent to the last byte.
    pub(crate) written: u64,
    pub(crate) dropped: Dropped,
    /// Messages still queued when the outbox was closed.
    pub(crate) discarded: u64,
    /// Bytes of all kinds that were sent.
    pub(crate) bytes: u64,
    /// Bytes of answers, sent or queued.
    pub(crate) answer_bytes: u64,
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The limit of the client was reached.
    Full,
    /// The memory for all clients was nearly exhausted.
    Memory,
    /// A newer message replaced it, by the overflow policy of its client.
    Replaced,
}

/// Messages dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped([u64; Reason::ALL.len()]);

impl Reason {
    pub(crate) const ALL: [Self; 3] = [Self::Full, Self::Memory, Self::Replaced];

    /// Its name in answers and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Replaced => "replaced",
        }
    }
}

impl Dropped {
    pub(crate) fn add(&mut self, reason: Reason, messages: u64) {
        self.0[reason as usize] += messages;
    }

    /// The sum over all reasons.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0)
    }

    /// The counts by the names of the reasons.
    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, u64> {
        let named = self.iter();
        named
            .map(|(reason, count)| (reason.as_str(), count))
            .collect()
    }
}

/// The total, and the reasons if any.
impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dropped", self.total())?;
        let mut before = " (";
        for (reason, count) in self.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{before}{count} {}", reason.as_str())?;
            before = ", ";
        }
        match before {
            ", " => f.write_str(")"),
            _ => Ok(()),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        for (count, more) in self.dropped.0.iter_mut().zip(other.dropped.0) {
            *count += more;
        }
        self.discarded += other.discarded;
        self.bytes += other.bytes;
        self.answer_bytes += other.answer_bytes;
    }
}
