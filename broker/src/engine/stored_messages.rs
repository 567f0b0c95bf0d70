//! What a store has, for tools, which start no engine: retained messages by topic, and sessions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;

use memchr::memmem;
use protocol::{
    ACK, Attributes, Escaped, MessageLine, PAST, POSITION, RETAIN, RETAINED, TTL, Topic,
};

use crate::engine::stored_sessions::StoredSessions;
use crate::storage::SnapshotWriter;
use crate::storage::frame::FrameHeader;
use crate::storage::record::{Apply, Record, RetainedRecord, SessionRecord};
use crate::storage::snapshot_source::SnapshotSource;

/// The QoS of messages whose publisher had none to choose.
const QOS: u8 = 1;

/// What a record changes.
pub(crate) enum StoredChange<'a> {
    Retained(MessageLine<'a>, RetainedRecord<'a>),
    Cleared(Topic<'a>),
    Session(SessionRecord<'a>),
}

impl<'a> StoredChange<'a> {
    /// None if it cannot be read: no line, or no topic.
    pub(crate) fn read(record: &Record<'a>) -> Option<Self> {
        match *record {
            Record::Retained(record) => {
                MessageLine::decode(record.line).map(|line| Self::Retained(line, record))
            }
            Record::Cleared { topic } => Topic::parse(topic).ok().map(Self::Cleared),
            Record::Session(record) => Some(Self::Session(record)),
        }
    }
}

/// The line of a retained message with its remaining time to live, if it was retained this long ago; none if it has
/// expired [MQTT-3.3.2-5].
pub(crate) fn with_time_left(line: &[u8], waited_ms: u64) -> Option<Cow<'_, [u8]>> {
    let unchanged = Some(Cow::Borrowed(line));
    if !line.starts_with(b"@") || memmem::find(line, b"ttl=").is_none() {
        return unchanged;
    }
    let Some(mut fresh) = MessageLine::decode(line) else {
        return unchanged;
    };
    let Some(seconds) = fresh.attributes.get(TTL) else {
        return unchanged;
    };
    let Some(seconds) = str::from_utf8(&seconds)
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
    else {
        return unchanged;
    };
    if waited_ms > u64::from(seconds) * 1000 {
        return None;
    }
    let left = (u64::from(seconds) - waited_ms / 1000).to_string();
    fresh.attributes = fresh.attributes.without(&[TTL]);
    fresh.attributes.push(TTL, left.as_bytes()).ok()?;
    let mut line = Vec::new();
    fresh.encode(&mut line);
    Some(line.into())
}

/// The retained messages and sessions of a store. They take as much memory as in a broker.
#[derive(Debug, Default)]
pub struct StoredMessages {
    messages: BTreeMap<Box<str>, StoredMessage>,
    sessions: StoredSessions,
    unreadable: u64,
}

/// One message, as its record has it.
#[derive(Debug)]
struct StoredMessage {
    line: Box<[u8]>,
    qos: u8,
    since_ms: u64,
    owner: Box<[u8]>,
}

impl StoredMessages {
    /// The number of messages.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// The number of sessions beside them.
    pub fn sessions(&self) -> usize {
        self.sessions.count()
    }

    /// The number of records that were not understood, though their checksums are right.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The lines of all messages that have not expired at this time, in milliseconds since 1970, in the order of their
    /// topics.
    pub fn lines(&self, now_ms: u64) -> impl Iterator<Item = Cow<'_, [u8]>> {
        let messages = self.messages.values();
        messages.filter_map(move |message| {
            with_time_left(&message.line, now_ms.saturating_sub(message.since_ms))
        })
    }

    pub(crate) fn has(&self, topic: &str) -> bool {
        self.messages.contains_key(topic)
    }

    fn apply(&mut self, record: &Record<'_>) {
        match StoredChange::read(record) {
            Some(StoredChange::Retained(message, record)) => {
                let stored = StoredMessage {
                    line: record.line.into(),
                    qos: record.qos,
                    since_ms: record.since_ms,
                    owner: record.owner.into(),
                };
                self.messages.insert(message.topic.as_str().into(), stored);
            }
            Some(StoredChange::Cleared(topic)) => {
                self.messages.remove(topic.as_str());
            }
            Some(StoredChange::Session(record)) => self.sessions.apply(&record),
            None => self.unreadable += 1,
        }
    }
}

impl Apply for StoredMessages {
    fn record(&mut self, record: &Record<'_>) {
        if !matches!(record, Record::Session(_)) {
            self.sessions.note_record();
        }
        self.apply(record);
    }

    fn lines(&mut self, _: &FrameHeader, lines: &[u8]) {
        self.sessions.note_messages(lines);
    }
}

