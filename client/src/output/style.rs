//! The ways to show messages, as one choice.

use std::io::{self, Write};

#[cfg(test)]
use client::Attributes;

use super::arrived::Arrived;
use super::format::Format;
use super::{human, json};

/// One way to show messages.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    /// `<topic>: <payload>` with the payload's bytes as they are.
    Human,
    /// The same for a terminal, which must not take a payload for commands.
    Terminal,
    /// The payload alone, as lines.
    Text,
    /// The same for a terminal.
    TerminalText,
    /// One JSON object a line.
    Json,
    /// The payload's bytes and nothing else.
    Raw,
    /// As the user wrote it, and a line end.
    Format(Format),
}

impl Style {
    pub(crate) fn write(&self, out: &mut impl Write, message: &Arrived<'_>) -> io::Result<()> {
        match self {
            Self::Human => human::write(out, message),
            Self::Terminal => human::write_for_terminal(out, message),
            Self::Text => human::write_text(out, message.payload),
            Self::TerminalText => human::write_text_for_terminal(out, message.payload),
            Self::Json => {
                json::write(out, message)?;
                out.write_all(b"\n")
            }
            Self::Raw => out.write_all(message.payload),
            Self::Format(format) => format.write(out, message),
        }
    }

    /// Shows that messages are missing here, if there is a way to say that among the data.
    pub(crate) fn write_gap(&self, out: &mut impl Write, count: u64) -> io::Result<bool> {
        match self {
            Self::Json => writeln!(out, "{{\"gap\":{count}}}").map(|()| true),
            Self::Human
            | Self::Terminal
            | Self::Text
            | Self::TerminalText
            | Self::Raw
            | Self::Format(_) => Ok(false),
        }
    }
}

/// What a style makes of one message.
#[cfg(test)]
pub(super) fn shown(
    style: &Style,
    topic: &str,
    payload: &[u8],
    attributes: &Attributes<'_>,
) -> String {
    let message = Arrived {
        topic,
        payload,
        attributes,
    };
    let mut out = Vec::new();
    style.write(&mut out, &message).expect("room");
    String::from_utf8(out).expect("text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_adds_nothing() {
        let shown = shown(&Style::Raw, "t", b"a\n", &Attributes::default());
        assert_eq!(shown, "a\n");
    }

    #[test]
    fn only_json_has_a_place_for_a_gap() {
        let mut out = Vec::new();
        assert!(Style::Json.write_gap(&mut out, 12).expect("room"));
        assert!(!Style::Raw.write_gap(&mut out, 12).expect("room"));
        assert_eq!(out, b"{\"gap\":12}\n");
    }
}
