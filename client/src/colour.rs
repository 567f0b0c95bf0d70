//! Colours for the terminal, or none.

use std::env;

use ratatui::style::{Color, Style};

/// Whether to use colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colour {
    pub(crate) is_wanted: bool,
}

impl Colour {
    /// No colours if `NO_COLOR` is set, see <https://no-color.org>.
    pub(crate) fn of_environment() -> Self {
        let is_wanted = env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { is_wanted }
    }

    /// A style with this foreground colour.
    pub(crate) fn of(self, colour: Color) -> Style {
        if self.is_wanted {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
