//! Where one text of a member ends and the next begins, in what comes over TCP. No I/O.

use memchr::memchr;

/// Maximum bytes of a text.
pub(super) const TEXT_BYTES: usize = 64 * 1024;

/// What comes next in the unread bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextStep {
    /// A text of this many bytes, and behind it the bytes of its line end.
    Text(usize, usize),
    /// Bytes of a text that is too long, at its beginning.
    TooLong(usize),
    /// More bytes of that text.
    Skip(usize),
    /// The text goes on, or may do so.
    More,
}

/// Finds texts. Until a member has sent a line end, a pause ends its texts; from then on line ends do.
#[derive(Default)]
pub(super) struct TextReader {
    by_lines: bool,
    /// The text is too long, and its rest is left out.
    skips: bool,
}

impl TextReader {
    /// Whether a pause ends a text.
    pub(super) fn needs_pause(&self) -> bool {
        !self.by_lines
    }

    /// The connection has ended: what is left is a text, although it has no line end.
    pub(super) fn end(&mut self) {
        self.by_lines = false;
    }

    /// The next piece of these bytes. `is_over` if no more came for a moment, or the connection has ended.
    pub(super) fn next(&mut self, unread: &[u8], is_over: bool) -> TextStep {
        let end = memchr(b'\n', unread);
        self.by_lines |= end.is_some();
        let is_over = is_over && !self.by_lines;
        if self.skips {
            self.skips = end.is_none() && !is_over;
            return match end.map_or(unread.len(), |at| at + 1) {
                0 => TextStep::More,
                len => TextStep::Skip(len),
            };
        }
        match end {
            Some(at) if at <= TEXT_BYTES + 1 => match unread[..at].strip_suffix(b"\r") {
                Some(text) if text.len() <= TEXT_BYTES => TextStep::Text(text.len(), 2),
                None if at <= TEXT_BYTES => TextStep::Text(at, 1),
                _ => self.refuse(at),
            },
            Some(at) => self.refuse(at),
            None if unread.len() > TEXT_BYTES + 1 => self.refuse(unread.len()),
            None if is_over => match whole_characters(unread) {
                0 => TextStep::More,
                len if len > TEXT_BYTES => self.refuse(unread.len()),
                len => TextStep::Text(len, 0),
            },
            None => TextStep::More,
        }
    }

    fn refuse(&mut self, len: usize) -> TextStep {
        self.skips = true;
        TextStep::TooLong(len)
    }
}

/// The number of bytes before a character that has begun and not ended.
fn whole_characters(bytes: &[u8]) -> usize {
    let begun = bytes
        .iter()
        .rev()
        .take(3)
        .position(|byte| !is_inside(*byte));
    let Some(start) = begun.map(|at| bytes.len() - 1 - at) else {
        return bytes.len();
    };
    let length = match bytes[start] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    match bytes.len() - start < length {
        true => start,
        false => bytes.len(),
    }
}

/// Whether a byte continues a character of UTF-8.
fn is_inside(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts of what arrives in these parts; after a part that is followed by `None` there is a pause.
    fn texts(parts: &[Option<&[u8]>]) -> Vec<Vec<u8>> {
        let mut reader = TextReader::default();
        let (mut unread, mut texts) = (Vec::new(), Vec::new());
        for part in parts {
            unread.extend_from_slice(part.unwrap_or_default());
            loop {
                let len = match reader.next(&unread, part.is_none()) {
                    TextStep::Text(len, end) => {
                        texts.push(unread[..len].to_vec());
                        len + end
                    }
                    TextStep::TooLong(len) => {
                        texts.push(b"TOO LONG".to_vec());
                        len
                    }
                    TextStep::Skip(len) => len,
                    TextStep::More => break,
                };
                unread.drain(..len);
            }
        }
        texts
    }

    #[track_caller]
    fn check(parts: &[Option<&[u8]>], expected: &[&[u8]]) {
        assert_eq!(texts(parts), expected);
    }

    #[test]
    fn a_pause_ends_a_text_until_a_line_end_has_come() {
        check(
            &[Some(b"alice"), None, Some(b"hi everyone"), None],
            &[b"alice", b"hi everyone"],
        );
        check(&[Some(b"al"), Some(b"ice"), None], &[b"alice"]);
        check(&[Some(b"alice"), Some(b"hi"), None], &[b"alicehi"]);
        check(
            &[Some(b"alice\n"), Some(b"h"), None, Some(b"i\r\n"), None],
            &[b"alice", b"hi"],
        );
        check(
            &[Some(b"alice"), None, Some(b"a\nb\nc"), None],
            &[b"alice", b"a", b"b"],
        );
        check(&[None, Some(b"\n\r\n")], &[b"", b""]);
    }

    #[test]
    fn no_character_is_cut() {
        let smile = "a😀".as_bytes();
        for at in 2..smile.len() {
            let (first, rest) = smile.split_at(at);
            check(
                &[Some(first), None, Some(rest), None],
                &[b"a", "😀".as_bytes()],
            );
        }
        // Bytes that are no beginning of a character wait for nothing.
        check(
            &[Some(b"a\xff"), None, Some(b"\x80\x80\x80"), None],
            &[b"a\xff", b"\x80\x80\x80"],
        );
    }

    #[test]
    fn a_text_that_is_too_long_is_left_out_up_to_its_end() {
        let most = vec![b'x'; TEXT_BYTES];
        let more = vec![b'x'; TEXT_BYTES + 1];
        check(&[Some(&most), None], &[&most]);
        check(&[Some(&most), Some(b"\r\n")], &[&most]);
        check(
            &[Some(&more), None, Some(b"hi"), None],
            &[b"TOO LONG", b"hi"],
        );
        check(&[Some(&more), Some(b"\nhi\n")], &[b"TOO LONG", b"hi"]);
        check(
            &[Some(&more), Some(b"x"), Some(b"xx"), Some(b"\nhi\n")],
            &[b"TOO LONG", b"hi"],
        );
        check(
            &[Some(&more), Some(b"xxx"), None, Some(b"hi"), None],
            &[b"TOO LONG", b"hi"],
        );
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(
            lines in prop::collection::vec("[a-zé😀 ]{0,9}", 1..6),
            cuts in prop::collection::vec((0..60usize, any::<bool>()), 0..8),
        ) {
            let all: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let all = format!("nick\n{all}").into_bytes();
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut parts, mut start) = (Vec::new(), 0);
            for (at, pauses) in cuts {
                let at = at.clamp(start, all.len());
                parts.push(Some(&all[start..at]));
                // Before the first line end, a pause ends a text.
                if pauses && at > b"nick".len() {
                    parts.push(None);
                }
                start = at;
            }
            parts.push(Some(&all[start..]));
            let found = texts(&parts);
            let found: Vec<_> = found.iter().map(|text| str::from_utf8(text).expect("text")).collect();
            prop_assert_eq!(&found[0], &"nick");
            prop_assert_eq!(&found[1..], &lines[..]);
        }
    }
}
