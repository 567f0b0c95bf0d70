//! Splits an input into lines, one read at a time, so that the caller can serve a connection
//! between two reads.

use std::io::{self, Read};

use protocol::{Framer, Step};

/// Size of one read.
const CHUNK_BYTES: usize = 64 * 1024;

/// Maximum size of a message; no broker accepts more.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024 * 1024 * 1024;

/// The bytes that were read and not returned yet.
#[derive(Debug)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    framer: Framer,
}

impl Lines {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            framer: Framer::new(MAX_MESSAGE_BYTES),
        }
    }

    /// Reads once; returns `false` at the end of the input.
    pub(crate) fn fill(&mut self, mut input: impl Read) -> io::Result<bool> {
        self.bytes.drain(..self.start);
        self.start = 0;
        let kept = self.bytes.len();
        self.bytes.resize(kept + CHUNK_BYTES, 0);
        let read = input.read(&mut self.bytes[kept..]);
        self.bytes.truncate(kept + *read.as_ref().unwrap_or(&0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            other => other.map(|read| read > 0),
        }
    }

    /// The next complete line, without its LF and a CR before that.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let begin = self.start;
        match self.framer.next(&self.bytes[begin..]) {
            Step::Line(len) => {
                self.start += len + 1;
                Ok(Some(without_cr(&self.bytes[begin..begin + len])))
            }
            Step::More => Ok(None),
            Step::TooLong(_) | Step::Skip(_) => Err(too_large()),
        }
    }

    /// The line after the last LF, if there is one.
    pub(crate) fn rest(&self) -> Option<&[u8]> {
        let rest = &self.bytes[self.start..];
        (!rest.is_empty()).then_some(without_cr(rest))
    }
}

/// Lines of other systems end with CR LF.
fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Reads an input to its end, as one message.
pub(crate) fn read_whole(input: impl Read) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    let limit = MAX_MESSAGE_BYTES as u64 + 1;
    input.take(limit).read_to_end(&mut whole)?;
    if whole.len() > MAX_MESSAGE_BYTES {
        return Err(too_large());
    }
    Ok(whole)
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        "more than 1 GiB for one message",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &[&str], rest: Option<&str>) {
        let mut lines = Lines::new();
        let mut seen = Vec::new();
        for piece in pieces {
            assert!(lines.fill(piece.as_bytes()).expect("bytes"));
            while let Some(line) = lines.next().expect("not too long") {
                seen.push(String::from_utf8(line.to_vec()).expect("text"));
            }
        }
        assert!(!lines.fill(&b""[..]).expect("the end"));
        assert_eq!(seen, expected);
        assert_eq!(lines.rest(), rest.map(str::as_bytes));
    }

    #[test]
    fn a_line_ends_with_lf_or_with_cr_lf() {
        check(
            &["a\n\n b \nc\r", "\n\r\nd\re\r\r\n"],
            &["a", "", " b ", "c", "", "d\re\r"],
            None,
        );
        check(&["a\n", "b\r"], &["a"], Some("b"));
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        check(&["a", "b\nc", "d\n"], &["ab", "cd"], None);
    }

    #[test]
    fn the_last_line_needs_no_end() {
        check(&["a\nb"], &["a"], Some("b"));
    }
}
