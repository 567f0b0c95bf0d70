//! `<topic>: <payload>`, for people.

use std::io::{self, Write};

use client::is_harmless;

use super::arrived::Arrived;

/// For a pipe or a file: the bytes unchanged but for line ends, which are escaped, so that no payload
/// passes for another message.
pub(crate) fn write(out: &mut impl Write, message: &Arrived<'_>) -> io::Result<()> {
    write_escaped(out, message.topic.as_bytes(), ends_line, false)?;
    out.write_all(b": ")?;
    write_escaped(out, message.payload, ends_line, false)?;
    out.write_all(b"\n")
}

/// Escapes what is not harmless, and bytes that are not UTF-8.
pub(crate) fn write_for_terminal(out: &mut impl Write, message: &Arrived<'_>) -> io::Result<()> {
    write_line_for_terminal(out, message.topic.as_bytes())?;
    out.write_all(b": ")?;
    write_line_for_terminal(out, message.payload)?;
    out.write_all(b"\n")
}

/// The same for a text alone, without a line end.
pub(crate) fn write_line_for_terminal(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    write_escaped(
        out,
        text,
        |letter| letter != '\t' && !is_harmless(letter),
        true,
    )
}

/// Writes the payload, and a line end if it has none.
pub(crate) fn write_text(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    out.write_all(payload)?;
    end_line(out, payload)
}

/// The same for a terminal, with what is not harmless escaped.
pub(crate) fn write_text_for_terminal(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    write_escaped(
        out,
        payload,
        |letter| !"\t\n".contains(letter) && !is_harmless(letter),
        true,
    )?;
    end_line(out, payload)
}

fn end_line(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    if payload.ends_with(b"\n") {
        return Ok(());
    }
    out.write_all(b"\n")
}

/// Whether a reader may take it for the end of a line, as the mandatory breaks of UAX #14 and the
/// separators of ASCII.
fn ends_line(letter: char) -> bool {
    matches!(letter, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Escapes characters that are `harmful`, and bytes that are not UTF-8 if `only_text`.
fn write_escaped(
    out: &mut impl Write,
    bytes: &[u8],
    harmful: fn(char) -> bool,
    only_text: bool,
) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(harmful) {
            let (plain, from) = rest.split_at(at);
            let control = from.chars().next().expect("it was found there");
            write!(out, "{plain}{}", control.escape_default())?;
            rest = &from[control.len_utf8()..];
        }
        out.write_all(rest.as_bytes())?;
        if !only_text {
            out.write_all(chunk.invalid())?;
            continue;
        }
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
    fn a_payload_cannot_pass_for_another_message() {
        let lines = "1\nb: 2\r\u{85}\u{2028}3\x0b";
        let escaped = "a/b: 1\\nb: 2\\r\\u{85}\\u{2028}3\\u{b}\n";
        check(&Style::Human, lines.as_bytes(), escaped);
        check(&Style::Terminal, lines.as_bytes(), escaped);
    }

    #[test]
    fn no_text_turns_around_at_a_terminal() {
        let turned = "a\u{202e}b\u{200f}";
        check(
            &Style::Terminal,
            turned.as_bytes(),
            "a/b: a\\u{202e}b\\u{200f}\n",
        );
        check(
            &Style::TerminalText,
            turned.as_bytes(),
            "a\\u{202e}b\\u{200f}\n",
        );
        let format = "%t %p".parse().expect("a format");
        let style = Style::TerminalFormat(format);
        check(&style, b"\x1b[2J\xff", "a/b \\u{1b}[2J\\xff\n");
    }

    #[test]
    fn text_alone_ends_with_one_line_end() {
        check(&Style::Text, b"x\x07", "x\x07\n");
        check(&Style::Text, b"1\n2\n", "1\n2\n");
        check(&Style::TerminalText, b"x\x07", "x\\u{7}\n");
        check(&Style::TerminalText, b"1\n2\n", "1\n2\n");
    }
}
