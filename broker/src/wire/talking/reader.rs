//! Where one object of a client ends and the next begins. No I/O.
//!
//! An object is a text message of WebSocket. The tunnel marks where one ends, and what is none.

use memchr::memchr;

use crate::wire::protocols::{BINARY, MESSAGE_END};

/// What comes next in the unread bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObjectStep {
    /// A text message of this many bytes, and one more for its end.
    Object(usize),
    /// A binary message; this many bytes stand for it.
    Binary(usize),
    /// Bytes of a message that is too long, at its beginning.
    TooLong(usize),
    /// More bytes of a message that is left out.
    Skip(usize),
    /// The message goes on.
    More,
}

/// Finds messages.
#[derive(Default)]
pub(super) struct ObjectReader {
    /// The message is left out up to its end.
    skips: bool,
}

impl ObjectReader {
    /// The next piece of these bytes. A message has at most `most` bytes.
    pub(super) fn next(&mut self, unread: &[u8], most: usize) -> ObjectStep {
        let end = memchr(MESSAGE_END, unread);
        if self.skips {
            self.skips = end.is_none();
            return match end.map_or(unread.len(), |at| at + 1) {
                0 => ObjectStep::More,
                len => ObjectStep::Skip(len),
            };
        }
        match end {
            Some(at) if unread[0] == BINARY => ObjectStep::Binary(at + 1),
            Some(at) if at > most => ObjectStep::TooLong(at + 1),
            Some(at) => ObjectStep::Object(at),
            None if unread.len() > most => {
                self.skips = true;
                ObjectStep::TooLong(unread.len())
            }
            None => ObjectStep::More,
        }
    }

    /// The beginning of the message is lost, so its rest is left out.
    pub(super) fn skip(&mut self) {
        self.skips = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in these bytes if they come in pieces of this length.
    fn found(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut reader = ObjectReader::default();
        let (mut unread, mut found) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            unread.extend_from_slice(piece);
            loop {
                let len = match reader.next(&unread, 4) {
                    ObjectStep::Object(len) => {
                        found.push(unread[..len].escape_ascii().to_string());
                        len + 1
                    }
                    ObjectStep::Binary(len) => {
                        found.push("binary".to_owned());
                        len
                    }
                    ObjectStep::TooLong(len) => {
                        found.push("too long".to_owned());
                        len
                    }
                    ObjectStep::Skip(len) => len,
                    ObjectStep::More => break,
                };
                unread.drain(..len);
            }
        }
        assert!(unread.is_empty());
        found
    }

    #[test]
    fn messages_are_found_however_they_arrive() {
        let bytes = b"{}\xff\xff\xfe\xffabcd\xffabcde\xff{\n}\xffabcdefghijk\xffz\xff";
        let expected = [
            "{}", "", "binary", "abcd", "too long", "{\\n}", "too long", "z",
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(found(bytes, piece), expected, "{piece}");
        }
    }

    #[test]
    fn the_rest_of_a_message_that_was_given_up_is_left_out() {
        let mut reader = ObjectReader::default();
        reader.skip();
        assert_eq!(reader.next(b"", 4), ObjectStep::More);
        assert_eq!(reader.next(b"x}", 4), ObjectStep::Skip(2));
        assert_eq!(reader.next(b"}\xff{}\xff", 4), ObjectStep::Skip(2));
        assert_eq!(reader.next(b"{}\xff", 4), ObjectStep::Object(2));
    }
}
