//! The output styles.

use std::fmt;
use std::io::{self, Write};

#[cfg(test)]
use client::Attributes;
use client::Position;

use super::arrived::Arrived;
use super::format::Format;
use super::human;

/// An output style.
#[derive(Clone, Debug)]
pub(crate) enum Style {
    /// `<topic>: <payload>` with the bytes of the payload unchanged but for line ends.
    Human,
    /// The same for a terminal, with what is not harmless escaped.
    Terminal,
    /// Only the payload, as lines.
    Text,
    /// The same for a terminal, with what is not harmless escaped.
    TerminalText,
    /// One JSON object per line.
    Json,
    /// Only the bytes of the payload.
    Raw,
    /// A format of the user, and a line end.
    Format(Format),
    /// The same for a terminal, with what is not harmless escaped.
    TerminalFormat(Format),
}

impl Style {
    pub(crate) fn write(&mut self, out: &mut impl Write, message: &Arrived<'_>) -> io::Result<()> {
        match self {
            Self::Human => human::write(out, message),
            Self::Terminal => human::write_for_terminal(out, message),
            Self::Text => human::write_text(out, message.payload),
            Self::TerminalText => human::write_text_for_terminal(out, message.payload),
            Self::Json => {
                message.write_json(out)?;
                out.write_all(b"\n")
            }
            Self::Raw => out.write_all(message.payload),
            Self::Format(format) => format.write(out, message, false),
            Self::TerminalFormat(format) => format.write(out, message, true),
        }
    }

    /// Prints a gap, if the style has a form for it; returns whether it has.
    pub(crate) fn write_gap(&self, out: &mut impl Write, count: u64) -> io::Result<bool> {
        self.write_notice(out, format_args!("{{\"gap\":{count}}}"))
    }

    /// The same for the past of which some is not there.
    pub(crate) fn write_incomplete(
        &self,
        out: &mut impl Write,
        oldest: Option<Position>,
    ) -> io::Result<bool> {
        let oldest = oldest.map_or("null".to_owned(), |oldest| format!("\"{oldest}\""));
        self.write_notice(
            out,
            format_args!("{{\"incomplete\":{{\"oldest\":{oldest}}}}}"),
        )
    }

    fn write_notice(&self, out: &mut impl Write, json: fmt::Arguments<'_>) -> io::Result<bool> {
        match self {
            Self::Json => writeln!(out, "{json}").map(|()| true),
            Self::Human
            | Self::Terminal
            | Self::Text
            | Self::TerminalText
            | Self::Raw
            | Self::Format(_)
            | Self::TerminalFormat(_) => Ok(false),
        }
    }
}

/// The output of a style for one message.
#[cfg(test)]
pub(super) fn shown(
    style: &Style,
    topic: &str,
    payload: &[u8],
    attributes: &Attributes<'_>,
) -> String {
    let message = Arrived {
        topic,
        name: client::decode_spaces(topic),
        payload,
        attributes,
    };
    let mut out = Vec::new();
    style.clone().write(&mut out, &message).expect("room");
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
    fn only_json_has_a_place_for_what_is_missing() {
        let mut out = Vec::new();
        assert!(Style::Json.write_gap(&mut out, 12).expect("room"));
        assert!(!Style::Raw.write_gap(&mut out, 12).expect("room"));
        assert_eq!(out, b"{\"gap\":12}\n");
        out.clear();
        let oldest = Position::parse(b"k3f9.2:7").ok();
        assert!(
            Style::Json
                .write_incomplete(&mut out, oldest)
                .expect("room")
        );
        assert!(Style::Json.write_incomplete(&mut out, None).expect("room"));
        let expected =
            "{\"incomplete\":{\"oldest\":\"k3f9.2:7\"}}\n{\"incomplete\":{\"oldest\":null}}\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
