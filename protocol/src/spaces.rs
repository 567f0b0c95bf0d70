//! Spaces in topics and filters, which separate the fields of a line: to the line and back.
//!
//! A line writes a space as `\s`, and a backslash that would otherwise begin an escape as `\\`.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// A topic or filter as a line writes it. No other character changes, and [`decode_spaces`] reverses it
/// (`[MQTT-4.7.3-4]`).
pub fn encode_spaces(name: &str) -> Cow<'_, str> {
    if memchr2(b' ', b'\\', name.as_bytes()).is_none() {
        return Cow::Borrowed(name);
    }
    let mut written = String::with_capacity(name.len() + 8);
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            (' ', _) => written.push_str("\\s"),
            ('\\', Some('s' | '\\' | ' ')) => written.push_str("\\\\"),
            _ => written.push(letter),
        }
    }
    Cow::Owned(written)
}

/// The topic or filter that a line means.
pub fn decode_spaces(written: &str) -> Cow<'_, str> {
    match decode_spaces_bytes(written.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(written),
        Cow::Owned(name) => Cow::Owned(String::from_utf8(name).expect("only ASCII is replaced")),
    }
}

/// The same for bytes that may be no text.
pub fn decode_spaces_bytes(written: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', written).is_none() {
        return Cow::Borrowed(written);
    }
    let mut name = Vec::with_capacity(written.len());
    let mut rest = written;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, used) = match (byte, after.first()) {
            (b'\\', Some(b's')) => (b' ', 2),
            (b'\\', Some(b'\\')) => (b'\\', 2),
            _ => (byte, 1),
        };
        name.push(byte);
        rest = &rest[used..];
    }
    Cow::Owned(name)
}

/// A topic or filter as a line writes it, from a text that is written like one but may have spaces. So
/// `a b` and `a\sb` name the same topic, wherever they come from.
pub fn escape_spaces(text: &str) -> Cow<'_, str> {
    if !text.contains(' ') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(encode_spaces(&decode_spaces(text)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_with_backslashes_only_where_it_must_be() {
        for (name, written) in [
            ("a b", r"a\sb"),
            (r"C:\temp", r"C:\temp"),
            (r"a\s", r"a\\s"),
            (r"a\\b", r"a\\\b"),
            ("a\\ b", r"a\\\sb"),
            (r"a\", r"a\"),
        ] {
            assert_eq!(encode_spaces(name), written);
            assert_eq!(decode_spaces(written), name);
            assert_eq!(escape_spaces(written), written);
        }
    }

    #[test]
    fn a_text_may_have_spaces_beside_escapes() {
        for (text, written) in [
            ("a b", r"a\sb"),
            (r"a\sb c", r"a\sb\sc"),
            ("a\\ b", r"a\\\sb"),
            (r"a\\s b", r"a\\s\sb"),
            (r"C:\t x", r"C:\t\sx"),
        ] {
            assert_eq!(escape_spaces(text), written);
        }
    }
}
