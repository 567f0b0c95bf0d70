//! A message in a format of the user: text with `%t`, `%p`, `%x`, `%l`, `%j`, `%r`, `%d` and `%%`.

use std::io::{self, Write};
use std::str::FromStr;
use std::time::Instant;

use jiff::Zoned;

use super::arrived::Arrived;
use super::human;

/// A line of text with placeholders for parts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    parts: Vec<FormatPart>,
    /// When the last message was received.
    last: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FormatPart {
    Text(String),
    Topic,
    Payload,
    Hex,
    Length,
    Json,
    /// The time of receipt.
    Received,
    /// The time since the last message, in seconds.
    Since,
}

impl Format {
    /// With `is_terminal`, what is not harmless in topic and payload is escaped.
    pub(crate) fn write(
        &mut self,
        out: &mut impl Write,
        message: &Arrived<'_>,
        is_terminal: bool,
    ) -> io::Result<()> {
        let now = Instant::now();
        let last = self.last.replace(now).unwrap_or(now);
        for part in &self.parts {
            match part {
                FormatPart::Text(text) => out.write_all(text.as_bytes())?,
                FormatPart::Topic => write_text(out, message.topic.as_bytes(), is_terminal)?,
                FormatPart::Payload => write_text(out, message.payload, is_terminal)?,
                FormatPart::Hex => write_hex(out, message.payload)?,
                FormatPart::Length => write!(out, "{}", message.payload.len())?,
                FormatPart::Json => message.write_json(out)?,
                FormatPart::Received => {
                    write!(out, "{}", Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"))?
                }
                FormatPart::Since => write!(out, "{:.6}", (now - last).as_secs_f64())?,
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
                Some('r') => parts.push(FormatPart::Received),
                Some('d') => parts.push(FormatPart::Since),
                Some('%') => push_text(&mut parts, "%"),
                other => {
                    let other = other.map(String::from).unwrap_or_default();
                    return Err(format!(
                        "there is no %{other}; use %t %p %x %l %j %r %d or %%"
                    ));
                }
            }
            rest = letters.as_str();
        }
        push_text(&mut parts, rest);
        Ok(Self { parts, last: None })
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
    fn the_time_of_receipt_and_since_the_last_message_can_be_shown() {
        let mut format: Format = "%r %d".parse().expect("a format");
        let message = Arrived {
            topic: "a",
            name: "a".into(),
            payload: b"",
            attributes: &Attributes::default(),
        };
        let mut line = || {
            let mut out = Vec::new();
            format.write(&mut out, &message, false).expect("room");
            let line = String::from_utf8(out).expect("text");
            let (received, since) = line.trim_end().split_once(' ').expect("two parts");
            let received: jiff::Timestamp = received.parse().expect("a time of RFC 3339");
            let since: f64 = since.parse().expect("seconds");
            (received, since)
        };
        let before = jiff::Timestamp::now();
        let (first, since) = line();
        assert_eq!(since, 0.0, "before it there was none");
        assert!((first - before).get_seconds().abs() <= 1);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (second, since) = line();
        assert!((0.02..10.0).contains(&since), "{since}");
        assert!(second > first);
    }

    #[test]
    fn an_unknown_place_is_refused() {
        for format in ["%q", "%", "%t %"] {
            assert!(format.parse::<Format>().is_err(), "{format}");
        }
    }
}
