//! `<topic>: <payload>`, for people.

use std::io::{self, Write};

use super::arrived::Arrived;

/// Writes the bytes unchanged, for a pipe or a file.
pub(crate) fn write(out: &mut impl Write, message: &Arrived<'_>) -> io::Result<()> {
    out.write_all(message.topic.as_bytes())?;
    out.write_all(b": ")?;
    out.write_all(message.payload)?;
    out.write_all(b"\n")
}

/// Escapes control characters, which could control the terminal, and bytes that are not UTF-8.
pub(crate) fn write_for_terminal(out: &mut impl Write, message: &Arrived<'_>) -> io::Result<()> {
    write_visible(out, message.topic.as_bytes(), |letter| letter == '\t')?;
    out.write_all(b": ")?;
    write_visible(out, message.payload, |letter| letter == '\t')?;
    out.write_all(b"\n")
}

/// Writes the payload, and a line end if it has none.
pub(crate) fn write_text(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    out.write_all(payload)?;
    end_line(out, payload)
}

/// The same for a terminal, with control characters escaped.
pub(crate) fn write_text_for_terminal(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    write_visible(out, payload, |letter| "\t\n".contains(letter))?;
    end_line(out, payload)
}

fn end_line(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    if payload.ends_with(b"\n") {
        return Ok(());
    }
    out.write_all(b"\n")
}

/// Escapes control characters that are not `harmless`.
fn write_visible(out: &mut impl Write, bytes: &[u8], harmless: fn(char) -> bool) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|letter: char| letter.is_control() && !harmless(letter)) {
            let (plain, from) = rest.split_at(at);
            let control = from.chars().next().expect("it was found there");
            write!(out, "{plain}{}", control.escape_default())?;
            rest = &from[control.len_utf8()..];
        }
        out.write_all(rest.as_bytes())?;
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use client::Attributes;

    use super::super::style::{Style, shown};

    fn check(style: &Style, payload: &[u8], expected: &str) {
        let shown = shown(style, "a/b", payload, &Attributes::default());
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_message_follows_its_topic() {
        check(&Style::Human, b"x \x1b[2J", "a/b: x \x1b[2J\n");
        check(&Style::Human, b"", "a/b: \n");
    }

    #[test]
    fn a_payload_cannot_command_a_terminal() {
        check(
            &Style::Terminal,
            b"x\x1b[2J\x07",
            "a/b: x\\u{1b}[2J\\u{7}\n",
        );
        check(&Style::Terminal, b"1\n2\r\t3", "a/b: 1\\n2\\r\t3\n");
        check(&Style::Terminal, "\u{9b}2J".as_bytes(), "a/b: \\u{9b}2J\n");
        check(&Style::Terminal, b"caf\xe9", "a/b: caf\\xe9\n");
        check(&Style::Terminal, "سلام".as_bytes(), "a/b: سلام\n");
    }

    #[test]
    fn text_alone_ends_with_one_line_end() {
        check(&Style::Text, b"x\x07", "x\x07\n");
        check(&Style::Text, b"1\n2\n", "1\n2\n");
        check(&Style::TerminalText, b"x\x07", "x\\u{7}\n");
        check(&Style::TerminalText, b"1\n2\n", "1\n2\n");
    }
}
