//! A message in a format of the user: text with `%t`, `%p`, `%x`, `%l`, `%j` and `%%`.

use std::io::{self, Write};
use std::str::FromStr;

use super::arrived::Arrived;
use super::{human, json};

/// A line of text with placeholders for parts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<FormatPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum FormatPart {
    Text(String),
    Topic,
    Payload,
    Hex,
    Length,
    Json,
}

impl Format {
    /// With `is_terminal`, what is not harmless in topic and payload is escaped.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        message: &Arrived<'_>,
        is_terminal: bool,
    ) -> io::Result<()> {
        for part in &self.0 {
            match part {
                FormatPart::Text(text) => out.write_all(text.as_bytes())?,
                FormatPart::Topic => write_text(out, message.topic.as_bytes(), is_terminal)?,
                FormatPart::Payload => write_text(out, message.payload, is_terminal)?,
                FormatPart::Hex => write_hex(out, message.payload)?,
                FormatPart::Length => write!(out, "{}", message.payload.len())?,
                FormatPart::Json => json::write(out, message)?,
            }
        }
        out.write_all(b"\n")
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((plain, behind)) = rest.split_once('%') {
            push_text(&mut parts, plain);
            let mut letters = behind.chars();
            match letters.next() {
                Some('t') => parts.push(FormatPart::Topic),
                Some('p') => parts.push(FormatPart::Payload),
                Some('x') => parts.push(FormatPart::Hex),
                Some('l') => parts.push(FormatPart::Length),
                Some('j') => parts.push(FormatPart::Json),
                Some('%') => push_text(&mut parts, "%"),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return Err(format!("there is no %{other}; use %t %p %x %l %j or %%"));
                }
            }
            rest = letters.as_str();
        }
        push_text(&mut parts, rest);
        Ok(Self(parts))
    }
}

fn write_text(out: &mut impl Write, text: &[u8], is_terminal: bool) -> io::Result<()> {
    if is_terminal {
        human::write_line_for_terminal(out, text)
    } else {
        out.write_all(text)
    }
}

fn push_text(parts: &mut Vec<FormatPart>, text: &str) {
    if !text.is_empty() {
        parts.push(FormatPart::Text(text.to_owned()));
    }
}

fn write_hex(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().try_for_each(|byte| {
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xf));
        out.write_all(&[DIGITS[high], DIGITS[low]])
    })
}

#[cfg(test)]
mod tests {
    use client::Attributes;

    use super::super::style::{Style, shown};
    use super::*;

    fn check(format: &str, expected: &str) {
        let style = Style::Format(format.parse().expect("a format"));
        let shown = shown(&style, "a/b", b"x\xc3\xa9\n", &Attributes::default());
        assert_eq!(shown, format!("{expected}\n"), "{format}");
    }

    #[test]
    fn each_place_shows_its_part_of_the_message() {
        check("%t", "a/b");
        check("<%p>", "<xé\n>");
        check("%x", "78c3a90a");
        check("%l bytes", "4 bytes");
        check("%j", r#"{"topic":"a/b","payload":"xé\n"}"#);
        check("100%% %t%t", "100% a/ba/b");
        check("", "");
    }

    #[test]
    fn an_unknown_place_is_refused() {
        for format in ["%q", "%", "%t %"] {
            assert!(format.parse::<Format>().is_err(), "{format}");
        }
    }
}
