//! Terminal events, read on a thread of their own: reading them blocks, and the main thread has to
//! wait for the broker at the same time.

use std::io;
use std::thread;

use ratatui::crossterm::event::{self, Event};

use crate::waker::{self, WakeReceiver};

/// The events of the terminal: keys, pastes and resizes.
pub(crate) type Keyboard = WakeReceiver<io::Result<Event>>;

/// Starts the thread. It ends with the program or the terminal.
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
