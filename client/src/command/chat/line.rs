//! A line of the chat: a message or a notice. `Display` is its form in a pipe.

use std::fmt;

/// One line of the chat. Its text is safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChatLine {
    /// A message to the room.
    Said {
        nick: String,
        text: String,
        /// Whether it was typed here.
        own: bool,
    },
    /// A private message.
    Private {
        from: String,
        to: String,
        text: String,
        own: bool,
    },
    /// A notice of the program.
    Notice(String),
}

impl ChatLine {
    pub(crate) fn notice(text: impl fmt::Display) -> Self {
        Self::Notice(text.to_string())
    }

    /// Whether it was typed here.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Self::Said { own, .. } | Self::Private { own, .. } => *own,
            Self::Notice(_) => false,
        }
    }

    /// The text without its sender.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Said { text, .. } | Self::Private { text, .. } | Self::Notice(text) => text,
        }
    }
}

/// Further lines of a message are indented by two spaces, so that they cannot pass for other
/// messages.
impl fmt::Display for ChatLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said { nick, .. } => write!(f, "{nick}: ")?,
            Self::Private { from, to, .. } => write!(f, "{from} -> {to}: ")?,
            Self::Notice(_) => f.write_str("* ")?,
        }
        for (at, line) in self.text().split('\n').enumerate() {
            let before = if at == 0 { "" } else { "\n  " };
            write!(f, "{before}{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_its_sender() {
        let said = ChatLine::Said {
            nick: "ann".to_owned(),
            text: "one\n* bob left\nbob: x".to_owned(),
            own: false,
        };
        assert_eq!(said.to_string(), "ann: one\n  * bob left\n  bob: x");
        let private = ChatLine::Private {
            from: "ann".to_owned(),
            to: "bob".to_owned(),
            text: "psst".to_owned(),
            own: false,
        };
        assert_eq!(private.to_string(), "ann -> bob: psst");
        assert_eq!(ChatLine::notice("bob left").to_string(), "* bob left");
    }
}
