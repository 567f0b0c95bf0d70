//! Ends the waits of clients from another thread.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::clock;
use crate::poll::poll;

/// Once it is raised, every wait of every client that has it in its [`Options`](crate::Options)
/// ends with [`Error::Interrupted`](crate::Error::Interrupted). All clones are the same interrupt.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use std::time::Duration;
///
/// let interrupt = client::Interrupt::new()?;
/// let other = interrupt.clone();
/// std::thread::spawn(move || other.raise());
/// assert!(interrupt.wait(Duration::from_secs(60)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    raised: AtomicBool,
    /// Readable once it is raised, so that a poll sees it.
    reader: PipeReader,
    writer: PipeWriter,
}

impl Interrupt {
    /// Creates one that is not raised. Fails only if the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let raised = AtomicBool::new(false);
        Ok(Self(Arc::new(Shared {
            raised,
            reader,
            writer,
        })))
    }

    /// Ends all current and future waits.
    pub fn raise(&self) {
        if !self.0.raised.swap(true, Ordering::AcqRel) {
            let written = (&self.0.writer).write(b"!");
            written.expect("one byte into an empty pipe whose reader is held here");
        }
    }

    /// Whether it has been raised.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Sleeps for `time`; returns `true` as soon as it is raised.
    pub fn wait(&self, time: Duration) -> bool {
        let until = clock::after(time);
        while !self.is_raised() && Instant::now() < until {
            // The poll fails only for lack of memory; then the loop tries again.
            let _ = poll(&mut [PollFd::new(self, PollFlags::IN)], Some(until));
        }
        self.is_raised()
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_stays_raised() {
        let interrupt = Interrupt::new().expect("a pipe");
        assert!(!interrupt.wait(Duration::ZERO));
        interrupt.clone().raise();
        interrupt.raise();
        assert!(interrupt.wait(Duration::MAX));
        assert!(interrupt.wait(Duration::ZERO));
    }
}
