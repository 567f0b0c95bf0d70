//! A terminal in full-screen mode, with its keyboard. Dropping it restores the terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ratatui::crossterm::event::Event;
use ratatui::{DefaultTerminal, Frame};

use crate::keyboard::{self, Keyboard};

pub(crate) struct FullScreen {
    terminal: DefaultTerminal,
    keyboard: Keyboard,
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
