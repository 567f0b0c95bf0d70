//! Records: the entries of state frames. Each says how something is from now on, so that it may be applied again.

use super::frame::FrameHeader;

/// Takes back what a store has, in the order of the log.
pub(crate) trait Apply {
    /// Makes a change.
    fn record(&mut self, record: &Record<'_>);

    /// Takes the messages of a frame: one a line.
    fn lines(&mut self, _header: &FrameHeader, _lines: &[u8]) {}
}

impl<F: FnMut(&Record<'_>)> Apply for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}

/// A change of what the broker keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A message is retained in the place of the one before.
    Retained(RetainedRecord<'a>),
    /// No message is retained for this topic any more.
    Cleared { topic: &'a [u8] },
    /// A part of a session is another one now.
    Session(SessionRecord<'a>),
}

/// A part of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord<'a> {
    /// Of which session.
    pub(crate) key: &'a [u8],
    /// The name of the part; empty for all of them.
    pub(crate) part: &'a [u8],
    /// Empty if there is none any more.
    pub(crate) value: &'a [u8],
    /// The number of messages that come right behind it in the log. It is so only if they are all there: both are kept,
    /// or neither.
    pub(crate) messages: u32,
}

/// A retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetainedRecord<'a> {
    /// Its line, as the broker sends it.
    pub(crate) line: &'a [u8],
    pub(crate) qos: u8,
    /// Milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// The identity for which it counts; empty for none.
    pub(crate) owner: &'a [u8],
}

const RETAINED: u8 = 1;
const CLEARED: u8 = 2;
const SESSION: u8 = 3;

/// Bytes in front of the rest: the kind, the QoS, the length of the owner (u16), that of the line, topic or value (u32),
/// and the time (u64). Of a part of a session, the lengths of key and name (u32 each) are in the place of the time, and
/// the number of messages (u32) follows.
const HEAD_BYTES: usize = 16;

impl<'a> Record<'a> {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let (kind, qos, owner, text, since_ms) = match *self {
            Self::Session(session) => return session.encode(bytes),
            Self::Retained(RetainedRecord {
                line,
                qos,
                since_ms,
                owner,
            }) => (RETAINED, qos, owner, line, since_ms),
            Self::Cleared { topic } => (CLEARED, 0, &[][..], topic, 0),
        };
        let owner_len = u16::try_from(owner.len()).expect("a name of an identity is short");
        let text_len = u32::try_from(text.len()).expect("a line is shorter than 4 GiB");
        bytes.extend_from_slice(&[kind, qos]);
        bytes.extend_from_slice(&owner_len.to_le_bytes());
        bytes.extend_from_slice(&text_len.to_le_bytes());
        bytes.extend_from_slice(&since_ms.to_le_bytes());
        bytes.extend_from_slice(owner);
        bytes.extend_from_slice(text);
    }

    /// The record at the beginning of these bytes, and what follows.
    fn decode(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let owner_len = u16::from_le_bytes([head[2], head[3]]);
        let text_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let since_ms = u64::from_le_bytes(*head[8..].first_chunk()?);
        if head[0] == SESSION {
            let (session, rest) = SessionRecord::decode(head, rest)?;
            return Some((Self::Session(session), rest));
        }
        let (owner, rest) = rest.split_at_checked(owner_len.into())?;
        let (text, rest) = rest.split_at_checked(usize::try_from(text_len).ok()?)?;
        let record = match head[0] {
            RETAINED => Self::Retained(RetainedRecord {
                line: text,
                qos: head[1],
                since_ms,
                owner,
            }),
            CLEARED => Self::Cleared { topic: text },
            _ => return None,
        };
        Some((record, rest))
    }
}

impl<'a> SessionRecord<'a> {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let len = |part: &[u8]| u32::try_from(part.len()).expect("a part is shorter than 4 GiB");
        bytes.extend_from_slice(&[SESSION, 0, 0, 0]);
        for part in [self.value, self.key, self.part] {
            bytes.extend_from_slice(&len(part).to_le_bytes());
        }
        bytes.extend_from_slice(&self.messages.to_le_bytes());
        for part in [self.key, self.part, self.value] {
            bytes.extend_from_slice(part);
        }
    }

    fn decode(head: &[u8; HEAD_BYTES], rest: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let len = |at: usize| {
            let len = u32::from_le_bytes(*head[at..].first_chunk()?);
            usize::try_from(len).ok()
        };
        let (messages, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(len(8)?)?;
        let (part, rest) = rest.split_at_checked(len(12)?)?;
        let (value, rest) = rest.split_at_checked(len(4)?)?;
        let session = Self {
            key,
            part,
            value,
            messages: u32::from_le_bytes(*messages),
        };
        Some((session, rest))
    }
}

/// The records in the body of a frame, up to one that cannot be read.
pub(crate) fn records<'a>(mut body: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
    std::iter::from_fn(move || {
        let (record, rest) = Record::decode(body)?;
        body = rest;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let all = [
            Record::Retained(RetainedRecord {
                line: b"@retained MESSAGE a 1\n",
                qos: 2,
                since_ms: u64::MAX,
                owner: b"ann",
            }),
            Record::Cleared { topic: b"a/b" },
            Record::Retained(RetainedRecord {
                line: b"",
                qos: 0,
                since_ms: 0,
                owner: b"",
            }),
            Record::Session(SessionRecord {
                key: b"ann\0lamp",
                part: b"terms",
                value: b"{}",
                messages: 3,
            }),
            Record::Session(SessionRecord {
                key: b"ann\0lamp",
                part: b"",
                value: b"",
                messages: 0,
            }),
        ];
        let mut body = Vec::new();
        for record in &all {
            record.encode(&mut body);
        }
        assert_eq!(records(&body).collect::<Vec<_>>(), all);
        for len in 0..body.len() {
            let found: Vec<_> = records(&body[..len]).collect();
            assert!(
                found.len() < all.len() && all.starts_with(&found),
                "{len} bytes"
            );
        }
        assert_eq!(records(&[9; 40]).next(), None);
    }
}
