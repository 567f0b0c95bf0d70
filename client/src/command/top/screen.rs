//! A terminal that `top` has for itself. Dropping it gives it back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyEventKind};
use ratatui::text::Text;

use super::picture;
use super::watch::{Pressed, Watch};
use crate::colour::Colour;
use crate::keyboard::{self, Keyboard};

pub(crate) struct Screen {
    terminal: DefaultTerminal,
    keyboard: Keyboard,
    colour: Colour,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        // From here on `Drop` gives it back, also when something below fails.
        Ok(Self {
            terminal,
            keyboard: keyboard::listen()?,
            colour: Colour::of_environment(),
        })
    }

    /// Does what was typed; `false` if the person leaves, or the terminal is gone.
    pub(crate) fn obey(&mut self, watch: &mut Watch) -> io::Result<bool> {
        while let Some(event) = self.keyboard.next() {
            match event {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    match watch.press(key) {
                        Some(Pressed::Leave) => return Ok(false),
                        Some(Pressed::Redraw) => self.clear()?,
                        None => {}
                    }
                }
                // A terminal that was smaller for a moment has the same size as before, and not
                // the same contents.
                Ok(Event::Resize(..)) => self.clear()?,
                Ok(_) => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    pub(crate) fn draw(&mut self, watch: &mut Watch) -> io::Result<()> {
        self.terminal.draw(|frame| {
            let area = frame.area();
            let (width, height) = (usize::from(area.width), usize::from(area.height));
            let rows = picture::screen(watch, width, height, self.colour);
            frame.render_widget(Text::from(rows), area);
        })?;
        Ok(())
    }

    /// Has everything drawn anew.
    fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal where the cursor is, and the answer would go to
        // the keyboard's thread.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.keyboard.as_fd()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell if the terminal is gone.
        let _ = ratatui::try_restore();
    }
}
