//! What is typed, pasted or resized, read on a thread of its own: reading waits, and so does
//! whoever looks after the broker, but for both at once.

use std::io;
use std::thread;

use ratatui::crossterm::event::{self, Event};

use crate::waker::{self, WakeReceiver};

/// The events of the terminal.
pub(crate) type Keyboard = WakeReceiver<io::Result<Event>>;

/// Listens until the program or the terminal ends.
pub(crate) fn listen() -> io::Result<Keyboard> {
    let (waker, keyboard) = waker::channel()?;
    thread::Builder::new()
        .name("keyboard".to_owned())
        .spawn(move || {
            loop {
                let event = event::read();
                let is_end = event.is_err();
                if !waker.send(event) || is_end {
                    return;
                }
            }
        })?;
    Ok(keyboard)
}
