//! Sessions as a store has them: a table of named parts for each. What a part says is known to `engine/session`.

use std::collections::BTreeMap;

use crate::storage::SnapshotWriter;
use crate::storage::record::{Record, SessionRecord};

/// The parts of all sessions, by the keys of these.
#[derive(Debug, Default)]
pub(crate) struct StoredSessions {
    sessions: BTreeMap<Box<[u8]>, SessionParts>,
    /// What is so if messages follow.
    ahead: Option<PartAhead>,
}

#[derive(Debug)]
pub(crate) struct PartAhead {
    pub(crate) key: Box<[u8]>,
    pub(crate) part: Box<[u8]>,
    value: Box<[u8]>,
    /// Messages that are missing.
    missing: u64,
}

/// The parts of one session, by their names.
pub(crate) type SessionParts = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl StoredSessions {
    pub(crate) fn apply(&mut self, record: &SessionRecord<'_>) {
        self.note_record();
        let &SessionRecord {
            key,
            part,
            value,
            messages,
        } = record;
        if messages > 0 {
            self.ahead = Some(PartAhead {
                key: key.into(),
                part: part.into(),
                value: value.into(),
                missing: messages.into(),
            });
        } else {
            self.set(key, part, value);
        }
    }

    /// There is a record: what came before it without its messages is not so.
    pub(crate) fn note_record(&mut self) {
        self.ahead = None;
    }

    /// There are messages.
    pub(crate) fn note_messages(&mut self, lines: &[u8]) {
        if let Some(mut ahead) = self.ahead.take() {
            let messages = memchr::memchr_iter(b'\n', lines).count() as u64;
            ahead.missing = ahead.missing.saturating_sub(messages);
            if ahead.missing > 0 {
                self.ahead = Some(ahead);
            } else {
                self.set(&ahead.key, &ahead.part, &ahead.value);
            }
        }
    }

    /// Ends the log. Returns the part of which the last change is not so, because what it came with is not there: to be
    /// kept again as it is.
    pub(crate) fn end(&mut self) -> Option<PartAhead> {
        self.ahead.take()
    }

    /// A part as it is now; empty if there is none.
    pub(crate) fn part(&self, key: &[u8], part: &[u8]) -> &[u8] {
        let part = self.sessions.get(key).and_then(|parts| parts.get(part));
        part.map_or(&[], |value| value)
    }

    fn set(&mut self, key: &[u8], part: &[u8], value: &[u8]) {
        if part.is_empty() {
            self.sessions.remove(key);
        } else if !value.is_empty() {
            let parts = self.sessions.entry(key.into()).or_default();
            parts.insert(part.into(), value.into());
        } else if let Some(parts) = self.sessions.get_mut(key) {
            parts.remove(part);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn write(&self, snapshot: &mut SnapshotWriter) {
        for (key, parts) in &self.sessions {
            for (part, value) in parts {
                snapshot.write(&Record::Session(SessionRecord {
                    key,
                    part,
                    value,
                    messages: 0,
                }));
            }
        }
    }
}

impl IntoIterator for StoredSessions {
    type Item = (Box<[u8]>, SessionParts);
    type IntoIter = std::collections::btree_map::IntoIter<Box<[u8]>, SessionParts>;

    fn into_iter(self) -> Self::IntoIter {
        self.sessions.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_part_counts_and_a_session_goes_with_all_of_them() {
        let mut sessions = StoredSessions::default();
        let mut apply = |key: &str, part: &str, value: &str| {
            sessions.apply(&SessionRecord {
                key: key.as_bytes(),
                part: part.as_bytes(),
                value: value.as_bytes(),
                messages: 0,
            });
        };
        for (key, part, value) in [
            ("a", "terms", "1"),
            ("a", "filter x", "1"),
            ("a", "terms", "2"),
            ("a", "filter x", ""),
            ("b", "terms", "1"),
            ("b", "", ""),
            ("c", "filter x", ""),
            ("c", "", ""),
        ] {
            apply(key, part, value);
        }
        assert_eq!(sessions.count(), 1);
        let all: Vec<_> = sessions.into_iter().collect();
        let parts = [(b"terms"[..].into(), b"2"[..].into())];
        assert_eq!(all, [(b"a"[..].into(), parts.into())]);
    }

    #[test]
    fn what_comes_with_messages_counts_if_these_are_there() {
        let record = |value: &'static str, messages| SessionRecord {
            key: b"a",
            part: b"received",
            value: value.as_bytes(),
            messages,
        };
        let mut sessions = StoredSessions::default();
        let mut seen = Vec::new();
        let mut look = |sessions: &StoredSessions| {
            seen.push(sessions.part(b"a", b"received").to_vec());
        };
        sessions.apply(&record("1", 2));
        sessions.note_messages(b"x\n");
        look(&sessions);
        sessions.note_messages(b"y\n");
        look(&sessions);
        // The last one of these is not there, and what follows was kept by the next process.
        sessions.apply(&record("2", 3));
        sessions.note_messages(b"x\ny\n");
        sessions.apply(&record("3", 0));
        sessions.note_messages(b"z\n");
        look(&sessions);
        sessions.apply(&record("4", 1));
        look(&sessions);
        let ended = sessions.end().expect("nothing follows the last one");
        assert_eq!((&*ended.key, &*ended.part), (&b"a"[..], &b"received"[..]));
        sessions.note_messages(b"z\n");
        look(&sessions);
        assert_eq!(seen, [&b""[..], b"1", b"3", b"3", b"3"]);
        assert!(sessions.end().is_none());
    }
}
