//! The screen of `top`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ratatui::crossterm::event::{Event, KeyEventKind};
use ratatui::text::Text;

use super::render;
use super::watch::{Watch, WatchAction};
use crate::colour::Colour;
use crate::fullscreen::FullScreen;

pub(crate) struct TopScreen {
    terminal: FullScreen,
    colour: Colour,
}

impl TopScreen {
    /// Switches to full-screen mode.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            terminal: FullScreen::open()?,
            colour: Colour::of_environment(),
        })
    }

    /// Handles keys; returns `false` if the user quits or the terminal is gone.
    pub(crate) fn handle_events(&mut self, watch: &mut Watch) -> io::Result<bool> {
        while let Some(event) = self.terminal.next_event() {
            match event {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    match watch.press(key) {
                        Some(WatchAction::Leave) => return Ok(false),
                        Some(WatchAction::Redraw) => self.terminal.redraw()?,
                        None => {}
                    }
                }
                // A terminal that was resized and resized back has lost its contents, although its
                // size is the same.
                Ok(Event::Resize(..)) => self.terminal.redraw()?,
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
            let rows = render::screen(watch, width, height, self.colour);
            frame.render_widget(Text::from(rows), area);
        })
    }
}

impl AsFd for TopScreen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }
}
