//! Records: the entries of state frames. Each says how something is from now on, so that it may be applied again.

/// Takes back what a store has, in the order of the log.
pub(crate) trait Apply {
    /// Makes a change.
    fn record(&mut self, record: &Record<'_>);

    /// Takes messages, the first of which has this sequence number: one a line.
    fn lines(&mut self, _first: u64, _lines: &[u8]) {}
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

/// Bytes in front of owner and line: the kind, the QoS, the length of the owner (u16), that of the line or topic
/// (u32), and the time (u64).
const HEAD_BYTES: usize = 16;

impl<'a> Record<'a> {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let (kind, qos, owner, text, since_ms) = match *self {
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
        ];
        let mut body = Vec::new();
        for record in &all {
            record.encode(&mut body);
        }
        assert_eq!(records(&body).collect::<Vec<_>>(), all);
        for len in 0..body.len() {
            let found: Vec<_> = records(&body[..len]).collect();
            assert!(found.len() < 3 && all.starts_with(&found), "{len} bytes");
        }
        assert_eq!(records(&[9; 40]).next(), None);
    }
}
