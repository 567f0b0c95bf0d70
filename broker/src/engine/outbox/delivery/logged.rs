//! Messages from the log, which say where they are there: a session in the store acknowledges them by their place.

use std::collections::BTreeSet;

use bytes::Bytes;
use memchr::{memchr2, memrchr};

/// What the line of a message from the log begins with. No publisher can choose that attribute.
const START: &[u8] = b"@pos=";

/// Identifiers of messages from the log: as many as there are.
const IDS: u64 = u16::MAX as u64;

/// How the line of a message is, but for its place.
pub(super) struct LoggedLine {
    /// Its number in the log.
    pub(super) sequence: u64,
    /// Where the rest begins.
    pub(super) start: usize,
    /// The rest, if it has attributes of its own.
    pub(super) own: Option<Bytes>,
}

impl LoggedLine {
    /// None if it does not come from the log.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(START)?;
        let end = memchr2(b' ', b';', rest)?;
        let number = memrchr(b':', &rest[..end])? + 1;
        let sequence = str::from_utf8(&rest[number..end]).ok()?.parse().ok()?;
        let start = START.len() + end + 1;
        let own = (rest[end] == b';').then(|| [b"@", &line[start..]].concat().into());
        Some(Self {
            sequence,
            start,
            own,
        })
    }
}

/// The identifier of a message from the log. It follows from its place, so that it has the same one when it is sent again
/// after a restart.
pub(crate) fn id_of(sequence: u64) -> u16 {
    // Zero is no identifier [MQTT-2.2.1-3].
    (sequence % IDS) as u16 + 1
}

/// How far a session in the store is, by the places of messages in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoggedProgress {
    /// Those that were sent and not acknowledged.
    pub(crate) outstanding: BTreeSet<u64>,
    /// Those at QoS 2 that its client has received, and whose release is not complete.
    pub(crate) released: BTreeSet<u64>,
    /// All before this one that are not among them are done.
    pub(crate) next: u64,
}

impl LoggedProgress {
    /// Where reading goes on.
    pub(crate) fn first(&self) -> u64 {
        let outstanding = self.outstanding.first().copied();
        outstanding.map_or(self.next, |first| first.min(self.next))
    }
}

/// What an earlier process has sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct SentBefore {
    pub(super) progress: LoggedProgress,
    /// Messages before this one may have been sent.
    pub(super) end: u64,
}

impl SentBefore {
    /// Whether a message need not be sent again.
    pub(crate) fn is_done(&self, sequence: u64) -> bool {
        let LoggedProgress {
            outstanding,
            released,
            next,
        } = &self.progress;
        released.contains(&sequence) || (sequence < *next && !outstanding.contains(&sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_taken_from_a_line() {
        let of = |line: &[u8]| {
            let logged = LoggedLine::of(line)?;
            let rest = line[logged.start..].to_vec();
            Some((logged.sequence, logged.own.map_or(rest, |own| own.to_vec())))
        };
        let plain = of(b"@pos=k3f9.1:42 MESSAGE a 1\n");
        assert_eq!(plain, Some((42, b"MESSAGE a 1\n".to_vec())));
        let more = of(b"@pos=k3f9.12:7;id=3;ttl=9 MESSAGE a @pos=x:1\n");
        let rest = b"@id=3;ttl=9 MESSAGE a @pos=x:1\n".to_vec();
        assert_eq!(more, Some((7, rest)));
        for line in ["MESSAGE a 1\n", "@id=1 MESSAGE a 1\n", "@pos=x MESSAGE a\n"] {
            assert_eq!(of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn identifiers_are_never_zero_and_come_again_as_late_as_they_can() {
        let ids: BTreeSet<u16> = (5..5 + IDS).map(id_of).collect();
        assert_eq!((ids.len(), ids.first()), (65_535, Some(&1)));
        assert_eq!(id_of(0), id_of(IDS));
    }

    #[test]
    fn what_is_before_the_next_one_is_done_unless_it_is_outstanding() {
        let before = SentBefore {
            progress: LoggedProgress {
                outstanding: [3, 5].into(),
                released: [4, 9].into(),
                next: 7,
            },
            end: 20,
        };
        assert_eq!(before.progress.first(), 3);
        let done: Vec<u64> = (1..11).filter(|&it| before.is_done(it)).collect();
        assert_eq!(done, [1, 2, 4, 6, 9]);
    }
}
