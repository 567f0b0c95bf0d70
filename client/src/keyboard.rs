//! What is typed, pasted or resized, read on a thread of its own: reading waits, and so does
//! whoever looks after the broker, but for both at once.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use ratatui::crossterm::event::{self, Event};

/// The events of the terminal.
#[derive(Debug)]
pub(crate) struct Keyboard {
    events: Receiver<io::Result<Event>>,
    /// Readable when there is an event: it is rung once for each.
    bell: PipeReader,
}

impl Keyboard {
    /// Listens until the program or the terminal ends.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, events) = mpsc::channel();
        let (bell, mut ring) = io::pipe()?;
        thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || {
                loop {
                    let event = event::read();
                    let is_end = event.is_err();
                    let is_heard = sender.send(event).is_ok() && ring.write_all(b"!").is_ok();
                    if is_end || !is_heard {
                        return;
                    }
                }
            })?;
        Ok(Self { events, bell })
    }

    /// The next event that is there, without waiting.
    pub(crate) fn next(&mut self) -> Option<io::Result<Event>> {
        let event = self.events.try_recv().ok()?;
        // It is rung just after the event was sent, so this waits for no longer than that.
        let _ = self.bell.read_exact(&mut [0]);
        Some(event)
    }
}

impl AsFd for Keyboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
