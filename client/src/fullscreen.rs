//! A terminal in full-screen mode, with its keyboard. Dropping it restores the terminal.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use ratatui::crossterm::event::Event;
use ratatui::{DefaultTerminal, Frame};

use crate::keyboard::{self, Keyboard};

pub(crate) struct FullScreen {
    terminal: DefaultTerminal,
    keyboard: Keyboard,
}

/// Whether standard input and output are a terminal on which a screen can be drawn.
pub(crate) fn is_available() -> bool {
    io::stdin().is_terminal()
        && io::stdout().is_terminal()
        && can_draw(env::var_os("TERM").as_deref())
}

fn can_draw(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

impl FullScreen {
    /// Switches to full-screen mode.
    pub(crate) fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        match keyboard::listen() {
            Ok(keyboard) => Ok(Self { terminal, keyboard }),
            Err(error) => {
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    /// The next key, paste or resize, without waiting; an error once the terminal is gone.
    pub(crate) fn next_event(&mut self) -> Option<io::Result<Event>> {
        self.keyboard.next()
    }

    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Makes the next [`draw`](Self::draw) write every cell, changed or not.
    pub(crate) fn redraw(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal for the position of the cursor, and the answer
        // would go to the keyboard's thread.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

/// Readable when there is an event.
impl AsFd for FullScreen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.keyboard.as_fd()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        // A terminal that is gone cannot show the error either.
        let _ = ratatui::try_restore();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_type_or_with_an_empty_one_has_no_screen() {
        for (term, is_there) in [("xterm", true), ("dumb", false), ("", false)] {
            assert_eq!(can_draw(Some(OsStr::new(term))), is_there, "{term:?}");
        }
        assert!(!can_draw(None));
    }
}
