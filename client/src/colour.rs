//! Whether colours are wanted.

use std::env;

use ratatui::style::{Color, Style};

/// Gives out colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colour {
    pub(crate) is_wanted: bool,
}

impl Colour {
    /// No colours if `NO_COLOR` is set, as <https://no-color.org> has it.
    pub(crate) fn of_environment() -> Self {
        let is_wanted = env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { is_wanted }
    }

    /// Letters of this colour.
    pub(crate) fn of(self, colour: Color) -> Style {
        if self.is_wanted {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