impl SnapshotSource for StoredMessages {
    /// All: a tool does not know which topics keep messages.
    fn oldest_needed(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn write(&self, snapshot: &mut SnapshotWriter) {
        for message in self.messages.values() {
            snapshot.write(&Record::Retained(RetainedRecord {
                line: &message.line,
                qos: message.qos,
                since_ms: message.since_ms,
                owner: &message.owner,
            }));
        }
        self.sessions.write(snapshot);
    }
}

/// Changes of what is retained, to be made together. Of several for one topic the last counts.
#[derive(Debug, Default)]
pub struct StoreChanges(BTreeMap<Box<str>, Option<Box<[u8]>>>);

/// A message that no store keeps: its topic is the broker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStored;

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("topics under $SYS/ are the broker's own and are not kept")
    }
}

impl StoreChanges {
    /// Has a message retained, as if a client had published it with the attribute `retain`; without a payload none is
    /// retained any more.
    ///
    /// # Errors
    ///
    /// Messages on this topic are not kept.
    pub fn retain(
        &mut self,
        topic: Topic<'_>,
        payload: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<(), NotStored> {
        if topic.is_brokers_own() {
            return Err(NotStored);
        }
        let line = (!payload.is_empty()).then(|| {
            // A recording has the positions of the broker that was recorded.
            let mut attributes = attributes.without(&[ACK, RETAIN, RETAINED, POSITION, PAST]);
            attributes.push_flag(RETAINED).expect("it is a key");
            let line = MessageLine {
                topic,
                payload: Escaped::escape(payload),
                attributes,
            };
            let mut bytes = Vec::new();
            line.encode(&mut bytes);
            bytes.into_boxed_slice()
        });
        self.0.insert(topic.as_str().into(), line);
        Ok(())
    }

    /// The number of topics.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The changes as records: with a topic, and of what is retained now.
    pub(crate) fn records(&self, now_ms: u64) -> impl Iterator<Item = (&str, Record<'_>)> {
        self.0.iter().map(move |(topic, line)| {
            let record = match line {
                Some(line) => Record::Retained(RetainedRecord {
                    line,
                    qos: QOS,
                    since_ms: now_ms,
                    owner: b"",
                }),
                None => Record::Cleared {
                    topic: topic.as_bytes(),
                },
            };
            (&**topic, record)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic<'_> {
        Topic::parse(name).expect("a topic")
    }

    fn applied(changes: &StoreChanges) -> StoredMessages {
        let mut messages = StoredMessages::default();
        for (_, record) in changes.records(5000) {
            messages.apply(&record);
        }
        messages
    }

    fn lines(messages: &StoredMessages, now_ms: u64) -> Vec<String> {
        let lines = messages.lines(now_ms);
        lines
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect()
    }

    #[test]
    fn the_last_change_of_a_topic_counts() {
        let mut changes = StoreChanges::default();
        let mut attributes = Attributes::default();
        attributes.push("k", b"v").expect("a key");
        attributes.push_flag(RETAINED).expect("a key");
        attributes.push(POSITION, b"k3f9.1:7").expect("a key");
        attributes.push_flag(PAST).expect("a key");
        for (name, payload) in [("b", "1"), ("a", "x\ny"), ("b", "2"), ("c", "3"), ("c", "")] {
            let kept = changes.retain(topic(name), payload.as_bytes(), &attributes);
            assert_eq!(kept, Ok(()));
        }
        let refused = changes.retain(topic("$SYS/a"), b"1", &attributes);
        assert_eq!((refused, changes.count()), (Err(NotStored), 3));
        let expected = [
            "@k=v;retained MESSAGE a x\\ny\n",
            "@k=v;retained MESSAGE b 2\n",
        ];
        assert_eq!(lines(&applied(&changes), 5000), expected);
    }

    #[test]
    fn a_message_has_the_time_that_is_left_until_it_expires() {
        let mut changes = StoreChanges::default();
        let mut attributes = Attributes::default();
        attributes.push(TTL, b"10").expect("a key");
        changes
            .retain(topic("a"), b"1", &attributes)
            .expect("it is kept");
        let messages = applied(&changes);
        // It was retained at 5000.
        assert_eq!(lines(&messages, 8500), ["@retained;ttl=7 MESSAGE a 1\n"]);
        assert_eq!(lines(&messages, 4000), ["@retained;ttl=10 MESSAGE a 1\n"]);
        assert_eq!(lines(&messages, 15_001), [""; 0]);
        assert_eq!(messages.count(), 1);
    }

    #[test]
    fn records_that_cannot_be_read_are_counted_and_change_nothing() {
        let mut messages = StoredMessages::default();
        for (line, qos) in [(&b"MESSAGE a 1\n"[..], 0), (b"BYE\n", 0), (b"", 0)] {
            messages.apply(&Record::Retained(RetainedRecord {
                line,
                qos,
                since_ms: 0,
                owner: b"",
            }));
        }
        messages.apply(&Record::Cleared { topic: b"a/#" });
        messages.apply(&Record::Cleared { topic: b"\xff" });
        assert_eq!((messages.count(), messages.unreadable()), (1, 4));
        messages.apply(&Record::Cleared { topic: b"a" });
        assert!(!messages.has("a"));
    }
}
